"""Blinks: found in the clip's eye values, and made anew with the clip's shapes and timing.

A blink is a short dip of the eye opening below its neighbourhood. The pauses between blinks are drawn from those of the clip
where it shows enough of them, else blinks come as a Poisson process at the clip's rate, or at the usual rate of a person who
speaks where the clip shows none (26 per minute in conversation: Bentivoglio et al. 1997, "Analysis of blink rate patterns in
normal subjects").
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

FRAME_RATE = 25
BEFORE, AFTER = 4, 7
"""Frames of a blink's shape before and after its lowest point: lids close faster than they open."""

USUAL_RATE = 26 / 60
"""Blinks per second of a person who speaks."""

SHORTEST_PAUSE = 12
"""Frames between two blinks, which else would overlap."""

_NEIGHBOURHOOD = 25
_DIP = 0.65
_ENOUGH_PAUSES = 4
# Lids of a clip without a blink close to a tenth within three frames and open within five.
_USUAL_SHAPE = (1.0, 1.0, 0.85, 0.4, 0.1, 0.25, 0.5, 0.7, 0.85, 0.95, 1.0, 1.0)


@dataclass(frozen=True)
class BlinkStyle:
    """How a person blinks.

    shapes: eye opening relative to the open eye, frames BEFORE before to AFTER after the lowest. pauses: frames between
    lowest points of consecutive blinks as the clip shows them, in no order; empty where `rate` (blinks per second) says more.
    """

    shapes: Float[Tensor, "blinks 12"]
    pauses: Int[Tensor, " pauses"]
    rate: float


@dataclass(frozen=True)
class EyeTrack:
    """A clip's eye opening without its blinks, and the lowest frames of the blinks."""

    open: Float[Tensor, " frames"]
    blinks: Int[Tensor, " blinks"]


def find_blinks(eye: Float[Tensor, " frames"]) -> EyeTrack:
    """Dips below 0.65 of the median of the two seconds around; what they hide is interpolated linearly."""
    frames = eye.shape[0]
    if frames == 0:
        return EyeTrack(eye, torch.zeros(0, dtype=torch.long))
    values = eye.detach().cpu().float()
    around = pad(values[None], (_NEIGHBOURHOOD, _NEIGHBOURHOOD), mode="replicate")[0].unfold(0, 2 * _NEIGHBOURHOOD + 1, 1)
    dipped = values < _DIP * around.median(1).values
    lowest: list[int] = []
    for frame in dipped.nonzero()[:, 0].tolist():
        if lowest and frame - lowest[-1] < SHORTEST_PAUSE:
            # Of a dip's frames, and of blinks too close to tell apart, the lowest stands for all.
            if values[frame] < values[lowest[-1]]:
                lowest[-1] = frame
        else:
            lowest.append(frame)
    hidden = torch.zeros(frames, dtype=torch.bool)
    for frame in lowest:
        hidden[max(0, frame - BEFORE) : frame + AFTER + 1] = True
    return EyeTrack(_bridged(values, hidden).to(eye), torch.tensor(lowest, dtype=torch.long))


def learn_blinks(eye: Float[Tensor, " frames"]) -> BlinkStyle:
    """Shapes and timing of a clip's blinks."""
    track, values = find_blinks(eye), eye.detach().cpu().float()
    whole = [b for b in track.blinks.tolist() if b >= BEFORE and b + AFTER < len(values)]
    shapes = [values[b - BEFORE : b + AFTER + 1] / track.open.cpu()[b - BEFORE : b + AFTER + 1].clamp_min(1e-6) for b in whole]
    pauses, seconds = track.blinks.diff(), len(values) / FRAME_RATE
    if len(pauses) < _ENOUGH_PAUSES:
        pauses = pauses[:0]
    return BlinkStyle(
        shapes=torch.stack(shapes).clamp(0, 1) if shapes else torch.tensor([_USUAL_SHAPE]),
        pauses=pauses,
        rate=len(track.blinks) / seconds if len(track.blinks) else USUAL_RATE,
    )


class Blinker:
    """Makes blinks for as long as it is asked; the same seed makes the same ones, however many frames are asked for at once."""

    def __init__(self, style: BlinkStyle, *, seed: int = 0) -> None:
        self._style = style
        self._generator = torch.Generator().manual_seed(seed)
        self._wait = self._pause()
        self._ahead = torch.ones(0)

    def advance(self, frames: int) -> Float[Tensor, " frames"]:
        """Eye opening of the next frames, relative to the open eye."""
        while len(self._ahead) < frames:
            # A pause counts from lowest point to lowest point.
            rest = torch.ones(max(0, self._wait - BEFORE - AFTER - 1))
            self._ahead = torch.cat([self._ahead, rest, self._style.shapes[self._draw(len(self._style.shapes))]])
            self._wait = self._pause()
        made, self._ahead = self._ahead[:frames], self._ahead[frames:].clone()
        return made

    def _pause(self) -> int:
        """Frames from one blink to the next."""
        if len(self._style.pauses):
            # Up to a fifth longer or shorter, so that a few pauses do not repeat audibly.
            stretch = 0.8 + 0.4 * torch.rand(1, generator=self._generator).item()
            return max(SHORTEST_PAUSE, int(self._style.pauses[self._draw(len(self._style.pauses))] * stretch))
        uniform = torch.rand(1, generator=self._generator, dtype=torch.float64).item()
        wait = -torch.log1p(torch.tensor(-uniform)).item() / self._style.rate * FRAME_RATE
        return max(SHORTEST_PAUSE, int(wait))

    def _draw(self, count: int) -> int:
        return int(torch.randint(0, count, (1,), generator=self._generator))


def _bridged(values: Float[Tensor, " frames"], hidden: Tensor) -> Float[Tensor, " frames"]:
    """Linear interpolation over hidden frames; the nearest visible value at the ends."""
    seen = (~hidden).nonzero()[:, 0]
    if len(seen) == 0:
        return torch.full_like(values, values.median().item())
    frame = torch.arange(len(values))
    right = torch.searchsorted(seen, frame).clamp(max=len(seen) - 1)
    left = (torch.searchsorted(seen, frame, right=True) - 1).clamp(min=0)
    first, last = seen[left], seen[right]
    share = ((frame - first) / (last - first).clamp_min(1)).clamp(0, 1)
    return torch.lerp(values[first], values[last], share)
