"""Eyes of one frame with the driving values of another, so that the eye value alone learns to open and close them.

A clip has few blinks, and a network of this size remembers each by the landmarks that happened to go with it: other landmarks, and the
eyes stay open. So some frames of a step are looked at by rays of their eyes only, driven by another frame's windows and their own eye value.
They are chosen so that every opening comes as often: half-closed eyes are rare, and open ones, whose lids also follow the brows, learn
nothing from landmarks that are not theirs.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from r2talker.train.config import SamplingConfig
from r2talker.train.sampling import frame_of_step

Role = Literal["face", "eyes"]
PERIOD = 8
"""One frame in so many is there for its eyes; where a step looks at one frame, one step in so many."""

CLASSES = 5
"""Of openings between the narrowest and the usual one; wider ones are one more."""


def role_of(number: int, recombine: bool) -> Role:
    """The role of the frame of this number, counted over a step's frames or over steps."""
    return "eyes" if recombine and number % PERIOD == PERIOD - 1 else "face"


def driven_by_others(roles: list[Role], device: torch.device) -> Bool[Tensor, " slots"]:
    """Which frames of a step take another frame's windows."""
    return torch.tensor([role == "eyes" for role in roles], device=device)


def sampling_of(role: Role, config: SamplingConfig) -> SamplingConfig:
    """Where the rays of a frame in this role go."""
    return config if role == "face" else SamplingConfig(anywhere=0.0, lips=0.0, eyes=1.0)


def classes_of_openings(eye: Float[Tensor, " frames"], kept: Sequence[int]) -> list[list[int]]:
    """The frames of `kept` by how far their eyes are open, classes of equal width; empty ones are left out. eye: value of every frame."""
    values = eye[list(kept)].cpu()
    narrowest, usual = values.min(), values.median()
    number = ((values - narrowest) / (usual - narrowest).clamp_min(1e-9) * CLASSES).long().clamp(0, CLASSES)
    members = [[frame for frame, own in zip(kept, number.tolist(), strict=True) if own == k] for k in range(CLASSES + 1)]
    return [frames for frames in members if frames]


def frame_for_eyes(classes: list[list[int]], seed: int, occasion: int) -> int:
    """The frame that is there for its eyes for the `occasion`-th time: every class as often, and within it every frame."""
    frames = classes[frame_of_step(len(classes), seed + 2, occasion)]
    return frames[frame_of_step(len(frames), seed + 3, occasion // len(classes))]
