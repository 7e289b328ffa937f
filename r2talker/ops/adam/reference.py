"""The step in plain torch."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

BETAS = (0.9, 0.99)
EPSILON = 1e-15


@torch.no_grad()
def update(
    values: Float[Tensor, " n"],
    gradients: Float[Tensor, " n"],
    mean: Float[Tensor, " n"],
    square: Float[Tensor, " n"],
    *,
    step: int,
    rate: float,
) -> None:
    """Step number `step` (from 0) of Adam (Kingma and Ba 2015) in place; afterwards the gradients are zero."""
    mean.lerp_(gradients, 1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
    correction = math.sqrt(1 - BETAS[1] ** (step + 1))
    values.addcdiv_(mean, square.sqrt() / correction + EPSILON, value=-rate / (1 - BETAS[0] ** (step + 1)))
    gradients.zero_()
