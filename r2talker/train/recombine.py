"""Driving values put together of two frames, so that mouth and eyes learn not to explain each other.

A clip has few blinks, and a network of this size remembers each by the landmarks that happened to go with it: other landmarks, and the
eyes stay open. So some frames of a step are there for one part of the face only: its rays alone are looked at, and what drives the rest
of the face comes from another frame of the clip.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from r2talker.train.config import SamplingConfig
from r2talker.types import DriveSpec

Role = Literal["face", "mouth", "eyes"]
PATTERN: tuple[Role, ...] = ("face", "face", "face", "mouth", "face", "face", "face", "eyes")
"""Roles of a step's frames in turn; where a step looks at one frame, of the steps."""
LANDMARKS = 68
UPPER = (*range(17, 27), *range(36, 48))
"""Brows and eyelids."""


@dataclass(frozen=True)
class Exchange:
    """What the frames of a step take from others: `windows` [slots, 1, rows, 1] (one row for sound), `eye` [slots]."""

    windows: Bool[Tensor, "slots 1 rows 1"]
    eye: Bool[Tensor, " slots"]

    def of(
        self,
        windows: Float[Tensor, "slots window rows columns"],
        eye: Float[Tensor, " slots"],
        other_windows: Float[Tensor, "slots window rows columns"],
        other_eye: Float[Tensor, " slots"],
    ) -> tuple[Tensor, Tensor]:
        """Windows and eye values with the parts that they take from the others."""
        return torch.where(self.windows, other_windows, windows), torch.where(self.eye, other_eye, eye)


def exchange(roles: list[Role], drive: DriveSpec, device: torch.device) -> Exchange:
    """What each role takes: the mouth brows, eyelids and eye value; the eyes all but the eye value, which alone is to move them."""
    landmarks = drive.kind == "landmarks"
    upper = torch.zeros(LANDMARKS if landmarks else 1, dtype=torch.bool)
    if landmarks:
        upper[list(UPPER)] = True
    taken = {"face": torch.zeros_like(upper), "mouth": upper, "eyes": torch.ones_like(upper)}
    windows = torch.stack([taken[role] for role in roles])[:, None, :, None]
    return Exchange(windows.to(device), torch.tensor([role == "mouth" for role in roles], device=device))


def role_of(number: int, recombine: bool) -> Role:
    """The role of the frame of this number, counted over a step's frames or over steps."""
    return PATTERN[number % len(PATTERN)] if recombine else "face"


def sampling_of(role: Role, config: SamplingConfig) -> SamplingConfig:
    """Where the rays of a frame in this role go."""
    only = {"mouth": SamplingConfig(anywhere=0.0, lips=1.0, eyes=0.0), "eyes": SamplingConfig(anywhere=0.0, lips=0.0, eyes=1.0)}
    return only.get(role, config)
