"""R2-Talker (arXiv 2312.05572): 3D landmarks through a hash grid, and one style network per hidden layer (FiLM)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.compatibility import FilmOrder
from r2talker.model.conditioning import Conditioned
from r2talker.model.grid import Grid
from r2talker.model.method import ConditioningShape, Method, Shapes
from r2talker.model.mlp import MLP, Film
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.types import DriveSpec

WINDOW, LANDMARKS, HIDDEN = 5, 68, 64
START_SPREAD = 0.3
"""Standard deviation of scale and shift over the clip's frames when training starts."""


class LandmarkFilm(nn.Module):
    """Every landmark of the window is a point of a 3D grid; two style networks turn all of them into the modulation of one layer each.

    upstream.md 4.2 and 4.4. The code is [shift of layer 1, scale of layer 1, shift of layer 2, scale of layer 2], in whatever order
    the style networks have the two (`Compatibility.film`).
    """

    extra_features = 0

    def __init__(self, grid: GridLayout, film: FilmOrder = "shift first") -> None:
        super().__init__()
        self.film = film
        self.landmark_grid = Grid(grid)
        encoded = WINDOW * LANDMARKS * self.landmark_grid.width
        self.style_nets = nn.ModuleList(MLP(encoded, 2 * HIDDEN, 128, 3) for _ in range(2))

    def encode(self, values: Float[Tensor, "frames 5 68 3"]) -> Float[Tensor, "frames 256"]:
        return self.code(self.embed(values))

    def embed(self, values: Float[Tensor, "frames 5 68 3"]) -> Float[Tensor, "frames embedding"]:
        return self.landmark_grid(values.reshape(-1, 3)).reshape(len(values), -1)

    def code(self, embedded: Float[Tensor, "frames embedding"]) -> Float[Tensor, "frames 256"]:
        styles = torch.stack([net(embedded).unflatten(-1, (2, HIDDEN)) for net in self.style_nets], dim=1)
        return (styles if self.film == "shift first" else styles.flip(2)).flatten(1)

    @torch.no_grad()
    def start(self, values: Float[Tensor, "frames 5 68 3"]) -> None:
        """Landmarks enter linearly, and every layer of the style networks is scaled to a spread over the clip of 1, the last of START_SPREAD.

        With weights as they come the modulation starts at 1e-5 and mouths stay shut for thousands of steps (docs/training-measured.md).
        """
        self.landmark_grid.start_linear()
        encoded = self.embed(values)
        for net in self.style_nets:
            layers: list[nn.Linear] = list(net.layers)  # type: ignore[arg-type]
            x = encoded
            for index, layer in enumerate(layers):
                last = index + 1 == len(layers)
                layer.weight *= (START_SPREAD if last else 1.0) / layer(x).std(0).mean().clamp_min(1e-6)
                x = torch.relu(layer(x))

    def condition(self, features: Float[Tensor, "samples width"], code: Float[Tensor, "256"]) -> Conditioned:
        shift_and_scale = code.reshape(2, 2, HIDDEN)
        return Conditioned(features, Film(scale=shift_and_scale[:, 1], shift=shift_and_scale[:, 0]), None)


def build(shape: ConditioningShape) -> nn.Module:
    """The conditioning does not depend on the position features."""
    return LandmarkFilm(shape.grid, shape.film)


def recognise(shapes: Shapes) -> int | None:
    """A landmark grid or style networks."""
    return 0 if any(key.startswith(("encoder_idexp_lm3d.", "mlp_lms_style_")) for key in shapes) else None


METHOD = Method(
    name="r2talker",
    title="R2-Talker",
    upstream_name="r2talker",
    drive=DriveSpec(kind="landmarks", window=WINDOW, normalise=False),
    position_grid=GridLayout(input_dim=3, channels=4, base=32, finest=2048),
    condition_grid=GridLayout(input_dim=3, channels=2, base=32, finest=2048),
    # Displacements of 20 to 180 s of one person fill a small part of the cube; finer cells only memorise frames.
    trained_grid=GridLayout(input_dim=3, channels=2, base=4, finest=64, levels=12),
    build=build,
    keys={
        "landmark_grid": "encoder_idexp_lm3d",
        "style_nets.0.layers": "mlp_lms_style_1.net",
        "style_nets.1.layers": "mlp_lms_style_2.net",
    },
    rates={"landmark_grid": 0.1},
    recognise=recognise,
)
