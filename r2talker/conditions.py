"""From a sequence of landmarks or features to the windows that a method is conditioned on, the same in training and rendering."""

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.data.folder import Statistics
from r2talker.drive.window import gather_windows
from r2talker.types import DriveSpec

MINIMUM_STD = 1e-4
"""Floor of the standard deviation, so that a coordinate that never moves does not divide by zero."""


def window_conditions(
    sequence: Float[Tensor, "frames *shape"], drive: DriveSpec, statistics: Statistics, *, edge: str = "replicate"
) -> Float[Tensor, "frames window *shape"]:
    """Normalise by the training split's statistics if the method asks for it, then gather windows (upstream.md 4.1)."""
    if drive.normalise:
        mean = torch.tensor(statistics.landmark_mean).to(sequence)
        std = torch.tensor(statistics.landmark_std).to(sequence).clamp_min(MINIMUM_STD)
        sequence = (sequence - mean) / std
    return gather_windows(sequence, drive.window, edge="zeros" if edge == "zeros" else "replicate")
