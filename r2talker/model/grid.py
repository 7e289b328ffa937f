"""A trainable multi-resolution grid."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.grid_encode.op import grid_encode


class Grid(nn.Module):
    """Tables of one grid encoding, initialised uniformly in [-1e-4, 1e-4] (upstream.md 3.1).

    window: [levels] factors of the levels while training lets them in one after the other; None for all of them whole.
    """

    def __init__(self, layout: GridLayout, *, bound: float = 1.0) -> None:
        super().__init__()
        self.layout, self.bound = layout, bound
        self.window: Float[Tensor, " levels"] | None = None
        self.embeddings = nn.Parameter(torch.empty(layout.rows, layout.channels).uniform_(-1e-4, 1e-4))

    @property
    def width(self) -> int:
        """Values per encoded point."""
        return self.layout.levels * self.layout.channels

    def forward(self, x: Float[Tensor, "points dim"]) -> Float[Tensor, "points features"]:
        """Encode points of [-bound, bound]^dim; points outside give zeros."""
        encoded = grid_encode(x, self.embeddings, self.layout, bound=self.bound)
        return encoded if self.window is None else encoded * self.window.repeat_interleave(self.layout.channels)

    @torch.no_grad()
    def start_linear(self, *, levels: int = 2) -> None:
        """Make the coarsest levels a linear function of position: each channel is the coordinate along one of a set of orthogonal axes.

        A grid that starts at random near zero says nothing about where a point is until it has trained for a while; one that
        starts linear tells its reader at once. Where a level is too small for its cells, the ones nearest the middle win.
        """
        layout = self.layout
        for level in range(min(levels, layout.levels)):
            axis = torch.arange(layout.resolutions[level] + 1)
            corners = torch.stack(torch.meshgrid(*[axis] * layout.input_dim, indexing="ij"), dim=-1).reshape(
                -1, layout.input_dim
            )
            positions = ((corners - 0.5) / layout.scales[level] * 2 - 1) * self.bound
            outside_in = positions.abs().amax(-1).argsort(descending=True, stable=True)
            strides = torch.tensor([*layout.strides[level], *[0] * (layout.input_dim - len(layout.strides[level]))])
            rows = (corners[outside_in][:, list(layout.axis_order)] * strides).sum(-1) % layout.sizes[level]
            axes = torch.linalg.qr(torch.randn(layout.input_dim, layout.input_dim))[0][:, : layout.channels]
            values = torch.zeros(layout.sizes[level], axes.shape[1])
            # Of several corners in one row the last wins; plain assignment would leave that to chance.
            winner = torch.full((layout.sizes[level],), -1).scatter_reduce(0, rows, torch.arange(len(rows)), "amax")
            values[winner >= 0] = (positions[outside_in] @ axes)[winner[winner >= 0]]
            self.embeddings[layout.offsets[level] : layout.offsets[level + 1], : axes.shape[1]] = values.to(self.embeddings)
