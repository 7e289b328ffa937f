"""What drives the frames that are trained on, ready for a method."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.compatibility import OURS, UPSTREAM, WindowEdge
from r2talker.conditions import clip_sequence, window_conditions
from r2talker.data.dataset import Dataset
from r2talker.types import DriveSpec

FEATURE = "mel"
"""The audio feature that ingest always writes; methods driven by audio train on it."""


@dataclass(frozen=True)
class Conditions:
    """Of every frame of a dataset: windows [F, W, ...] and eye values [F]. eye_unit, eye_rest: percent of the picture
    that eye values of 1 and 0 are further apart, and that one of 0 is."""

    windows: Float[Tensor, "frames window *shape"]
    eye: Float[Tensor, " frames"]
    eye_unit: float = 1.0
    eye_rest: float = 0.0

    def to(self, device: torch.device) -> "Conditions":
        return Conditions(self.windows.to(device), self.eye.to(device), self.eye_unit, self.eye_rest)


def window_edge(rules: Literal["own", "reference"]) -> WindowEdge:
    """What windows hold beyond the ends of the clip."""
    return UPSTREAM.window_edge if rules == "reference" else OURS.window_edge


def read_conditions(dataset: Dataset, drive: DriveSpec, edge: WindowEdge, *, from_usual: bool) -> Conditions:
    """Windows of the landmarks or the sound, and eye values in units of the usual opening of the training frames.

    In percent of the picture open and closed eyes differ by 0.2, which a network takes long to notice.
    from_usual: they count from that opening, so that open eyes enter a network as nothing.
    Raises R2TalkerError for a dataset without sound where sound is to drive.
    """
    windows = window_conditions(clip_sequence(dataset, drive, FEATURE), drive, dataset.info.statistics, edge=edge)
    usual = float(dataset.eye[: len(dataset.train)].median())
    unit = usual if usual > 0 else 1.0
    rest = unit if from_usual else 0.0
    return Conditions(windows, (dataset.eye - rest) / unit, unit, rest)
