"""What the rays of a step teach beside the weights: where the head's error is large, how bright its frames are."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from r2talker.train.exposure import OPAQUE, Exposure
from r2talker.train.hard import HardMap
from r2talker.train.parallel import Team

HEAD, LIPS, EYES = 0, 1, 2
"""Places among a frame's rectangles."""


@dataclass(frozen=True)
class SeenRays:
    """Rays of a step and their colours.

    pixels: row-major, in pictures `width` pixels wide. rectangles: [slots, 4, 4] (top, bottom, left, right) of head, lips, eyes and face.
    wanted: the truth that they were compared with. own: frames that are driven by what belongs to them.
    """

    frames: Int[Tensor, " slots"]
    pixels: Int[Tensor, "slots rays"]
    rectangles: Int[Tensor, "slots 4 4"]
    shown: Float[Tensor, "slots rays 3"]
    wanted: Float[Tensor, "slots rays 3"]
    opacity: Float[Tensor, "slots rays"]
    own: Bool[Tensor, " slots"]
    width: int


@dataclass(frozen=True)
class Lessons:
    """Both, where they are asked for; they outlive a phase. learning: whether they change in this one."""

    hard: HardMap | None = None
    exposure: Exposure | None = None
    learning: bool = True

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the tensors themselves, which steps change in place."""
        hard = {} if self.hard is None else {"hard.sums": self.hard.sums}
        exposure = {} if self.exposure is None else {"exposure.sums": self.exposure.sums, "exposure.maps": self.exposure.maps}
        return {**hard, **exposure}

    def changing(self) -> list[Tensor]:
        """Everything that a step changes."""
        fresh = [part.fresh for part in (self.hard, self.exposure) if part is not None]
        return [*self.tensors().values(), *fresh]

    @property
    def notes(self) -> bool:
        """Whether rays are to be noted at all."""
        return bool(self._parts)

    @torch.no_grad()
    def note(self, rays: SeenRays) -> None:
        """Take in a step's rays."""
        if not self.notes:
            return
        if self.hard is not None:
            error = ((rays.shown.clamp(0, 1) - rays.wanted) ** 2).mean(dim=-1)
            self.hard.note(rays.pixels, rays.rectangles[:, HEAD], error, rays.own, rays.width)
        if self.exposure is not None:
            # Lips and eyes move, and what they show in the wrong moment is no matter of light.
            still = ~(_inside(rays, LIPS) | _inside(rays, EYES))
            self.exposure.note(rays.frames, rays.shown, rays.wanted, rays.own[:, None] & still & (rays.opacity > OPAQUE))

    def share(self, team: Team) -> None:
        """At the end of a step: what one process noted, all know, so that all learn the same."""
        for part in self._parts:
            team.sum(part.fresh)

    @torch.no_grad()
    def learn(self) -> None:
        """After `share`: make use of what was noted."""
        for part in self._parts:
            part.learn()

    @property
    def _parts(self) -> list[HardMap | Exposure]:
        return [part for part in (self.hard, self.exposure) if self.learning and part is not None]


NO_LESSONS = Lessons()


def _inside(rays: SeenRays, place: int) -> Bool[Tensor, "slots rays"]:
    top, bottom, left, right = (edge[:, None] for edge in rays.rectangles[:, place].unbind(1))
    rows, columns = rays.pixels // rays.width, rays.pixels % rays.width
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
