"""A phase of training: what is optimised, by which loss, for how long."""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.model.parameters import ParameterGroup


@dataclass(frozen=True)
class StepLoss:
    """The loss of a step and its readings for the log."""

    total: Float[Tensor, ""]
    scalars: dict[str, Tensor]


class Phase(Protocol):
    """One entry of the list that training works through."""

    name: str
    steps: int

    @property
    def model(self) -> nn.Module:
        """What is saved at a checkpoint."""
        ...

    def groups(self) -> list[ParameterGroup]:
        """What is optimised."""
        ...

    def prepare(self, step: int) -> None:
        """Work before a step that is not part of the loss, such as refreshing the occupancy grid."""
        ...

    def loss(self, step: int) -> StepLoss:
        """The loss of one step; everything random in it follows from the step."""
        ...

    def preview(self) -> Float[Tensor, "height width 3"]:
        """Truth beside the current rendering of a held-out frame."""
        ...


def learning_rate(start: float, step: int, steps: int) -> float:
    """Exponential decay to a tenth over the phase (upstream.md 6.3)."""
    return start * 0.1 ** (step / steps)


def make_optimizer(groups: list[ParameterGroup]) -> torch.optim.Adam:
    """Adam with the reference's constants (upstream.md 4.7), fused."""
    return torch.optim.Adam(
        [{"params": group.parameters, "lr": group.rate} for group in groups], betas=(0.9, 0.99), eps=1e-15, fused=True
    )
