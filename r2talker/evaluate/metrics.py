"""Picture metrics (upstream.md section 9)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(prediction: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> float:
    """Peak signal-to-noise ratio in dB of colours in [0, 1]; infinite for equal pictures."""
    error = float(torch.mean((prediction - truth) ** 2))
    return math.inf if error == 0 else -10 * math.log10(error)


def mouth_distance(prediction: Float[Tensor, "68 2"], truth: Float[Tensor, "68 2"]) -> float:
    """LMD: mean distance of the mouth points 48 to 67 in pixels, each set relative to its own mean."""
    a, b = prediction[48:], truth[48:]
    return float(((a - a.mean(0)) - (b - b.mean(0))).norm(dim=-1).mean())
