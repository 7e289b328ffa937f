"""From a sequence of landmarks or features to the windows that a method is conditioned on, the same in training and rendering."""

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.compatibility import WindowEdge
from r2talker.data.dataset import Dataset
from r2talker.data.folder import Statistics
from r2talker.drive.motion import BROWS, EYELIDS
from r2talker.drive.window import gather_windows
from r2talker.errors import R2TalkerError
from r2talker.types import DriveSpec

MINIMUM_STD = 1e-4
"""Floor of the standard deviation, so that a coordinate that never moves does not divide by zero."""


def window_conditions(
    sequence: Float[Tensor, "frames *shape"], drive: DriveSpec, statistics: Statistics, *, edge: WindowEdge = "replicate"
) -> Float[Tensor, "frames window *shape"]:
    """Normalise by the training split's statistics if the method asks for it, then gather windows (upstream.md 4.1)."""
    if drive.normalise:
        mean = torch.tensor(statistics.landmark_mean).to(sequence)
        std = torch.tensor(statistics.landmark_std).to(sequence).clamp_min(MINIMUM_STD)
        sequence = (sequence - mean) / std
    return gather_windows(sequence, drive.window, edge=edge)


def clip_sequence(dataset: Dataset, drive: DriveSpec, feature: str) -> Float[Tensor, "frames *shape"]:
    """What drove the frames of a clip: its landmarks, or windows of the audio feature of that name.

    R2TalkerError for a dataset without it.
    """
    if drive.kind == "landmarks":
        return dataset.displacements
    if feature not in dataset.audio:
        known = ", ".join(dataset.audio) or "none"
        raise R2TalkerError(
            f"{dataset.folder.root} has no {feature} features, which drive this method; it has {known} "
            "(add the sound as aud.wav, or take a method driven by landmarks)"
        )
    return dataset.audio[feature]


def limit_landmarks(
    sequence: Float[Tensor, "frames 68 3"], statistics: Statistics, limit: float
) -> Float[Tensor, "frames 68 3"]:
    """Hold landmarks within `limit` standard deviations of the training split's mean, brows and eyes within half of it across and up.

    upstream.md 7.2, where the statistics are those of the driving sequence itself (its section 10, defect 11).
    """
    mean, std = (torch.tensor(values).to(sequence) for values in (statistics.landmark_mean, statistics.landmark_std))
    reach = limit * std
    for part in (BROWS, EYELIDS):
        reach[part, :2] *= 0.5
    return sequence.clamp(mean - reach, mean + reach)
