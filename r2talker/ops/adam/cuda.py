"""Adam in CUDA kernels over ranges of one flat tensor."""

from dataclasses import dataclass

from jaxtyping import Float, Float16, Int32
from torch import Tensor

from r2talker.ops.cuda.kernels import Kernels

PARTS = ("cuda/device.cuh", "adam/adam.cu")
BLOCK, MOST_BLOCKS = 256, 132 * 8


@dataclass(frozen=True)
class Range:
    """Numbers [begin, end) of the flat tensor, multiples of four, that train at `factor` times the schedule's rate.

    half: where the kernels want the values as halves, or None. sparse: rows without a gradient stay as they are.
    """

    begin: int
    end: int
    factor: float
    half: Float16[Tensor, " n"] | None
    sparse: bool


@dataclass(frozen=True)
class FlatAdam:
    """Parameters, gradients and moments, flat, and the device's step number and rates."""

    values: Float[Tensor, " n"]
    gradients: Float[Tensor, " n"]
    means: Float[Tensor, " n"]
    squares: Float[Tensor, " n"]
    steps: Int32[Tensor, "1"]
    rates: Float[Tensor, " steps"]
    ranges: list[Range]
    kernels: Kernels

    def update(self) -> None:
        """One step of every range; clears the gradients and counts the step."""
        for r in self.ranges:
            part = slice(r.begin, r.end)
            fours = (r.end - r.begin) // 4
            state = [self.values[part], self.gradients[part], self.means[part], self.squares[part]]
            args = [*state, r.half, fours, self.steps, self.rates, r.factor, int(r.sparse)]
            self.kernels.launch("adam_step", min(-(-fours // BLOCK), MOST_BLOCKS), BLOCK, args)
        self.kernels.launch("next_step", 1, 1, [self.steps])

    def refresh_halves(self) -> None:
        """Copy the values of every range that has halves."""
        for r in self.ranges:
            if r.half is not None:
                r.half.view(-1).copy_(self.values[r.begin : r.end])

    def average(self, into: Float[Tensor, " n"], share: float) -> None:
        """Move `into` by `share` of the way to the values."""
        fours = len(into) // 4
        self.kernels.launch("average", min(-(-fours // BLOCK), MOST_BLOCKS), BLOCK, [into, self.values, fours, share])
