"""Groups of parameters that train at one rate."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate at the start."""

    name: str
    parameters: list[nn.Parameter]
    rate: float
