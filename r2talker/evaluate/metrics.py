"""Picture metrics (upstream.md section 9)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(prediction: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> float:
    """Peak signal-to-noise ratio in dB of colours in [0, 1]; infinite for equal pictures."""
    error = float(torch.mean((prediction - truth) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)
