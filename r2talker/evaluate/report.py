"""`report.html` of a comparison: one file that opens offline."""

import html
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

import r2talker
from r2talker.drive.log_mel import ROWS_PER_FRAME
from r2talker.drive.sound_lag import IN_STEP_ROWS
from r2talker.evaluate.comparison import Comparison
from r2talker.evaluate.films import FULL, HEAD
from r2talker.evaluate.readings import READINGS, Reading, reading
from r2talker.evaluate.report_pictures import draw_extremes, draw_mouths, draw_rows
from r2talker.evaluate.scores import FilmScores
from r2talker.report.charts import Band, Chart, Curve, draw_chart, draw_sync
from r2talker.report.page import make_page

_RATIO, _LATE, _FLICKER = 0.1, 40.0, 1.5
"""Beyond these a tile is marked: off a ratio of 1, milliseconds (one frame), times the truth's flicker."""

_HEIGHT = 120
_CHARTS = (
    ("psnr_face", None), ("psnr_mouth", None), ("mouth_opening", "mouth_opening_true"), ("eye_opening", "eye_opening_true"),
    ("lmd", None), ("ssim_picture", None), ("lpips_face", None), ("sharpness_face", None), ("sharpness_mouth", None),
    ("flicker", "flicker_true"), ("neck_error", None), ("psnr_picture", None),
)  # fmt: skip
_OPENINGS = {
    "mouth_opening": ("Opening of the mouth", "px at 512 between the inner lips"),
    "eye_opening": ("Opening of the eyes", "% of the picture"),
}


def draw_report(comparison: Comparison) -> bytes:
    """The whole page."""
    body = "".join(
        [
            _heading(comparison),
            _table(comparison),
            draw_rows(comparison),
            "".join(draw_extremes(comparison, film) for film in comparison.films if film.kind == FULL),
            draw_mouths(comparison),
            _curves(comparison),
            _sound(comparison),
        ]
    )
    return make_page(f"{comparison.title}: evaluation", body, first_frame=comparison.truth.numbers.start)


def _heading(comparison: Comparison) -> str:
    truth = comparison.truth
    first, last = truth.numbers.start, truth.numbers.stop - 1
    out = f", {len(truth.left_out)} of them left out" if truth.left_out else ""
    return (
        f"<h1>{html.escape(comparison.title)}</h1>"
        f'<p class="soft">frames {first} to {last} of {html.escape(truth.name)}{out}, {truth.width} &times; {truth.height} at 25 fps '
        f"&middot; r2talker {html.escape(r2talker.__version__)}</p>{_tiles(comparison.films)}"
    )


def _tiles(films: Sequence[FilmScores]) -> str:
    """The figures that matter of the first film, those out of what is wanted marked."""
    first = films[0].name
    own = {film.kind: film.whole for film in films if film.name == first}
    tiles = [_tile(own[HEAD], "psnr_picture", f"PSNR, {HEAD}")] if HEAD in own else []
    if FULL in own:
        whole = own[FULL]
        tiles.append(_tile(whole, "psnr_picture", f"PSNR, {FULL}"))
    else:
        whole = own[HEAD]
    tiles += [
        _tile(whole, "psnr_face", "PSNR, face box"),
        _tile(whole, "psnr_mouth", "PSNR, mouth box"),
        _tile(whole, "lmd", "mouth landmarks' distance"),
        _tile(whole, "mouth_range", "opening range of the mouth", _RATIO),
        _tile(whole, "eye_range", "opening range of the eyes", _RATIO),
        _tile(whole, "lip_lag", "lips late against the truth's", _LATE),
        _tile(whole, "flicker_ratio", "flicker, of the truth's", _FLICKER),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _tile(whole: dict[str, float], key: str, text: str, tolerance: float | None = None) -> str:
    value, known = whole[key], reading(key)
    if np.isnan(value):
        return ""
    odd = tolerance is not None and known.off(value) > tolerance
    unit = known.unit if known.unit in ("dB", "ms") else known.unit.split(" ")[0] if known.unit.startswith("px") else ""
    figure = f"{known.format(value)} {unit}".strip()
    return f'<div class="tile{" warn" if odd else ""}"><b>{figure}</b><span>{text}</span></div>'


def _table(comparison: Comparison) -> str:
    """Readings downwards, films across; of several films of one kind the best is marked."""
    films = comparison.films
    heads = "".join(f"<th>{html.escape(film.name)}<small>{film.kind}, {film.frames} frames</small></th>" for film in films)
    shown = [each for each in READINGS if any(np.isfinite(film.whole[each.key]) for film in films)]
    rows = "".join(f"<tr><td>{each.title}<small> {each.unit}</small></td>{_cells(each, films)}</tr>" for each in shown)
    absent = "".join(f"<li>{html.escape(line)}</li>" for line in comparison.absent)
    note = f'<p class="soft">Not measured:</p><ul class="soft">{absent}</ul>' if absent else ""
    lag = comparison.sound_lag
    heard = "" if comparison.generator is None else comparison.describe_generator()
    heard = f'<p class="soft">{heard[:1].upper()}{heard[1:]}.</p>' if heard else ""
    truth = "" if lag is None else f'<p class="soft">The truth\'s own sound comes {lag:+.0f} ms late against its lips.</p>'
    return (
        "<h2>Readings <small>means over the scored frames; docs/evaluate.md defines each</small></h2>"
        f'<table class="readings"><tr><th></th>{heads}</tr>{rows}</table>{heard}{truth}{note}'
    )


def _cells(each: Reading, films: Sequence[FilmScores]) -> str:
    known = [film for film in films if np.isfinite(film.whole[each.key])]
    best = []
    for kind in (HEAD, FULL):
        peers = [film for film in known if film.kind == kind]
        if len(peers) > 1:
            best.append(min(peers, key=lambda film: each.off(film.whole[each.key])).label)
    cells = []
    for film in films:
        text = each.format(film.whole[each.key]) if np.isfinite(film.whole[each.key]) else "&ndash;"
        cells.append(f'<td class="figure">{f"<b>{text}</b>" if film.label in best else text}</td>')
    return "".join(cells)


def _curves(comparison: Comparison) -> str:
    first = comparison.truth.numbers.start
    bands = [Band(frame - first, frame - first + 1, "out") for frame in sorted(comparison.truth.left_out)]
    charts = []
    for key, true_key in _CHARTS:
        curves = [Curve(film.label, film.columns[key]) for film in comparison.films]
        if not any(np.isfinite(curve.values).any() for curve in curves):
            continue
        title, unit = _OPENINGS[key] if key in _OPENINGS else (reading(key).title, reading(key).unit)
        if true_key is not None:
            # The truth's stand first, so that the films' are drawn over it.
            curves.insert(0, Curve("truth", _merged([film.columns[true_key] for film in comparison.films]), "true"))
            curves[1:] = [Curve(curve.name, curve.values, f"c{number}") for number, curve in enumerate(curves[1:])]
        limit = 1.0 if key.startswith("sharpness") else None
        charts.append(draw_chart(Chart(title[0].upper() + title[1:], unit, curves, bands, limit=limit, height=_HEIGHT)))
    return f"<h2>Curves <small>from frame {first} on</small></h2>{''.join(charts)}"


def _merged(columns: Sequence[Float[np.ndarray, " frames"]]) -> Float[np.ndarray, " frames"]:
    """The truth's values, which every film has only for the frames that it shows."""
    merged = columns[0].copy()
    for column in columns[1:]:
        merged = np.where(np.isfinite(merged), merged, column)
    return merged


def _sound(comparison: Comparison) -> str:
    drawn = [
        f"<h3>{html.escape(film.label)}</h3>"
        + draw_sync(
            film.sound.rows.tolist(), film.sound.scores.tolist(), IN_STEP_ROWS + film.sound.late * ROWS_PER_FRAME, IN_STEP_ROWS
        )
        for film in comparison.films
        if film.sound is not None
    ]
    return f"<h2>Sound and lips</h2>{''.join(drawn)}" if drawn else ""
