"""Steps by autograd and PyTorch's Adam, for phases that give a loss."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from r2talker.model.parameters import ParameterGroup
from r2talker.train.averaging import WeightAverage, decay_of
from r2talker.train.config import TrainConfig
from r2talker.train.parallel import ALONE, Team
from r2talker.train.phase import StepLoss, learning_rate, make_optimizer

STATES = ("step", "exp_avg", "exp_avg_sq")


class LossPhase(Protocol):
    """A phase that is trained by the gradient of a loss, the mean over the frames of a step."""

    steps: int
    frames_per_step: int

    def groups(self) -> list[ParameterGroup]:
        """What is optimised."""
        ...

    def prepare(self, step: int) -> None:
        """Work before a step that is not part of the loss, such as refreshing the occupancy grid."""
        ...

    def loss(self, turn: int) -> StepLoss:
        """The loss of one frame of a step, `turn` = step * frames_per_step + its place; everything random in it follows from that."""
        ...


class GradientStepper:
    """See `Stepper`. The processes of `team` share the frames of a step.

    loss_scale: factor on the loss while gradients are made. conclude: called at the end of every step.
    """

    log_period = 20

    def __init__(
        self,
        phase: LossPhase,
        config: TrainConfig,
        team: Team = ALONE,
        loss_scale: float = 1.0,
        conclude: Callable[[], None] = lambda: None,
    ) -> None:
        self.phase, self.team, self.loss_scale, self.conclude = phase, team, loss_scale, conclude
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
        self._scalars = self._pull(step)
        self.optimizer.step()
        self.average.update(self.parameters, step)
        self.conclude()

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

    def _pull(self, step: int) -> dict[str, Tensor]:
        """Leave the gradients of a step's loss, and return its readings: means over its frames."""
        frames = self.phase.frames_per_step
        means: dict[str, Tensor] = {}
        for place in self.team.places(frames):
            loss = self.phase.loss(step * frames + place)
            (loss.total * (self.loss_scale / frames)).backward()
            for name, value in loss.scalars.items():
                share = value.detach() / frames
                means[name] = means[name] + share if name in means else share
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if self.team.size > 1:
            # Gradients of a step have one shape in every process, so one sum over a flat tensor does for all, readings included.
            parts = [*gradients, *means.values()]
            flat = torch.cat([part.reshape(-1) for part in parts])
            self.team.sum(flat)
            for part, total in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
                part.copy_(total.view_as(part))
        if self.loss_scale != 1:
            for gradient in gradients:
                # A half that overflowed must not spread into the weights.
                gradient.div_(self.loss_scale).nan_to_num_(0.0, 0.0, 0.0)
        return means
