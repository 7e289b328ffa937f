"""What the fused pass is given: the tensors of a torso, by the names of the networks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.render_torso.follow import Follow


@dataclass(frozen=True)
class TorsoNetworks:
    """Linear maps without biases and the 2D grid (upstream.md 4.5), encoded = 42 + 54 + individual.

    deform [64, encoded], [64, 64], [2, 64]; color [32, grid + encoded], [32, 32], [4, 32]. shrink: factor on coordinates.
    follow: what is taken off the coordinates first, None for nothing (the reference's torsos).
    """

    layout: GridLayout
    table: Float[Tensor, "rows 2"]
    deform_first: Float[Tensor, "64 encoded"]
    deform_second: Float[Tensor, "64 64"]
    deform_out: Float[Tensor, "2 64"]
    color_first: Float[Tensor, "32 inputs"]
    color_second: Float[Tensor, "32 32"]
    color_out: Float[Tensor, "4 32"]
    shrink: float
    follow: Follow | None = None


def fits(net: TorsoNetworks) -> bool:
    """Whether `compiled` can evaluate these networks: float32 on a CPU, hidden widths in multiples of 8."""
    widths = len(net.deform_first) % 8 == 0 and len(net.color_first) % 8 == 0
    return net.table.dtype == torch.float32 and net.table.device.type == "cpu" and net.layout.compiles and widths
