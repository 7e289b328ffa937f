"""What moves besides the mouth: head, brows, eyes and blinks, frame by frame as the sound comes."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.drive.blinks import Blinker, find_blinks, learn_blinks
from r2talker.drive.config import Smoothing
from r2talker.drive.head_motion import PoseBlender, Replay, SpeechMotion
from r2talker.drive.motion import BROWS, EYELIDS
from r2talker.drive.poses import smooth_poses
from r2talker.drive.smoothing import smooth_values


@dataclass(frozen=True)
class LifeStyle:
    """How the face lives while the mouth speaks.

    head: the clip's motion replayed to and fro, or its stretches joined anew so that they fit the sound. blinks: the clip's own
    where they are, new ones with the clip's shapes and timing, or none. seed: of the new blinks.
    """

    head: Literal["replay", "speech"] = "replay"
    blinks: Literal["clip", "new", "none"] = "clip"
    seed: int = 0


# Brows and open eyes glide to their new place in so many frames after a jump.
_FADE = 10


@dataclass(frozen=True)
class Track:
    """What the clip itself did in every frame: replayed for poses, eyes and brows, or whole.

    c2w: [F, 4, 4] NGP space. eye: [F] percent of the picture. displacements: [F, 68, 3]. loudness: [F] of the clip's sound, in
    the unit of `Heard.loudness`; None for a clip without sound. features: [F, 16, K] audio feature windows, of avatars that cannot
    make them of sound themselves.
    """

    c2w: Float[Tensor, "clip 4 4"]
    eye: Float[Tensor, " clip"]
    displacements: Float[Tensor, "clip 68 3"]
    loudness: Float[Tensor, " clip"] | None = None
    features: Float[Tensor, "clip 16 width"] | None = None

    def part(self, frames: slice) -> "Track":
        """Some frames of the clip."""
        return replace(self, **{name: values[frames] for name, values in vars(self).items() if values is not None})


@dataclass(frozen=True)
class Performance:
    """Poses, eye values and landmarks of some frames; `source` is the frame of the clip that each follows."""

    c2w: Float[Tensor, "frames 4 4"]
    eye: Float[Tensor, " frames"]
    landmarks: Float[Tensor, "frames 68 3"]
    source: Int[Tensor, " frames"]


class Life:
    """Gives landmarks of a mouth the rest of a face, as many frames at a time as there are; memory does not grow."""

    def __init__(
        self,
        track: Track,
        style: LifeStyle,
        *,
        eye: float | Float[Tensor, " recorded"] | None = None,
        eye_slope: Float[Tensor, "68 3"] | None = None,
        smoothing: Smoothing | None = None,
    ) -> None:
        """eye: opening in percent of the picture instead of the clip's: a constant (new blinks still close it), or recorded values
        that are replayed to and fro. eye_slope: how eyelid landmarks follow the eye value (`MotionModel.eye_slope`). smoothing: of
        poses and eye values. ValueError for head motion that fits the sound without the clip's loudness.
        """
        if style.head == "speech" and track.loudness is None:
            raise ValueError("the loudness of the clip is not known, so its motion cannot be fitted to the sound")
        self._clip = track
        smoothing = smoothing or Smoothing()
        poses = smooth_poses(track.c2w, smoothing.smooth_path)
        speech = track.loudness if style.head == "speech" else None
        self._motion = Replay(len(poses)) if speech is None else SpeechMotion(poses, speech)
        self._poses = PoseBlender(poses)
        recorded = smooth_values(eye if isinstance(eye, Tensor) else track.eye, smoothing.smooth_eyes)
        self._open = recorded if style.blinks == "clip" else find_blinks(recorded).open
        self._own_eyes = Replay(len(eye)) if isinstance(eye, Tensor) else None
        self._blinker = Blinker(learn_blinks(track.eye), seed=style.seed) if style.blinks == "new" else None
        self._constant = None if isinstance(eye, Tensor) else eye
        self._slope = torch.zeros_like(track.displacements[0]) if eye_slope is None else eye_slope.to(track.displacements)
        lids = track.displacements[:, EYELIDS]
        self._lid_range = lids.amin(0), lids.amax(0)
        self._glide = _Glide(_FADE)

    def advance(self, landmarks: Float[Tensor, "frames 68 3"], loudness: Float[Tensor, " frames"]) -> Performance:
        """The next frames: `landmarks` with brows, eyelids and eye values of a living face, and the head's poses."""
        source = self._motion.advance(loudness)
        c2w = self._poses.advance(source).to(self._clip.c2w.device)
        source = source.to(self._clip.eye.device)
        shown = self._clip.displacements[source]
        open_eye = self._open_eye(source, loudness)
        upper = torch.cat([shown[:, BROWS].flatten(1), shown[:, EYELIDS].flatten(1), open_eye[:, None]], dim=1)
        upper = self._glide.advance(upper, source)
        brows, lids, eye = upper.split([30, 36, 1], dim=1)
        eye = eye[:, 0]
        if self._blinker is not None:
            eye = eye * self._blinker.advance(len(eye)).to(eye)
        whole = landmarks.clone()
        whole[:, BROWS] = brows.unflatten(1, (10, 3))
        # Eyelid landmarks agree with the eye value: they move from what the clip had by what the value differs from the clip's.
        moved = lids.unflatten(1, (12, 3)) + (eye - self._clip.eye[source])[:, None, None] * self._slope[EYELIDS]
        whole[:, EYELIDS] = moved.clamp(*self._lid_range)
        return Performance(c2w, eye, whole, source)

    def _open_eye(self, source: Int[Tensor, " frames"], loudness: Float[Tensor, " frames"]) -> Float[Tensor, " frames"]:
        """The next eye values before new blinks."""
        if self._constant is not None:
            return torch.full((len(source),), self._constant).to(self._open)
        if self._own_eyes is not None:
            source = self._own_eyes.advance(loudness).to(source.device)
        return self._open[source]


class _Glide:
    """Takes the jumps out of values that follow clip frames: the difference at a jump fades linearly."""

    def __init__(self, fade: int) -> None:
        self._fade, self._age = fade, fade
        self._previous: int | None = None
        self._shown: Tensor | None = None
        self._left: Tensor | None = None

    def advance(self, values: Float[Tensor, "frames width"], source: Int[Tensor, " frames"]) -> Float[Tensor, "frames width"]:
        made = []
        for value, index in zip(values, source.tolist(), strict=True):
            if self._shown is not None and self._previous is not None and abs(index - self._previous) > 1:
                self._left, self._age = self._shown - value, 0
            self._age += 1
            share = max(0.0, 1 - self._age / self._fade)
            shown = value if self._left is None or share == 0 else value + self._left * share
            self._previous, self._shown = index, shown
            made.append(shown)
        return torch.stack(made) if made else values
