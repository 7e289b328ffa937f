"""The contract between the head and what moves it: the only thing in which methods differ."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from r2talker.model.mlp import Film


@dataclass(frozen=True)
class Conditioned:
    """What a frame's code does to the samples: the density network's input, its modulation, and the ambient coordinate if any."""

    features: Float[Tensor, "samples features"]
    film: Film | None
    ambient: Float[Tensor, "samples 2"] | None


class Conditioning(Protocol):
    """A module with two halves, so that the expensive one runs once per frame and a known clip runs as one batch.

    The first half is made of two steps, `embed` and `code`, between which the references smooth over time (upstream.md 2.6).
    """

    extra_features: int
    """Columns that `condition` adds to the position features."""

    def encode(self, values: Float[Tensor, "frames window *shape"]) -> Float[Tensor, "frames code"]:
        """Windows of landmarks or audio features (already normalised if the method asks for it) to one code per frame."""
        ...

    def embed(self, values: Float[Tensor, "frames window *shape"]) -> Float[Tensor, "frames embedding"]:
        """What the reference calls the encoded condition of each window."""
        ...

    def code(self, embedded: Float[Tensor, "frames embedding"]) -> Float[Tensor, "frames code"]:
        """The code of each embedded window, so that `encode` is both steps at once."""
        ...

    def start(self, values: Float[Tensor, "frames window *shape"]) -> None:
        """Set fresh weights so that the codes of the training clip's windows differ from the first step on."""
        ...

    def condition(self, features: Float[Tensor, "samples width"], code: Float[Tensor, " code"]) -> Conditioned:
        """Condition the position features of one frame's samples."""
        ...
