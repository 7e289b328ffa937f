"""The report's pictures: films beside the truth, their worst and best frames, their worst mouths."""

import html

import cv2
import numpy as np
from jaxtyping import UInt8

from r2talker.data.regions import Region
from r2talker.evaluate.areas import cut
from r2talker.evaluate.comparison import Comparison
from r2talker.evaluate.readings import reading
from r2talker.evaluate.scores import FilmScores
from r2talker.evaluate.truth import FPS
from r2talker.report.pictures import SIDE, embed

_ROW, _EXTREMES, _MOUTHS = 8, 4, 8
_GAIN = 4
_MOUTH_SIDE = 130

Picture = UInt8[np.ndarray, "height width 3"]


def draw_rows(comparison: Comparison) -> str:
    """Frames spread over the clip: the truth above, every film below."""
    frames = list(comparison.films[0].pictures)
    chosen = [frames[k] for k in np.linspace(0, len(frames) - 1, min(_ROW, len(frames))).round().astype(int)]
    rows = [_row("truth", comparison.look.pictures, chosen)]
    rows += [_row(film.label, film.pictures, chosen) for film in comparison.films]
    captions = "".join(f"<figcaption>{frame} &middot; {frame / FPS:.2f} s</figcaption>" for frame in chosen)
    return f'<h2>Beside the truth</h2>{"".join(rows)}<div class="row">{captions}</div>'


def draw_extremes(comparison: Comparison, film: FilmScores) -> str:
    """The worst and the best frames of a film by PSNR of the face (or of the picture where no face is known)."""
    key = "psnr_face" if np.isfinite(film.whole["psnr_face"]) else "psnr_picture"
    order = _ordered(film, comparison, key)
    worst, best = order[:_EXTREMES], order[::-1][:_EXTREMES]
    parts = [f"<h2>{html.escape(film.label)} <small>truth, film, error &times; {_GAIN}; by {reading(key).title}</small></h2>"]
    for title, frames in (("Worst frames", worst), ("Best frames", best)):
        cells = "".join(_trio(comparison, film, frame) for frame in frames)
        parts.append(f'<h3>{title}</h3><div class="pairs">{cells}</div>')
    return "".join(parts)


def draw_mouths(comparison: Comparison) -> str:
    """The mouths of every film that are furthest from the truth's, below these; nothing where no mouth is known."""
    parts = []
    for film in comparison.films:
        key = "lmd" if np.isfinite(film.whole["lmd"]) else "psnr_mouth"
        frames = [frame for frame in _ordered(film, comparison, key) if film.areas[frame].mouth is not None][:_MOUTHS]
        cells = "".join(_mouth(comparison, film, frame, key) for frame in frames)
        if cells:
            label = f"{html.escape(film.label)} <small>by {reading(key).title}</small>"
            parts.append(f'<h3>{label}</h3><div class="row">{cells}</div>')
    return f"<h2>Worst mouths <small>truth above, film below</small></h2>{''.join(parts)}" if parts else ""


def _ordered(film: FilmScores, comparison: Comparison, key: str) -> list[int]:
    """Frames that have a reading, the worst first."""
    column, first, known = film.columns[key], comparison.truth.numbers.start, reading(key)
    frames = [frame for frame in film.pictures if np.isfinite(column[frame - first])]
    return sorted(frames, key=lambda frame: -known.off(float(column[frame - first])))


def _row(label: str, pictures: dict[int, bytes], frames: list[int]) -> str:
    cells = "".join(
        f'<img src="{embed(_decode(pictures[frame]))}" alt="{html.escape(label)}, frame {frame}">'
        if frame in pictures
        else "<span></span>"
        for frame in frames
    )
    return f'<p class="soft">{html.escape(label)}</p><div class="row">{cells}</div>'


def _trio(comparison: Comparison, film: FilmScores, frame: int) -> str:
    """Truth, film and their difference in one picture."""
    true, made = _decode(comparison.look.pictures[frame]), _decode(film.pictures[frame])
    error = np.abs(made.astype(int) - true).mean(-1)
    glowing = cv2.applyColorMap(np.clip(error * _GAIN, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    row = frame - comparison.truth.numbers.start
    texts = [f"frame {frame}", f"{frame / FPS:.2f} s"]
    for key, name in (("psnr_face", "face"), ("psnr_mouth", "mouth"), ("lmd", "LMD")):
        value = film.columns[key][row]
        if np.isfinite(value):
            texts.append(f"{name} {value:.1f} {'px' if key == 'lmd' else 'dB'}")
    picture = np.concatenate([true, made, glowing], axis=1)
    label = f"truth, {html.escape(film.label)} and error, frame {frame}"
    caption = f"<figcaption>{' &middot; '.join(texts)}</figcaption>"
    return f'<figure><img src="{embed(picture, 3 * SIDE)}" alt="{label}">{caption}</figure>'


def _mouth(comparison: Comparison, film: FilmScores, frame: int, key: str) -> str:
    region = film.areas[frame].mouth
    assert region is not None
    square = _square(region, comparison.truth.height, comparison.truth.width)
    pair = (cut(_decode(pictures[frame]), square) for pictures in (comparison.look.pictures, film.pictures))
    sides = [cv2.resize(np.ascontiguousarray(part), (_MOUTH_SIDE,) * 2, interpolation=cv2.INTER_CUBIC) for part in pair]
    value = film.columns[key][frame - comparison.truth.numbers.start]
    unit = "px" if key == "lmd" else "dB"
    picture = embed(np.concatenate(sides), 2 * _MOUTH_SIDE)
    return f'<figure><img src="{picture}" alt="mouths, frame {frame}"><figcaption>{frame} &middot; {value:.1f} {unit}</figcaption></figure>'


def _square(region: Region, height: int, width: int) -> Region:
    """The box made a square as wide as it is, moved into the picture."""
    top, bottom, left, right = region.rows_and_columns
    side = min(max(bottom - top, right - left), height, width)
    t = int(np.clip((top + bottom - side) // 2, 0, height - side))
    le = int(np.clip((left + right - side) // 2, 0, width - side))
    return Region(t, t + side, le, le + side)


def _decode(content: bytes) -> Picture:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
