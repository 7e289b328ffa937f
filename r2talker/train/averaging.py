"""Moving average of the weights being trained."""

from collections.abc import Sequence

import torch
from torch import Tensor

PERIOD = 10
"""Steps between updates: the average moves too slowly to need more."""


def decay_of(time_constant: float) -> float:
    """What an update leaves of the average, for a time constant in steps; 0 for none."""
    return 0.0 if time_constant <= 0 else 1 - 1 / max(1.0, time_constant / PERIOD)


class WeightAverage:
    """Exponential moving average with a time constant in steps, warmed up as min(decay, (1 + n) / (10 + n)) at update n.

    The reference decays by 0.95 every 1000 of 200000 steps (upstream.md 6.3), a tenth of the run; here the share is a setting.
    """

    def __init__(self, parameters: Sequence[Tensor], time_constant: float) -> None:
        self.decay = decay_of(time_constant)
        self.updates = 0
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, parameters: Sequence[Tensor], step: int) -> None:
        """Take in the weights after `step`; acts every PERIOD steps."""
        if (step + 1) % PERIOD:
            return
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.values, [p.detach() for p in parameters], 1 - decay)

    @torch.no_grad()
    def copy_to(self, parameters: Sequence[Tensor]) -> None:
        """Overwrite the weights with their average."""
        for parameter, value in zip(parameters, self.values, strict=True):
            parameter.copy_(value)
