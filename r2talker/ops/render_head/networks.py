"""What the fused pass is given: the tensors of a head, by the names of the networks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.grid_encode.layout import GridLayout

HIDDEN, GEOMETRY, DIRECTION = 64, 64, 16


@dataclass(frozen=True)
class AmbientNetworks:
    """Networks of the ambient coordinate: linear maps [64, position + 64], [64, 64], [2, 64], and the 2D grid it looks into."""

    layout: GridLayout
    table: Float[Tensor, "rows 2"]
    first: Float[Tensor, "64 inputs"]
    second: Float[Tensor, "64 64"]
    out: Float[Tensor, "2 64"]


@dataclass(frozen=True)
class HeadNetworks:
    """Linear maps and grids of a head (upstream.md 4.3), 64 hidden units, 64 geometry features, no biases.

    first [64, features + eye], second [64, 64], third [65, 64] (row 0 is the density's exponent); color [64, 16 + 64 + individual],
    rgb [3, 64]. film: the code modulates both hidden layers (`Film` order: shift 1, scale 1, shift 2, scale 2); else it is heard by
    the ambient networks. eye: whether the last input column of `first` is the eye value.
    """

    layout: GridLayout
    table: Float[Tensor, "rows channels"]
    first: Float[Tensor, "64 inputs"]
    second: Float[Tensor, "64 64"]
    third: Float[Tensor, "65 64"]
    color: Float[Tensor, "64 inputs"]
    rgb: Float[Tensor, "3 64"]
    ambient: AmbientNetworks | None
    film: bool
    eye: bool

    @property
    def code_width(self) -> int:
        """Width of the condition's code."""
        return 4 * HIDDEN if self.film else HIDDEN

    @property
    def individual_width(self) -> int:
        """Width of the individual code."""
        return self.color.shape[1] - DIRECTION - GEOMETRY

    @property
    def device(self) -> torch.device:
        return self.table.device

    def joint(self) -> Float[Tensor, "64 64"]:
        """Geometry features meet no activation before the colour network, so both matrices are one product; made in float64."""
        geometry = self.color[:, DIRECTION : DIRECTION + GEOMETRY].double() @ self.third[1:].double()
        return geometry.to(self.third.dtype)
