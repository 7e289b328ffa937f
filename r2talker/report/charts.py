"""Curves over time as inline SVG. All share one horizontal scale, so that they can be read beneath each other."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

FPS = 25.0
"""Pictures per second of every time axis."""

COLOURS = 6
"""Lines of one chart that the page's style tells apart: `c0` to `c5`."""

WIDTH, LEFT, RIGHT = 1000, 46, 8
_TOP, _BOTTOM = 8, 20
# More points than this cannot be told apart on a screen.
_MOST_POINTS = 1600


@dataclass(frozen=True)
class Curve:
    """One line of a chart: one value per picture, NaN where there is none. kind: a class of the page's style; by default the
    colours in turn."""

    name: str
    values: Float[np.ndarray, " frames"]
    kind: str = ""


@dataclass(frozen=True)
class Band:
    """Pictures [first, end) that are shaded; `kind` is a class of the page's style."""

    first: int
    end: int
    kind: str


@dataclass(frozen=True)
class Chart:
    """What one chart shows. marks: pictures that get a dot on the first curve. limit: a dashed level."""

    title: str
    unit: str
    curves: Sequence[Curve]
    bands: Sequence[Band] = ()
    marks: Sequence[int] = ()
    limit: float | None = None
    height: int = 130
    note: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a drawing over something other than pictures; kind: a class of the page's style, by default the colours in turn."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    kind: str = ""


@dataclass(frozen=True)
class _Scale:
    """Maps values to the height of the drawing."""

    low: float
    high: float
    height: int
    ticks: list[float] = field(default_factory=list)

    def y(self, value: float) -> float:
        return _TOP + (self.high - value) / (self.high - self.low) * (self.height - _TOP - _BOTTOM)


def draw_chart(chart: Chart) -> str:
    """A `<figure>` with a heading, a legend, and the curves over the pictures' time."""
    frames = len(chart.curves[0].values)
    values = np.concatenate([curve.values for curve in chart.curves])
    values = values[np.isfinite(values)]
    levels = [float(values.min()), float(values.max())] if len(values) else [0.0]
    levels += [] if chart.limit is None else [chart.limit]
    scale = _fit_scale(min(levels), max(levels), chart.height)
    parts = [_bands(chart.bands, frames, chart.height), _grid(scale), _seconds(frames, chart.height)]
    if chart.limit is not None:
        level = scale.y(chart.limit)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>')
    for number, curve in enumerate(chart.curves):
        lines = _lines(curve.values, scale)
        parts += [f'<polyline class="{_kind(curve, number)}" points="{points}"/>' for points in lines]
    for frame in chart.marks:
        height = scale.y(float(chart.curves[0].values[frame]))
        parts.append(f'<circle class="mark" cx="{place(frame, frames):.1f}" cy="{height:.1f}" r="3.5"/>')
    return _figure(chart, frames, "".join(parts))


def draw_waveform(
    samples: Float[np.ndarray, " samples"], frames: int, bands: Sequence[Band], *, title: str, height: int = 90
) -> str:
    """A `<figure>` of the sound's envelope under the same time axis."""
    columns = min(_MOST_POINTS // 2, frames * 4)
    pieces = np.array_split(samples, columns)
    peak = max(float(np.abs(samples).max()), 1e-4)
    middle, half = _TOP + (height - _TOP - _BOTTOM) / 2, (height - _TOP - _BOTTOM) / 2
    upper = [(float(piece.max()) if len(piece) else 0.0) / peak for piece in pieces]
    lower = [(float(piece.min()) if len(piece) else 0.0) / peak for piece in pieces]
    x = np.linspace(LEFT, WIDTH - RIGHT, columns)
    outline = [f"{a:.1f},{middle - half * b:.1f}" for a, b in zip(x, upper, strict=True)]
    outline += [f"{a:.1f},{middle - half * b:.1f}" for a, b in zip(x[::-1], lower[::-1], strict=True)]
    parts = [_bands(bands, frames, height), _seconds(frames, height), f'<polygon class="wave" points="{" ".join(outline)}"/>']
    decibel = 20 * math.log10(peak)
    chart = Chart(title, "", [], height=height, note=f"loudest sample {decibel:.0f} dB of full scale")
    return _figure(chart, frames, "".join(parts))


def draw_sync(rows: Sequence[int], scores: Sequence[float], best: float | None, in_step: float, height: int = 150) -> str:
    """A `<figure>` of how well the sound predicts the lips when it is moved; `best` and `in_step` are rows of 20 ms."""
    milliseconds = [20 * (row - in_step) for row in rows]
    scale = _fit_scale(min(0.0, *scores), max(scores), height)
    first, last = milliseconds[0], milliseconds[-1]

    def x(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    parts = [_grid(scale)]
    for tick in range(math.ceil(first / 40) * 40, int(last) + 1, 40):
        parts.append(f'<text class="tick" x="{x(tick):.1f}" y="{height - 5}" text-anchor="middle">{_signed(tick)} ms</text>')
    points = " ".join(f"{x(a):.1f},{scale.y(b):.1f}" for a, b in zip(milliseconds, scores, strict=True))
    parts.append(f'<polyline class="c0" points="{points}"/>')
    parts += [
        f'<circle class="dot" cx="{x(a):.1f}" cy="{scale.y(b):.1f}" r="3"/>' for a, b in zip(milliseconds, scores, strict=True)
    ]
    for kind, row in (("instep", in_step), ("best", best)):
        if row is not None:
            at = x(min(max(20 * (row - in_step), first), last))
            parts.append(f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
    keys = "".join(
        f'<span><i class="key {kind}"></i>{text}</span>' for kind, text in (("instep", "in step"), ("best", "this clip"))
    )
    heading = f'<figcaption><b>How well the sound, moved, predicts the lips</b><span class="legend">{keys}</span></figcaption>'
    return f'<figure class="chart">{heading}<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg></figure>'


def draw_lines(title: str, unit: str, lines: Sequence[Line], *, across: str, height: int = 150, note: str = "") -> str:
    """A `<figure>` of lines of finite values from x = 0 to the largest x; across: what x counts, written below."""
    values = [value for line in lines for value in line.y] or [0.0]
    scale = _fit_scale(min(values), max(values), height)
    most = max((x for line in lines for x in line.x), default=0.0) or 1.0

    def at(x: float) -> float:
        return LEFT + x / most * (WIDTH - LEFT - RIGHT)

    parts, step = [_grid(scale)], _round_step(most / 10)
    for k in range(int(most / step) + 1):
        text = f"{k * step:g}" + (f" {across}" if k == 0 else "")
        anchor = "start" if k == 0 else "middle"
        parts.append(
            f'<text class="tick" x="{at(k * step):.1f}" y="{height - 5}" text-anchor="{anchor}">{html.escape(text)}</text>'
        )
    for number, line in enumerate(lines):
        points = " ".join(f"{at(x):.1f},{scale.y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline class="{line.kind or f"c{number % COLOURS}"}" points="{points}"/>')
    keys = "".join(
        f'<span><i class="key {line.kind or f"c{k % COLOURS}"}"></i>{html.escape(line.name)}</span>'
        for k, line in enumerate(lines)
    )
    small = f" <small>{html.escape(unit)}</small>" if unit else ""
    aside = f'<span class="note">{html.escape(note)}</span>' if note else ""
    heading = f'<figcaption><b>{html.escape(title)}</b>{small}{aside}<span class="legend">{keys}</span></figcaption>'
    return f'<figure class="chart">{heading}<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg></figure>'


def place(frame: float, frames: int) -> float:
    """Column of a picture in a drawing."""
    return LEFT + frame / max(frames - 1, 1) * (WIDTH - LEFT - RIGHT)


def _signed(value: int) -> str:
    return f"{value:+d}" if value else "0"


def _figure(chart: Chart, frames: int, drawing: str) -> str:
    keys = "".join(
        f'<span><i class="key {_kind(curve, k)}"></i>{html.escape(curve.name)}</span>' for k, curve in enumerate(chart.curves)
    )
    unit = f" <small>{html.escape(chart.unit)}</small>" if chart.unit else ""
    note = f'<span class="note">{html.escape(chart.note)}</span>' if chart.note else ""
    heading = f'<figcaption><b>{html.escape(chart.title)}</b>{unit}{note}<span class="legend">{keys}</span></figcaption>'
    cursor = f'<line class="cursor" y1="{_TOP}" y2="{chart.height - _BOTTOM}" x1="-9" x2="-9"/>'
    return (
        f'<figure class="chart time" data-frames="{frames}">{heading}'
        f'<svg viewBox="0 0 {WIDTH} {chart.height}" role="img">{drawing}{cursor}</svg></figure>'
    )


def _fit_scale(low: float, high: float, height: int) -> _Scale:
    """A scale with a little air around [low, high] and ticks at round numbers."""
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / 4)
    ticks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    air = 0.06 * (high - low)
    return _Scale(low - air, high + air, height, ticks)


def _round_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def _grid(scale: _Scale) -> str:
    lines = []
    for tick in scale.ticks:
        level = scale.y(tick)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>')
        lines.append(f'<text class="tick" x="{LEFT - 6}" y="{level + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    return "".join(lines)


def _seconds(frames: int, height: int) -> str:
    """Ticks of the time axis."""
    seconds = frames / FPS
    step = max(1.0, _round_step(seconds / 12))
    marks = []
    for k in range(int((frames - 1) / FPS / step) + 1):
        x = place(k * step * FPS, frames)
        marks.append(f'<text class="tick" x="{x:.1f}" y="{height - 5}" text-anchor="middle">{k * step:g} s</text>')
    return "".join(marks)


def _bands(bands: Sequence[Band], frames: int, height: int) -> str:
    shades = []
    for band in bands:
        left, right = place(band.first - 0.5, frames), place(band.end - 0.5, frames)
        left, right = max(left, LEFT), min(max(right, left + 2), WIDTH - RIGHT)
        shades.append(
            f'<rect class="{band.kind}" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{height - _TOP - _BOTTOM}"/>'
        )
    return "".join(shades)


def _kind(curve: Curve, number: int) -> str:
    return curve.kind or f"c{number % COLOURS}"


def _lines(values: Float[np.ndarray, " frames"], scale: _Scale) -> list[str]:
    """Points of a line, in pieces where values are missing; of many pictures only the highest and the lowest of every bin."""
    frames = len(values)
    index = np.flatnonzero(np.isfinite(values))
    pieces = np.split(index, np.flatnonzero(np.diff(index) > 1) + 1) if len(index) else []
    if frames > _MOST_POINTS:
        pieces = [_extremes(values, piece, max(1, _MOST_POINTS // 2 * len(piece) // frames)) for piece in pieces]
    # A line of one point is drawn as a dot, which needs two.
    pieces = [piece if len(piece) > 1 else np.repeat(piece, 2) for piece in pieces]
    return [" ".join(f"{place(int(k), frames):.1f},{scale.y(float(values[k])):.1f}" for k in piece) for piece in pieces]


def _extremes(values: Float[np.ndarray, " frames"], index: Int[np.ndarray, " some"], bins: int) -> Int[np.ndarray, " fewer"]:
    parts = [part for part in np.array_split(index, bins) if len(part)]
    return np.array(sorted({int(part[pick]) for part in parts for pick in (values[part].argmin(), values[part].argmax())}))
