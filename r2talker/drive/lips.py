"""Distances between points of the lips, which sound moves more than anything else in a face."""

import torch
from jaxtyping import Float
from torch import Tensor

LIP_PAIRS = ((62, 66, 1), (61, 67, 1), (63, 65, 1), (51, 57, 1), (48, 54, 0))
"""Inner lip opening at its middle and both sides, outer lip height, mouth width: upper or left point, other point, axis."""


def lip_distances(landmarks: Float[Tensor, "frames 68 3"]) -> Float[Tensor, "frames pairs"]:
    """Signed distances of LIP_PAIRS, up to a constant of the person when given displacements."""
    return torch.stack(
        [(landmarks[:, a, axis] - landmarks[:, b, axis]) * (1 if axis else -1) for a, b, axis in LIP_PAIRS], dim=1
    )
