"""The torso: a deformed 2D picture that follows the head pose (upstream.md 4.5)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.model.grid import Grid
from r2talker.model.mlp import MLP
from r2talker.ops.freq_encode.op import freq_encode
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.render_torso.follow import Follow, beside_body, usual_stance

POSITION_OCTAVES, POSE_OCTAVES = 10, 4


def torso_grid() -> GridLayout:
    """The reference's grid: 2D, 16 levels of 2 channels, 16 to 2048 cells."""
    return GridLayout(input_dim=2, channels=2, base=16, finest=2048)


@dataclass(frozen=True)
class TorsoConfig:
    """Shapes of the torso network.

    shrink: factor on the picture coordinates before deformation. follow: what the coordinates count from: the body, which stands where
    the neck tells, or, with None, as in the reference, the middle of the picture.
    """

    grid: GridLayout = field(default_factory=torso_grid)
    codes: int = 10000
    code_width: int = 8
    shrink: float = 0.8
    follow: Follow | None = None


@dataclass(frozen=True)
class TorsoOutput:
    """alpha [P, 1] and rgb [P, 3] in [0, 1]; deformation [P, 2] in picture coordinates."""

    alpha: Float[Tensor, "points 1"]
    rgb: Float[Tensor, "points 3"]
    deformation: Float[Tensor, "points 2"]


class Torso(nn.Module):
    """Colour and opacity at picture coordinates (row, column) in [-1, 1], given the pose and an individual code."""

    def __init__(self, config: TorsoConfig) -> None:
        super().__init__()
        self.config = config
        encoded = 2 * (1 + 2 * POSITION_OCTAVES) + 6 * (1 + 2 * POSE_OCTAVES) + config.code_width
        self.grid = Grid(config.grid)
        self.deform_net = MLP(encoded, 2, 64, 3)
        self.color_net = MLP(self.grid.width + encoded, 4, 32, 3)
        self.individual_codes = nn.Parameter(torch.randn(config.codes, config.code_width) * 0.1)

    @torch.no_grad()
    def show_usual(self, frames: Sequence[int]) -> None:
        """Let pictures, which take the first code, take the mean of these frames' codes: none of the body's single states."""
        self.individual_codes[0] = self.individual_codes[list(frames)].mean(0)

    def forward(
        self,
        xy: Float[Tensor, "points 2"],
        pose: Float[Tensor, "6"],
        individual: Float[Tensor, " code_width"],
        stance: Float[Tensor, "3"] | None = None,
    ) -> TorsoOutput:
        """xy: background coordinates (upstream.md 2.5). pose: Euler angles and position (2.4). stance: where the body stands, for torsos
        that follow it; by default where it usually does at this pose."""
        follow = self.config.follow
        if follow is not None:
            xy = beside_body(xy, usual_stance(pose, follow) if stance is None else stance, follow)
        x = xy * self.config.shrink
        constant = torch.cat([freq_encode(pose[None], POSE_OCTAVES), individual[None]], dim=-1)
        h = torch.cat([freq_encode(x, POSITION_OCTAVES), constant.expand(len(x), -1)], dim=-1)
        deformation = self.deform_net(h)
        features = self.grid((x + deformation).clamp(-1, 1))
        out = torch.sigmoid(self.color_net(torch.cat([features, h], dim=-1)))
        return TorsoOutput(out[:, :1], out[:, 1:], deformation)
