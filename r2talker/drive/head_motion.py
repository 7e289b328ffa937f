"""Which frame of the clip the head, brows and open eyes follow: replayed to and fro, or where the clip's speech is like the new.

The second way cuts the clip's own motion into stretches and joins them anew: from time to time it jumps to the frame before
which the clip was as loud, a second long, as the new sound has just been, and where the head was near to where it is
now. Motion graphs do the same by pose alone (Kovar et al. 2002, "Motion graphs"). It reads the past only, so live sound and
files move the head alike.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from r2talker.drive.poses import mirrored_indices

HISTORY = 25
"""Frames of loudness that are compared (a second)."""

SHORTEST_STRETCH = 25
"""Frames of the clip that are shown in a row at least."""

# Costs are in standard deviations of the clip; a jump must be better than going on by this much.
_GAIN = 0.2
_POSE_WEIGHT = 0.5
_SPEED_WEIGHT = 0.3
# Having been shown lately costs up to this much, and is forgotten in so many frames.
_REPEATED, _MEMORY = 1.0, 250.0


class Replay:
    """The clip's frames forwards, backwards, forwards, ... (upstream.md 2.6)."""

    def __init__(self, frames: int) -> None:
        self._frames, self._shown = frames, 0

    def advance(self, loudness: Float[Tensor, " frames"]) -> Int[Tensor, " frames"]:
        """Clip frames of the next `len(loudness)` frames, whatever the loudness."""
        count = len(loudness)
        indices = mirrored_indices(self._shown + count, self._frames)[self._shown :]
        # One period is enough to count in.
        self._shown = (self._shown + count) % (2 * self._frames)
        return indices


class SpeechMotion:
    """The clip's frames in stretches that fit the sound.

    c2w: [F, 4, 4] poses of the clip, smoothed. loudness: [F] of its sound, in the unit of `Heard.loudness`.
    """

    def __init__(self, c2w: Float[Tensor, "clip 4 4"], loudness: Float[Tensor, " clip"]) -> None:
        if len(c2w) != len(loudness) or len(c2w) == 0:
            raise ValueError(f"expected as many poses as loudness values and at least one, got {len(c2w)} and {len(loudness)}")
        clip = loudness.detach().cpu().float()
        self._mean, self._spread = clip.mean(), clip.std(correction=0).clamp_min(1e-3)
        # Before its first frame the clip was as loud as in it.
        known = pad(((clip - self._mean) / self._spread)[None], (HISTORY - 1, 0), mode="replicate")[0]
        self._histories = known.unfold(0, HISTORY, 1)
        pose = _pose_coordinates(c2w.detach().cpu().float())
        self._pose = (pose - pose.mean(0)) / pose.std(0, correction=0).norm().clamp_min(1e-9)
        speed = self._pose.diff(dim=0, prepend=self._pose[:1])
        self._speed = speed / speed.std(0, correction=0).norm().clamp_min(1e-9)
        self._last = torch.full((len(clip),), -torch.inf)
        self._heard = torch.full((HISTORY,), float(known[0]))
        self._at, self._run, self._time = -1, 0, 0

    def advance(self, loudness: Float[Tensor, " frames"]) -> Int[Tensor, " frames"]:
        """Clip frames of the next frames, given how loud they are."""
        values = (loudness.detach().cpu().float() - self._mean) / self._spread
        return torch.tensor([self._next(value) for value in values], dtype=torch.long)

    def _next(self, value: Tensor) -> int:
        self._heard = torch.cat([self._heard[1:], value[None]])
        following = self._at + 1
        ended = following >= len(self._last)
        if ended or self._run >= SHORTEST_STRETCH:
            cost = self._costs()
            # A stretch that begins near the end would be cut short.
            best = int(cost[: max(1, len(cost) - SHORTEST_STRETCH)].argmin())
            if ended or cost[best] + _GAIN < cost[following]:
                following, self._run = best, 0
        self._at, self._run, self._time = following, self._run + 1, self._time + 1
        self._last[following] = self._time
        return following

    def _costs(self) -> Float[Tensor, " clip"]:
        """How badly each frame of the clip would follow now."""
        at = max(self._at, 0)
        sound = (self._histories - self._heard).square().mean(1).sqrt()
        pose = (self._pose - self._pose[at]).norm(dim=1)
        speed = (self._speed - self._speed[at]).norm(dim=1)
        lately = torch.exp((self._last - self._time) / _MEMORY)
        cost = sound + _POSE_WEIGHT * pose + _SPEED_WEIGHT * speed
        # The frame that comes anyway was not shown lately, unless its whole stretch was.
        return cost + _REPEATED * lately


class PoseBlender:
    """Makes poses of a sequence of clip frames that jumps: what is left of the old pose fades out over some frames."""

    def __init__(self, c2w: Float[Tensor, "clip 4 4"], *, fade: int = 20) -> None:
        self._clip, self._fade = c2w.detach().cpu(), fade
        self._previous: int | None = None
        self._shown = self._clip[0]
        self._turn = torch.zeros(3, dtype=torch.float64)
        self._shift = torch.zeros(3, dtype=torch.float64)
        self._age = fade

    def advance(self, source: Int[Tensor, " frames"]) -> Float[Tensor, "frames 4 4"]:
        """Poses of the next frames, on the CPU, which follow the clip's frames `source`."""
        if len(source) == 0:
            return self._clip[:0]
        return torch.stack([self._next(index) for index in source.tolist()])

    def _next(self, index: int) -> Float[Tensor, "4 4"]:
        target = self._clip[index].to(torch.float64)
        if self._previous is not None and abs(index - self._previous) > 1:
            shown = self._shown.to(torch.float64)
            self._turn = rotation_vector(shown[:3, :3] @ target[:3, :3].T)
            self._shift, self._age = shown[:3, 3] - target[:3, 3], 0
        self._previous, self._age = index, self._age + 1
        share = max(0.0, 1 - self._age / self._fade)
        # Smoothstep, so that the fade begins and ends gently.
        share = share * share * (3 - 2 * share)
        pose = target.clone()
        if share > 0:
            pose[:3, :3] = rotation_matrix(self._turn * share) @ target[:3, :3]
            pose[:3, 3] += self._shift * share
        self._shown = pose.to(self._clip.dtype)
        return self._shown


def rotation_vector(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, " 3"]:
    """Axis times angle in radians, for angles below pi."""
    skew = torch.stack([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine = skew.norm() / 2
    angle = torch.atan2(sine, (rotation.trace() - 1) / 2)
    return skew / 2 * (angle / sine if sine > 1e-9 else 1.0)


def rotation_matrix(vector: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """Rotation about `vector` by its length in radians (Rodrigues)."""
    x, y, z = vector.unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    return torch.linalg.matrix_exp(cross)


def _pose_coordinates(c2w: Float[Tensor, "clip 4 4"]) -> Float[Tensor, "clip 12"]:
    """Position and rotation as one vector; a radian counts as much as a unit of length, as at the head's distance of about 3.35."""
    return torch.cat([c2w[:, :3, :3].flatten(1) * 3.35, c2w[:, :3, 3]], dim=1)
