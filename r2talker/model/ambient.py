"""Conditioning through an ambient coordinate: RAD-NeRF's, and GeneFace's on instant-ngp."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.model.conditioning import Conditioned
from r2talker.model.grid import Grid
from r2talker.model.mlp import MLP
from r2talker.model.window_attention import FrameEncoder, WindowAttention
from r2talker.ops.grid_encode.layout import GridLayout

AMBIENT_GRID = GridLayout(input_dim=2, channels=2, base=16, finest=2048)
"""The reference's grid of the ambient coordinate (upstream.md 4.3)."""


@dataclass(frozen=True)
class AmbientConfig:
    """Shapes of the conditioning: `window` frames of `rows` x `inputs` numbers each."""

    inputs: int
    rows: int
    window: int
    ambient_grid: GridLayout


class AmbientConditioning(nn.Module):
    """The frame's code and a sample's position features choose a 2D ambient coordinate, whose grid features join the density input.

    Tang et al. 2022 (RAD-NeRF); upstream.md 4.2 and 4.3.
    """

    def __init__(self, config: AmbientConfig, position_features: int) -> None:
        super().__init__()
        self.config = config
        self.frame_encoder = FrameEncoder(config.inputs, config.rows)
        self.attention = WindowAttention(config.window)
        self.ambient_net = MLP(position_features + 64, 2, 64, 3)
        self.ambient_grid = Grid(config.ambient_grid)
        self.extra_features = self.ambient_grid.width

    def encode(self, values: Float[Tensor, "frames window *shape"]) -> Float[Tensor, "frames 64"]:
        return self.code(self.embed(values))

    def embed(self, values: Float[Tensor, "frames window *shape"]) -> Float[Tensor, "frames 64"]:
        frames, window = values.shape[:2]
        rows = values.reshape(frames * window, self.config.rows, self.config.inputs)
        return self.attention(self.frame_encoder(rows).reshape(frames, window, 64))

    def code(self, embedded: Float[Tensor, "frames 64"]) -> Float[Tensor, "frames 64"]:
        return embedded

    def start(self, values: Float[Tensor, "frames window *shape"]) -> None:
        """The ambient coordinate enters linearly, so that it gets a gradient from the first step on; the windows do not matter."""
        self.ambient_grid.start_linear()

    def condition(self, features: Float[Tensor, "samples width"], code: Float[Tensor, "64"]) -> Conditioned:
        joined = torch.cat([features, code.expand(len(features), -1)], dim=-1)
        ambient = torch.tanh(self.ambient_net(joined).float())
        return Conditioned(torch.cat([features, self.ambient_grid(ambient)], dim=-1), None, ambient)
