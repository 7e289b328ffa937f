"""A trainable multi-resolution grid."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.grid_encode.op import grid_encode


class Grid(nn.Module):
    """Tables of one grid encoding, initialised uniformly in [-1e-4, 1e-4] (upstream.md 3.1)."""

    def __init__(self, layout: GridLayout, *, bound: float = 1.0) -> None:
        super().__init__()
        self.layout, self.bound = layout, bound
        self.embeddings = nn.Parameter(torch.empty(layout.rows, layout.channels).uniform_(-1e-4, 1e-4))

    @property
    def width(self) -> int:
        """Values per encoded point."""
        return self.layout.levels * self.layout.channels

    def forward(self, x: Float[Tensor, "points dim"]) -> Float[Tensor, "points features"]:
        """Encode points of [-bound, bound]^dim; points outside give zeros."""
        return grid_encode(x, self.embeddings, self.layout, bound=self.bound)
