"""Steps by autograd and PyTorch's Adam, for phases that give a loss."""

from typing import Protocol

import torch
from torch import Tensor

from r2talker.model.parameters import ParameterGroup
from r2talker.train.averaging import WeightAverage, decay_of
from r2talker.train.config import TrainConfig
from r2talker.train.phase import StepLoss, learning_rate, make_optimizer

STATES = ("step", "exp_avg", "exp_avg_sq")


class LossPhase(Protocol):
    """A phase that is trained by the gradient of a loss."""

    steps: int

    def groups(self) -> list[ParameterGroup]:
        """What is optimised."""
        ...

    def prepare(self, step: int) -> None:
        """Work before a step that is not part of the loss, such as refreshing the occupancy grid."""
        ...

    def loss(self, step: int) -> StepLoss:
        """The loss of one step; everything random in it follows from the step."""
        ...


class GradientStepper:
    """See `Stepper`."""

    log_period = 20

    def __init__(self, phase: LossPhase, config: TrainConfig) -> None:
        self.phase = phase
        self.groups = phase.groups()
        self.parameters = [parameter for group in self.groups for parameter in group.parameters]
        self.optimizer = make_optimizer(self.groups)
        self.average_share = config.ema_share
        self.average = WeightAverage(self.parameters, config.ema_share * phase.steps)
        self._scalars: dict[str, Tensor] = {}

    def take(self, step: int) -> None:
        self.phase.prepare(step)
        for slot, group in zip(self.optimizer.param_groups, self.groups, strict=True):
            slot["lr"] = learning_rate(group.rate, step, self.phase.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.phase.loss(step)
        loss.total.backward()
        self.optimizer.step()
        self.average.update(self.parameters, step)
        self._scalars = loss.scalars

    def scalars(self) -> dict[str, float]:
        return {name: float(value.detach()) for name, value in self._scalars.items()}

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"average.{index}": value for index, value in enumerate(self.average.values)}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{number}.{name}": state[name] for name in STATES})
        return {**tensors, "updates": torch.tensor(self.average.updates)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        saved: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".")
                saved.setdefault(int(number), {})[name] = tensor
        for index, value in enumerate(self.average.values):
            value.copy_(tensors[f"average.{index}"])
        self.average.updates = int(tensors["updates"])
        whole = self.optimizer.state_dict()
        whole["state"] = saved
        self.optimizer.load_state_dict(whole)

    def replan(self, steps: int) -> None:
        self.phase.steps = steps
        self.average.decay = decay_of(self.average_share * steps)

    def publish(self) -> None:
        """Nothing is kept beside the model."""

    def finish(self) -> None:
        if self.average.decay and self.average.updates:
            self.average.copy_to(self.parameters)
