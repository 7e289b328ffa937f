"""Eyes of one frame with the driving values of another, so that the eye value alone learns to open and close them.

A clip has few blinks, and a network of this size remembers each by the landmarks that happened to go with it: other landmarks, and the
eyes stay open. So some frames of a step are looked at by rays of their eyes only, driven by another frame's windows and their own eye value.
"""

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from r2talker.train.config import SamplingConfig

Role = Literal["face", "eyes"]
PERIOD = 8
"""One frame in so many is there for its eyes; where a step looks at one frame, one step in so many."""


def role_of(number: int, recombine: bool) -> Role:
    """The role of the frame of this number, counted over a step's frames or over steps."""
    return "eyes" if recombine and number % PERIOD == PERIOD - 1 else "face"


def driven_by_others(roles: list[Role], device: torch.device) -> Bool[Tensor, " slots"]:
    """Which frames of a step take another frame's windows."""
    return torch.tensor([role == "eyes" for role in roles], device=device)


def sampling_of(role: Role, config: SamplingConfig) -> SamplingConfig:
    """Where the rays of a frame in this role go."""
    return config if role == "face" else SamplingConfig(anywhere=0.0, lips=0.0, eyes=1.0)
