"""Where the head's error has been large: a share of a step's rays (`--hard`) is drawn there."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from r2talker.data.regions import inside_rectangles

SIDE = 32
"""Cells along each side of the head's rectangle: the map moves and grows with the head, and all frames share it."""
MEMORY = 200
"""Steps over which errors are averaged: some 100 rays for each cell with 512 rays a step."""
PRIOR = 4.0
"""Rays of mean error that every cell starts with, and that one which is not looked at falls back to."""
MOST = 4.0
"""Largest error that counts, in means over the cells, so that what nothing can learn does not take all rays."""
UNIT = 2**20
"""What that largest error is as a whole number: sums of whole numbers are the same in any order, also on a GPU."""


class HardMap:
    """Running mean of the squared error in each cell of the head's rectangle.

    sums: [2, cells] errors and rays, of which every step forgets 1 / MEMORY; fresh: the same of the step in progress.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, SIDE * SIDE, device=device)
        self.fresh = torch.zeros_like(self.sums)

    def errors(self) -> Float[Tensor, " cells"]:
        """Mean squared error of every cell, row by row."""
        errors, rays = self.sums
        usual = errors.sum() / rays.sum().clamp_min(1e-6)
        return (errors + PRIOR * usual) / (rays + PRIOR)

    def weights(self) -> Int[Tensor, " cells"]:
        """What cells are drawn in proportion to: their bounded error, and a hair more than nothing."""
        errors = self.errors()
        most = (MOST * errors.mean()).clamp_min(1e-12)
        return ((errors / most).clamp(max=1) * UNIT).long() + 1

    def draw(
        self, heads: Int[Tensor, "slots 4"], count: int, width: int, generator: torch.Generator | None = None
    ) -> Int[Tensor, "slots count"]:
        """Row-major pixel numbers of `count` rays for every head (top, bottom, left, right) in pictures `width` pixels wide."""
        ends = self.weights().cumsum(0)
        u = torch.rand(3, len(heads), count, generator=generator, device=heads.device)
        # The largest number below 1 times a large sum may round up to it.
        aims = (u[0].double() * ends[-1]).long().clamp(max=ends[-1:] - 1)
        cells = torch.searchsorted(ends, aims, right=True)
        top, bottom, left, right = (edge[:, None] for edge in heads.long().unbind(1))
        rows = _within(top, bottom, (cells // SIDE + u[1]) / SIDE)
        columns = _within(left, right, (cells % SIDE + u[2]) / SIDE)
        return rows * width + columns

    def note(
        self,
        pixels: Int[Tensor, "slots rays"],
        heads: Int[Tensor, "slots 4"],
        error: Float[Tensor, "slots rays"],
        own: Bool[Tensor, " slots"],
        width: int,
    ) -> None:
        """Take in the errors of a step's rays, whatever share they were drawn for: within a cell they differ by nothing.

        own: frames that are driven by their own landmarks or sound; the others' errors say nothing about the head.
        """
        top, bottom, left, right = (edge[:, None] for edge in heads.long().unbind(1))
        rows, columns = pixels // width, pixels % width
        counted = own[:, None] & inside_rectangles(heads, rows, columns)
        cells = (rows - top) * SIDE // (bottom - top) * SIDE + (columns - left) * SIDE // (right - left)
        places = cells.masked_fill(~counted, 0).reshape(-1)
        for sums, values in zip(self.fresh, (error, torch.ones_like(error)), strict=True):
            sums.index_add_(0, places, values.masked_fill(~counted, 0.0).reshape(-1))

    def learn(self) -> None:
        """At the end of a step: what was noted becomes part of the map."""
        self.sums.mul_(1 - 1 / MEMORY).add_(self.fresh)
        self.fresh.zero_()


def _within(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    return torch.minimum(low + (share * (high - low)).long(), high - 1)
