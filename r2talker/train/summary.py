"""`training.html`: one file that opens offline and shows how a training run goes, and went."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

import r2talker
from r2talker.data.dataset import Dataset
from r2talker.files import write_bytes
from r2talker.report.charts import Line, draw_lines
from r2talker.report.page import make_page
from r2talker.report.pictures import embed
from r2talker.train.diary import RunFolder
from r2talker.train.history import History, PhaseRecord
from r2talker.train.showing import Pair

UNITS = {"psnr": "dB", "entropy": "bits", "opacity error": "mean squared error of alpha"}
"""Units of the readings that have one."""

PAIR_SIDE = 760
"""Pixels of a pair of pictures across."""

RELOAD_SECONDS = 15
"""How often the page of a run that goes on loads itself again."""

_RELOAD = f"<script>setTimeout(() => location.reload(), {1000 * RELOAD_SECONDS})</script>"

MOST_BESIDE = 10
"""Readings to either side of one that its mean takes in at most; of a short curve, a twelfth of all."""


@dataclass(frozen=True)
class Summary:
    """What the page says that does not change while the run goes on, and its `history`, which does."""

    folder: RunFolder
    method: str
    dataset: Dataset
    settings: Mapping[str, Any]
    device: str
    history: History

    def start(self, pairs: Sequence[Pair]) -> None:
        """The page of a run of which there are no previews yet; pairs: what the model makes of frames so far."""
        self._write("training", "warn", "Before", "".join(_pair(pair, "first") for pair in pairs) + _RELOAD)

    def write(self, previews: Mapping[str, UInt8[np.ndarray, "height width 3"]]) -> None:
        """The page of a run that goes on; previews: the latest of every phase."""
        figures = [_figure(picture, f"{html.escape(name)}, held-out frame") for name, picture in previews.items()]
        self._write("training", "warn", "Previews", "".join(figures) + _RELOAD)

    def finish(self, pairs: Sequence[Pair], seconds: float) -> None:
        """The page of a finished run: held-out frames beside the truth. seconds: of training altogether."""
        kind, heading = ("held-out", "Frames not trained on") if self.dataset.held_out else ("training", "Frames trained on")
        figures = "".join(_pair(pair, kind) for pair in pairs)
        self._write(f"finished in {_clock(seconds)}", "good", heading, figures)

    def _write(self, state: str, kind: str, heading: str, figures: str) -> None:
        phases = self.history.phases
        body = "".join(
            [
                self._heading(state, kind),
                f"<h2>{heading} <small>truth on the left, rendering on the right</small></h2>",
                f'<div class="pairs">{figures}</div>',
                "".join(_curves(record) for record in phases),
                f"<h2>Times</h2>{_times(self.history)}",
                f"<h2>Settings</h2>{_settings(self.settings)}",
            ]
        )
        write_bytes(self.folder.page, make_page(f"{self._name}: training", body))

    @property
    def _name(self) -> str:
        return self.folder.page.parent.name

    def _heading(self, state: str, kind: str) -> str:
        info = self.dataset.info
        size = self.settings["train_size"]
        text = (
            f"{self.method} on {self.dataset.folder.root.name}: {info.train_frames} frames to train on, "
            f"{info.frames - info.train_frames} held out, {size} x {size} on {self.device}, r2talker {r2talker.__version__}"
        )
        return (
            f'<h1>{html.escape(self._name)}</h1><p class="soft">{html.escape(text)}</p>'
            f'<span class="verdict {kind}">{html.escape(state)}</span>{_tiles(self.history)}'
        )


def _tiles(history: History) -> str:
    """The last readings of every phase."""
    cells = []
    for record in history.phases:
        done = int(record.points[-1]["step"]) + 1 if record.points else 0
        progress = f"{done}" if done == record.steps else f"{done} of {record.steps}"
        cells.append((progress, f"steps of the {record.name}"))
        steps, values = record.curve("psnr")
        if steps:
            cells.append((f"{_smooth(values)[-1]:.1f} dB", f"PSNR of the {record.name}'s last training rays"))
    tiles = (f'<div class="tile"><b>{value}</b><span>{html.escape(text)}</span></div>' for value, text in cells)
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _curves(record: PhaseRecord) -> str:
    charts = []
    for name in record.readings:
        steps, values = record.curve(name)
        lines = [Line("training rays", steps, values, "raw"), Line("mean of neighbours", steps, _smooth(values), "c1")]
        if name == "psnr":
            shown = [(preview["step"], preview["psnr"]) for preview in record.previews]
            lines.append(Line("held-out frame, all of it", [step for step, _ in shown], [psnr for _, psnr in shown], "c2"))
        charts.append(draw_lines(name, UNITS.get(name, ""), lines, across="steps"))
    return f"<h2>{html.escape(record.name.capitalize())}</h2>{''.join(charts)}" if charts else ""


def _smooth(values: Sequence[float]) -> list[float]:
    """Mean of every value and its neighbours; fewer at the ends."""
    beside = min(MOST_BESIDE, len(values) // 12)
    sums, middle = np.concatenate([[0.0], np.cumsum(values)]), np.arange(len(values))
    begins, ends = np.maximum(middle - beside, 0), np.minimum(middle + beside + 1, len(values))
    return [float(mean) for mean in (sums[ends] - sums[begins]) / (ends - begins)]


def _times(history: History) -> str:
    rows = [("landmark generator", "", _clock(history.generator), "")] if history.generator else []
    for record in history.phases:
        seconds, done = record.ended - record.begun, int(record.points[-1]["step"]) + 1 if record.points else 0
        rate = f"{done / seconds:.1f}" if seconds > 0 else ""
        rows.append((record.name, f"{done}", _clock(seconds), rate))
    figures = ["".join(f'<td class="figure">{html.escape(cell)}</td>' for cell in row) for _, *row in rows]
    cells = "".join(f"<tr><td>{html.escape(row[0])}</td>{text}</tr>" for row, text in zip(rows, figures, strict=True))
    runs = "without interruption" if history.runs == 1 else f"in {history.runs} runs"
    return (
        '<table class="readings"><tr><th>phase</th><th>steps</th><th>time</th><th>steps per second</th></tr>'
        f'{cells}</table><p class="soft">Trained {runs}; times leave out what was done after the last checkpoint of a run that was stopped.</p>'
    )


def _settings(settings: Mapping[str, Any]) -> str:
    flat = {**{key: value for key, value in settings.items() if key != "sampling"}, **settings.get("sampling", {})}
    rows = (
        f"<div><span>{html.escape(key.replace('_', ' '))}</span><b>{html.escape(str(value))}</b></div>"
        for key, value in flat.items()
        if value is not None
    )
    return f'<div class="card settings">{"".join(rows)}</div>'


def _pair(pair: Pair, kind: str) -> str:
    both = np.concatenate([picture.clamp(0, 1).cpu().numpy() for picture in (pair.truth, pair.made)], axis=1)
    error = float(((pair.truth - pair.made.clamp(0, 1)) ** 2).mean())
    caption = f"{kind} frame {pair.frame} &middot; PSNR {-10 * np.log10(max(error, 1e-12)):.1f} dB"
    return _figure((both * 255).round().astype(np.uint8), caption)


def _figure(picture: UInt8[np.ndarray, "height width 3"], caption: str) -> str:
    source = embed(picture, PAIR_SIDE)
    return f'<figure><img src="{source}" alt="truth and rendering"><figcaption>{caption}</figcaption></figure>'


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{seconds:.1f} s"
