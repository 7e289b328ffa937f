"""How bright each training frame is: gains and offsets of the head's colours (`--exposure`).

A camera that sets its exposure by itself makes the same face brighter in one frame than in another. The picture of frame f is then
g_f * usual + o_f in every channel, where `usual` is what the avatar is to show. Whatever the head is compared with, truth and what
stands behind it, is taken back to the usual exposure, (colour - o_f) / g_f; since compositing is linear with weights that sum to one
this says exactly that the head alone has the frame's exposure, and what is behind it keeps its own. Gains and offsets are those that
fit the head's colours to the truth best, in closed form from running sums over the visits of a frame.

The head must not be asked with the frame's own landmarks (or sound) and code: by these it remembers after a few visits how bright each
frame was, and nothing is left to be explained. So it is asked with those of a frame drawn anew at every visit, in rays of their own;
what it remembers of that one's exposure averages out over visits, and lips and eyes, which differ, do not count.
"""

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from r2talker.data.dataset import torso_over_background

START_SHARE = 0.2
"""Of the head phase's steps, before which the head is too much of a fog to be compared with anything."""
KEPT = 0.9
"""Of a frame's sums at its next visit: the head was worse when they were made."""
NOISE = 1e-3
"""Squared error of the rays of a visit at which it has half its weight."""
OPAQUE = 0.95
"""Least opacity of rays that count: they show the head itself, neither its edge, which may lie beside the truth's, nor the torso."""
DARKEST, BRIGHTEST = 2 / 255, 253 / 255
"""Colours of the truth between which it counts: clipped ones follow no gain."""
GAIN_PRIOR, OFFSET_PRIOR = 1.0, 64.0
"""Weights, in rays of colour 1, of a gain's distance from 1 and of an offset's from 0: colours of a face spread little, so that the two
can hardly be told apart, and exposure is a gain first of all."""
BOUNDS = 0.5, 2.0
"""Of the gains."""


class Exposure:
    """Gain and offset of every training frame.

    maps: [frames, 2, 3] gains and offsets per channel; their mean over the frames seen so far is the identity. sums: [frames, 5, 3] over
    rays: number, colour, its square, truth, their product. fresh: the same of the step in progress.
    """

    def __init__(self, frames: int, device: torch.device) -> None:
        self.maps = torch.stack([torch.ones(frames, 3), torch.zeros(frames, 3)], dim=1).to(device)
        self.sums = torch.zeros(frames, 5, 3, device=device)
        self.fresh = torch.zeros_like(self.sums)

    def undo(self, colours: Float[Tensor, "slots rays 3"], frames: Int[Tensor, " slots"]) -> Float[Tensor, "slots rays 3"]:
        """Colours of the frames as they would be at the usual exposure."""
        gain, offset = self._of(frames)
        return (colours - offset) / gain

    def note(
        self,
        frames: Int[Tensor, " slots"],
        shown: Float[Tensor, "slots rays 3"],
        wanted: Float[Tensor, "slots rays 3"],
        counted: Bool[Tensor, "slots rays"],
    ) -> None:
        """Take in a visit: what rays show at the usual exposure, and the truth, which went through `undo`."""
        gain, offset = self._of(frames)
        truth = wanted * gain + offset
        weight = (counted[..., None] & (truth > DARKEST) & (truth < BRIGHTEST)).float()
        error = ((shown - wanted) ** 2 * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp_min(1)
        weight = weight * (NOISE / (NOISE + error))[:, None, None]
        seen = weight * shown
        parts = torch.stack([weight, seen, seen * shown, weight * truth, seen * truth], dim=1)
        self.fresh.index_add_(0, frames, parts.sum(dim=2))

    def learn(self) -> None:
        """At the end of a step: fit the maps anew, with what was noted."""
        visited = self.fresh[:, :1].sum(dim=2, keepdim=True) > 0
        self.sums.copy_(torch.where(visited, KEPT * self.sums, self.sums) + self.fresh)
        self.fresh.zero_()
        self.maps.copy_(fit_exposures(self.sums))

    def _of(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        gain, offset = self.maps.index_select(0, frames)[:, :, None].unbind(1)
        return gain, offset


def usual_torso(
    torso: UInt8[Tensor, "pixels 4"], plate: UInt8[Tensor, "pixels 3"], exposure: Exposure | None, frame: Int[Tensor, "1"]
) -> Float[Tensor, "pixels 3"]:
    """A frame's torso over the plate as it would be at the usual exposure, so that it meets the head's in one brightness at the neck."""
    if exposure is None:
        return torso_over_background(torso, plate)
    alpha = torso[:, 3:].float() / 255
    colours = exposure.undo(torso[None, :, :3].float() / 255, frame)[0]
    return colours * alpha + plate.float() / 255 * (1 - alpha)


def fit_exposures(sums: Float[Tensor, "frames 5 3"]) -> Float[Tensor, "frames 2 3"]:
    """Gains g and offsets o that minimise the sum over rays of (g * colour + o - truth)^2 + GAIN_PRIOR (g - 1)^2 + OFFSET_PRIOR o^2,
    relative to their mean over the frames that were seen; the identity for those that were not.

    With x' = mean(g) x + mean(o) for the usual colours, g x + o is (g / mean(g)) x' + o - (g / mean(g)) mean(o), whose means are 1 and 0.
    """
    count, colour, square, truth, product = sums.unbind(1)
    a, b, d = square + GAIN_PRIOR, colour, count + OFFSET_PRIOR
    # Solved for the distance from the identity, which is exact where there is none.
    right, below = product - square, truth - colour
    determinant = a * d - b * b
    gain = (1 + (right * d - below * b) / determinant).clamp(*BOUNDS)
    offset = (below * a - right * b) / determinant
    seen = (count.sum(dim=1, keepdim=True) > 0).float()
    frames = seen.sum().clamp_min(1)
    gain_mean, offset_mean = ((values * seen).sum(dim=0) / frames for values in (gain, offset))
    # Filled, not chosen by `where`: graphs cannot be recorded with a number that has to be brought to the device.
    relative = gain / gain_mean.masked_fill(gain_mean <= 0, 1.0)
    fitted = torch.stack([relative, offset - relative * offset_mean], dim=1)
    return torch.where(seen[..., None] > 0, fitted, torch.stack([torch.ones_like(gain), torch.zeros_like(gain)], dim=1))
