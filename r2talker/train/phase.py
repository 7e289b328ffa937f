"""A phase of training: what is optimised, by which loss, for how long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from r2talker.model.parameters import ParameterGroup
from r2talker.render.sight import Sight


@dataclass(frozen=True)
class StepLoss:
    """The loss of a step and its readings for the log."""

    total: Float[Tensor, ""]
    scalars: dict[str, Tensor]


class Phase(Protocol):
    """What one entry of the list that training works through optimises, by its own loss and schedule.

    steps: how many; under a time budget a guess that `Stepper.replan` corrects.
    """

    name: str
    steps: int

    @property
    def model(self) -> nn.Module:
        """What is saved at a checkpoint."""
        ...

    def stepper(self) -> "Stepper":
        """What takes the steps of this phase on its device."""
        ...

    def preview(self) -> Float[Tensor, "height width 3"]:
        """Truth beside the current rendering of a held-out frame."""
        ...


class Stepper(Protocol):
    """Takes the steps of a phase; everything random in a step follows from the seed and the step's number.

    log_period: steps between readings, which wait for the device.
    """

    log_period: int

    def take(self, step: int) -> None:
        """Take one step."""
        ...

    def scalars(self) -> dict[str, float]:
        """Readings of the last step for the log."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the model."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The opposite of `tensors`; the model has been restored already."""
        ...

    def replan(self, steps: int) -> None:
        """The phase is to have `steps` steps now: rates, average and ramps run to that end from here on."""
        ...

    def publish(self) -> None:
        """Bring the model up to date where the stepper keeps something beside it."""
        ...

    def finish(self) -> None:
        """Leave the averaged weights in the model."""
        ...


class Watcher(Protocol):
    """Somebody who looks on while a phase runs, such as a page in a browser."""

    def step(
        self,
        phase: str,
        step: int,
        steps: int,
        scalars: Mapping[str, float],
        draw: Callable[[Sight], UInt8[np.ndarray, "height width 3"]],
        save: Callable[[], None],
    ) -> bool:
        """Called after every step; may call `draw` for a sight of now and `save` for a checkpoint, and returns when the run may go on.

        scalars: readings of this step, empty where none were taken. Returns whether the phase is to begin anew.
        """
        ...


def learning_rate(start: float, step: int, steps: int) -> float:
    """Exponential decay to a tenth over the phase (upstream.md 6.3)."""
    return start * 0.1 ** (step / steps)


def make_optimizer(groups: list[ParameterGroup]) -> torch.optim.Adam:
    """Adam with the reference's constants (upstream.md 4.7), fused."""
    return torch.optim.Adam(
        [{"params": group.parameters, "lr": group.rate} for group in groups], betas=(0.9, 0.99), eps=1e-15, fused=True
    )
