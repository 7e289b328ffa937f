"""Frequency encoding in plain torch."""

import torch
from jaxtyping import Float
from torch import Tensor


def encode(x: Float[Tensor, "points dim"], octaves: int) -> Float[Tensor, "points features"]:
    """x, then sin(2^k x), cos(2^k x) for k = 0 ... octaves - 1."""
    scaled = x[:, None, :] * (2.0 ** torch.arange(octaves, dtype=x.dtype, device=x.device))[:, None]
    waves = torch.stack([scaled.sin(), scaled.cos()], dim=2)
    return torch.cat([x, waves.flatten(1)], dim=1)
