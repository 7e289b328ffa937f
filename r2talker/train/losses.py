"""Losses of the phases (upstream.md 6.2)."""

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-5


def squared_error(prediction: Float[Tensor, "rays 3"], truth: Float[Tensor, "rays 3"]) -> Float[Tensor, ""]:
    """Mean over rays and channels of the squared difference."""
    return torch.mean((prediction - truth) ** 2)


def binary_entropy(opacity: Float[Tensor, " rays"]) -> Float[Tensor, ""]:
    """Mean entropy in bits of opacities, which pushes them to 0 or 1; clamped to [1e-5, 1 - 1e-5]."""
    a = opacity.clamp(EPSILON, 1 - EPSILON)
    return torch.mean(-a * torch.log2(a) - (1 - a) * torch.log2(1 - a))
