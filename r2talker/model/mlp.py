"""The bias-free multilayer perceptron of all networks, optionally modulated per layer (FiLM)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Film:
    """Feature-wise linear modulation of the hidden layers of one frame: `relu((W h) * (1 + scale) + shift)`.

    Perez et al. 2018, in the per-layer form of R2-Talker (upstream.md 4.4).
    """

    scale: Float[Tensor, "layers hidden"]
    shift: Float[Tensor, "layers hidden"]


class MLP(nn.Module):
    """`layers` linear maps without bias, ReLU between, none after the last (upstream.md section 4)."""

    def __init__(self, inputs: int, outputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))

    def forward(self, x: Float[Tensor, "samples inputs"], film: Film | None = None) -> Float[Tensor, "samples outputs"]:
        *hidden, last = self.layers
        kind = x.dtype
        for index, layer in enumerate(hidden):
            x = layer(x)
            if film is not None:
                x = torch.addcmul(film.shift[index], x, 1 + film.scale[index])
            x = torch.relu_(x)
        # Under autocast the layers compute in halves; what reads their answer, grids above all, wants no less than it gave.
        return last(x).to(kind)
