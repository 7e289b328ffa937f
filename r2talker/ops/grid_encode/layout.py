"""Where the entries of a multi-resolution grid lie: level sizes, scales and strides, all derived from a few numbers."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

# (base, scale of every level) by (finest / base, levels), as the reference obtained them from its GPU's single-precision 2^x
# (upstream.md 3.1). A correctly rounded 2^x differs in the last bit at some levels, which moves points near cell borders into
# the next cell. 2^x depends on the ratio alone, and scale + 1 is exact, so one base's scales give every base's.
_MEASURED_SCALES: dict[tuple[float, int], tuple[int, tuple[float, ...]]] = {
    (64, 16): (32, (
        31.0, 41.2242546, 54.7152367, 72.5167007, 96.0058594, 127.0, 167.897034, 221.860947,
        293.066803, 387.023499, 511.0, 674.588135, 890.443909, 1175.26746, 1551.09363, 2047.0,
    )),
    (128, 16): (16, (
        15.0, 21.1106052, 29.5549316, 41.2242546, 57.3502426, 79.6349487, 110.430473, 152.987213,
        211.796906, 293.066772, 405.374634, 560.574341, 775.046814, 1071.42920, 1481.00378, 2047.0,
    )),
}  # fmt: skip

PRIMES = (1, 2654435761, 805459861, 3674653429, 2097192037, 1434869437, 2165219737)
"""Multipliers of the coordinates in the hash (upstream.md 3.1)."""


@dataclass(frozen=True)
class GridLayout:
    """A grid of `levels` resolutions growing geometrically from `base` to `finest` cells, each at most 2^log2_table entries.

    kind `tiled`: a level too fine for its table ignores the coordinates that no longer fit and wraps around;
    kind `hash`: such a level mixes all coordinates by XOR of multiples of primes.
    axes: the order in which coordinates enter the index, such as "zxy", so that a tiled level ignores y first; empty for xyz.
    """

    input_dim: int
    channels: int
    base: int
    finest: int = 2048
    levels: int = 16
    log2_table: int = 16
    kind: Literal["tiled", "hash"] = "tiled"
    axes: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("tiled", "hash"):
            raise ValueError(f"GridLayout.kind must be 'tiled' or 'hash', not {self.kind!r}")
        if self.axes and sorted(self.axes) != sorted("xyz"[: self.input_dim]):
            raise ValueError(f"GridLayout.axes must name each of {'xyz'[: self.input_dim]} once, got {self.axes!r}")
        if min(self.input_dim, self.channels, self.base, self.levels) < 1 or self.finest < self.base:
            raise ValueError(f"GridLayout needs positive sizes and finest >= base, got {self}")
        if not 3 <= self.log2_table <= 24 or self.input_dim > 7 or self.finest > 1 << 16:
            raise ValueError(f"GridLayout supports 3 <= log2_table <= 24, input_dim <= 7 and finest <= 65536, got {self}")

    @property
    def axis_order(self) -> tuple[int, ...]:
        """Number of the coordinate that enters the index first, second, ..."""
        return tuple("xyz".index(axis) for axis in self.axes) or tuple(range(self.input_dim))

    @property
    def features(self) -> int:
        """Width of the encoding."""
        return self.levels * self.channels

    @cached_property
    def growth(self) -> float:
        """Ratio of the resolutions of neighbouring levels."""
        return 2.0 ** (math.log2(self.finest / self.base) / (self.levels - 1)) if self.levels > 1 else 1.0

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each level, and the number of rows as the last entry (upstream's `offsets` buffer)."""
        rows = [0]
        for level in range(self.levels):
            side = math.ceil(self.base * self.growth**level) + 1
            entries = min(1 << self.log2_table, side**self.input_dim)
            rows.append(rows[-1] + -(-entries // 8) * 8)
        return tuple(rows)

    @property
    def rows(self) -> int:
        """Rows of the table, all levels together."""
        return self.offsets[-1]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each level."""
        return tuple(end - start for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True))

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Cells per unit of the unit cube and level; every value is exact in float32."""
        measured = _MEASURED_SCALES.get((self.finest / self.base, self.levels))
        if measured is not None:
            powers = [(float(np.float32(scale)) + 1) / measured[0] for scale in measured[1]]
        else:
            exponent = np.float32(math.log2(self.growth))
            powers = [float(np.exp2(np.float32(level) * exponent, dtype=np.float32)) for level in range(self.levels)]
        return tuple(float(np.float32(power * self.base) - np.float32(1)) for power in powers)

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Upstream's R_l; coordinates of corners run from 0 to R_l."""
        return tuple(math.ceil(scale) + 1 for scale in self.scales)

    @cached_property
    def strides(self) -> tuple[tuple[int, ...], ...]:
        """Per level the row step of each coordinate that enters the index, in `axis_order`; coordinates beyond its length are ignored."""
        return tuple(
            self._level_strides(resolution, size) for resolution, size in zip(self.resolutions, self.sizes, strict=True)
        )

    def _level_strides(self, resolution: int, size: int) -> tuple[int, ...]:
        strides = [1]
        while len(strides) < self.input_dim and strides[-1] * (resolution + 1) <= size:
            strides.append(strides[-1] * (resolution + 1))
        return tuple(strides)

    def hashed(self, level: int) -> bool:
        """Whether this level's rows are found by hashing."""
        side = self.resolutions[level] + 1
        return self.kind == "hash" and self.strides[level][-1] * side > self.sizes[level]

    def row_mask(self, level: int) -> int | None:
        """Bits that bring a row number back into its level (all 32 where none leaves it); None where only a division would."""
        size = self.sizes[level]
        if size & (size - 1) == 0:
            return size - 1
        inside = not self.hashed(level) and sum(self.strides[level]) * self.resolutions[level] < size
        return 0xFFFFFFFF if inside else None

    @cached_property
    def compiles(self) -> bool:
        """Whether `compiled` knows it: every index of two or three coordinates, wrapping at powers of two, usual widths."""
        levels = range(self.levels)
        used = [self.input_dim if self.hashed(k) else len(self.strides[k]) for k in levels]
        plain = all(dims in (2, 3) for dims in used) and not (self.input_dim == 2 and any(map(self.hashed, levels)))
        return plain and self.channels in (1, 2, 4, 8) and all(self.row_mask(k) is not None for k in levels)
