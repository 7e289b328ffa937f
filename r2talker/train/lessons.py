"""What rays teach beside the weights: where the head's error is large, how bright the frames are, where their cameras stood."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from r2talker.data.regions import inside_rectangles
from r2talker.train.corrections import Corrections
from r2talker.train.exposure import OPAQUE, Exposure
from r2talker.train.hard import HardMap

HEAD, LIPS, EYES = 0, 1, 2
"""Places among a frame's rectangles."""


@dataclass(frozen=True)
class SeenRays:
    """Rays and their colours.

    pixels: row-major, in pictures `width` pixels wide. rectangles: [slots, 4, 4] (top, bottom, left, right) of head, lips, eyes and face.
    wanted: the truth that they were compared with, at the usual exposure.
    """

    frames: Int[Tensor, " slots"]
    pixels: Int[Tensor, "slots rays"]
    rectangles: Int[Tensor, "slots 4 4"]
    shown: Float[Tensor, "slots rays 3"]
    wanted: Float[Tensor, "slots rays 3"]
    opacity: Float[Tensor, "slots rays"]
    width: int


@dataclass(frozen=True)
class Lessons:
    """All that are asked for; they outlive a phase. learning: whether hard and exposure change in this one."""

    hard: HardMap | None = None
    exposure: Exposure | None = None
    cameras: Corrections | None = None
    learning: bool = True

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the tensors themselves, which steps change in place."""
        hard = {} if self.hard is None else {"hard.sums": self.hard.sums}
        exposure = {} if self.exposure is None else {"exposure.sums": self.exposure.sums, "exposure.maps": self.exposure.maps}
        cameras = {} if self.cameras is None else {"cameras.values": self.cameras.values}
        return {**hard, **exposure, **cameras}

    def changing(self) -> list[Tensor]:
        """Everything that a step changes."""
        fresh = [part.fresh for part in (self.hard, self.exposure) if part is not None]
        return [*self.tensors().values(), *fresh]

    @property
    def studied(self) -> Exposure | None:
        """The exposures, where this phase is to find them."""
        return self.exposure if self.learning else None


NO_LESSONS = Lessons()


@torch.no_grad()
def note_errors(hard: HardMap, rays: SeenRays, own: Bool[Tensor, " slots"]) -> None:
    """Take in how far a step's rays are off. own: frames that are driven by what belongs to them."""
    error = ((rays.shown.clamp(0, 1) - rays.wanted) ** 2).mean(dim=-1)
    hard.note(rays.pixels, rays.rectangles[:, HEAD], error, own, rays.width)


@torch.no_grad()
def note_exposure(exposure: Exposure, rays: SeenRays) -> None:
    """Take in a visit of frames by rays that are driven by other frames."""
    # Lips and eyes move, and what they show in another moment is no matter of light.
    still = ~(_inside(rays, LIPS) | _inside(rays, EYES))
    exposure.note(rays.frames, rays.shown, rays.wanted, still & (rays.opacity > OPAQUE))


def _inside(rays: SeenRays, place: int) -> Bool[Tensor, "slots rays"]:
    return inside_rectangles(rays.rectangles[:, place], rays.pixels // rays.width, rays.pixels % rays.width)
