"""The head: density and colour in the canonical space, conditioned by one frame's code."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.model.conditioning import Conditioned, Conditioning
from r2talker.model.grid import Grid
from r2talker.model.mlp import MLP
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.render_head.fold import FoldedHead, evaluate, exponents, fold_head
from r2talker.ops.sh_encode.op import sh_encode
from r2talker.ops.trunc_exp.op import trunc_exp

SH_WIDTH = 16


@dataclass(frozen=True)
class HeadConfig:
    """Shapes of the head network (upstream.md 4.3). codes: rows of individual codes, one per training picture.

    usual_eye: percent of the picture, taken off eye values before they enter; 0 in imported avatars and those of the reference's rules.
    """

    position_grid: GridLayout
    geometry: int = 64
    hidden: int = 64
    eye: bool = True
    codes: int = 10000
    code_width: int = 4
    usual_eye: float = 0.0


@dataclass(frozen=True)
class FrameCode:
    """Everything that is constant over one frame: the condition's code, the eye value and the individual code."""

    condition: Float[Tensor, " code"]
    eye: Float[Tensor, ""]
    individual: Float[Tensor, " code_width"]


@dataclass(frozen=True)
class Density:
    """sigma: [M]; geometry: features for the colour network; ambient: [M, 2] or None."""

    sigma: Float[Tensor, " samples"]
    geometry: Float[Tensor, "samples geometry"]
    ambient: Float[Tensor, "samples 2"] | None


@dataclass(frozen=True)
class Radiance:
    """sigma [M] in 1 / scene unit, rgb [M, 3] in [0, 1], ambient [M, 2] or None."""

    sigma: Float[Tensor, " samples"]
    rgb: Float[Tensor, "samples 3"]
    ambient: Float[Tensor, "samples 2"] | None


class Head(nn.Module):
    """Position grid, density network and colour network; `conditioning` is the method's own part."""

    def __init__(self, config: HeadConfig, conditioning: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.position_grid = Grid(config.position_grid)
        self.conditioning = conditioning
        width = self.position_grid.width + self.contract.extra_features + int(config.eye)
        self.sigma_net = MLP(width, 1 + config.geometry, config.hidden, 3)
        self.color_net = MLP(SH_WIDTH + config.geometry + config.code_width, 3, config.hidden, 2)
        self.individual_codes = nn.Parameter(torch.randn(config.codes, config.code_width) * 0.1)

    @property
    def contract(self) -> Conditioning:
        """The conditioning, seen through its contract."""
        return self.conditioning  # type: ignore[return-value]

    @torch.no_grad()
    def take_eye_unit(self, unit: float, usual: float) -> None:
        """Let the networks, trained on eye values less `usual` in units of `unit`, take percent of the picture."""
        if self.config.eye:
            self.sigma_net.layers[0].weight[:, -1] /= unit  # type: ignore[index,operator]
            self.config = replace(self.config, usual_eye=usual)

    def eye_input(self, eye: Float[Tensor, "*frames"]) -> Float[Tensor, "*frames"]:
        """What of eye values enters the networks."""
        return eye - self.config.usual_eye

    def density(self, positions: Float[Tensor, "samples 3"], frame: FrameCode) -> Density:
        """Density and geometry features at points of NGP space."""
        conditioned = self.contract.condition(self.position_grid(positions), frame.condition)
        features = conditioned.features
        if self.config.eye:
            features = torch.cat([features, self.eye_input(frame.eye).to(features).expand(len(features), 1)], dim=-1)
        h = self.sigma_net(features, conditioned.film)
        return Density(trunc_exp(h[:, 0]), h[:, 1:], conditioned.ambient)

    def forward(
        self, positions: Float[Tensor, "samples 3"], directions: Float[Tensor, "samples 3"], frame: FrameCode
    ) -> Radiance:
        """Density and colour of samples seen along unit directions."""
        conditioned = self.contract.condition(self.position_grid(positions), frame.condition)
        exponent, rgb = evaluate(self._folded(conditioned, frame), conditioned.features, sh_encode(directions))
        return Radiance(trunc_exp(exponent), rgb, conditioned.ambient)

    @torch.no_grad()
    def sigma(self, positions: Float[Tensor, "samples 3"], frame: FrameCode) -> Float[Tensor, " samples"]:
        """Density alone, without gradients: what occupancy grids ask for."""
        conditioned = self.contract.condition(self.position_grid(positions), frame.condition)
        return exponents(self._folded(conditioned, frame), conditioned.features).exp()

    def _folded(self, conditioned: Conditioned, frame: FrameCode) -> FoldedHead:
        film = conditioned.film
        return fold_head(
            tuple(layer.weight for layer in self.sigma_net.layers),  # type: ignore[arg-type]
            tuple(layer.weight for layer in self.color_net.layers),  # type: ignore[arg-type]
            frame.individual,
            eye=self.eye_input(frame.eye) if self.config.eye else None,
            film=None if film is None else torch.stack([film.shift, film.scale], dim=1),
        )
