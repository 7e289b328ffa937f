"""From the session's frames to what the renderer draws: ear, life and windows of one listener's avatar."""

import math
from collections import deque
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.conditions import window_conditions
from r2talker.drive.blinks import learn_blinks
from r2talker.drive.head_motion import rotation_matrix
from r2talker.drive.life import Life, LifeStyle, Track
from r2talker.drive.log_mel import LogMel
from r2talker.drive.motion import BROWS, EYELIDS
from r2talker.live.ear import make_ear
from r2talker.live.session import FRAME_RATE, FRAME_SAMPLES, Planned

BREATHS = 0.25
"""Breaths per second of a person at rest (12 to 20 a minute)."""
RISE, NOD = 0.008, 0.003
"""How far a breath lifts the head (NGP units; 2 mm) and tilts it (radians)."""
FALL_SILENT = 0.5
"""Share of the last mouths that windows still see after an interruption, so that the mouth does not snap shut."""


@dataclass(frozen=True)
class Moved:
    """One frame as it is to be drawn. values: what drives it, landmarks or feature rows, before windows."""

    values: Float[Tensor, "*shape"]
    window: Float[Tensor, "window *shape"]
    eye: Float[Tensor, ""]
    c2w: Float[Tensor, "4 4"]


@dataclass(frozen=True)
class Direction:
    """What is not left to the avatar. eye: constant opening, percent of the picture. pose, face: frames of the clip to show."""

    eye: float | None = None
    pose: int | None = None
    face: int | None = None


@dataclass(frozen=True)
class _Frame:
    values: Tensor
    eye: Tensor
    c2w: Tensor


def on_cpu(avatar: Avatar) -> Avatar:
    """The avatar with what performers use on the CPU, where such small steps are quicker and wait for no other listener's pictures."""
    if avatar.device.type == "cpu":
        return avatar
    track, motion = avatar.track, avatar.motion
    loudness = None if track.loudness is None else track.loudness.cpu()
    moved = Track(track.c2w.cpu(), track.eye.cpu(), track.displacements.cpu(), loudness)
    return replace(avatar, track=moved, motion=None if motion is None else deepcopy(motion).cpu())


class Performer:
    """Lives from frame to frame, on the avatar's device (see `on_cpu`). Not to be used by two threads at once."""

    def __init__(self, avatar: Avatar, *, seed: int = 0, wait: int | None = None) -> None:
        """wait: frames after its own that a landmark window waits for; the last known stands for the rest. None waits for all."""
        self.avatar = avatar
        self._drive = avatar.model.method.drive
        self._ear = make_ear(avatar)
        self._after = self._drive.window - 1 - self._drive.window // 2
        if wait is not None and self._drive.kind == "landmarks":
            self._after = min(self._after, wait)
        style = LifeStyle("replay" if avatar.track.loudness is None else "speech", "new", seed)
        slope = None if avatar.motion is None else avatar.motion.eye_slope
        self._slope = torch.zeros(68, 3, device=avatar.device) if slope is None else slope
        self._life = Life(avatar.track, style, eye_slope=slope)
        self._blink_shape = learn_blinks(avatar.track.eye).shapes[0].tolist()
        self._blinking: deque[float] = deque()
        self._past: deque[Tensor] = deque([self._ear.rest] * (self._drive.window // 2), maxlen=self._drive.window // 2)
        self._coming: deque[_Frame] = deque()
        self._left: deque[_Frame] = deque()
        self._epoch = 0

    @property
    def ahead(self) -> int:
        """Samples after a frame's own that must be fed before it can be made; `Session` wants to know."""
        return self._ear.ahead + self._after * FRAME_SAMPLES

    def blink(self) -> None:
        """Close the eyes once, from the next frame on."""
        self._blinking = deque(self._blink_shape)

    @torch.no_grad()
    def perform(self, planned: Planned, direction: Direction | None = None) -> Moved:
        """Make the frame, which goes on living behind what is directed; blinks close directed eyes all the same."""
        frame, following = self._next(planned)
        past, c2w, directed = list(self._past), _breathe(frame.c2w, planned.number), direction or Direction()
        if directed.pose is not None:
            c2w = self.avatar.track.c2w[directed.pose]
        if directed.face is not None:
            past, frame, following = self._of_clip(directed.face)
        frame = self._open_eyes(frame, directed.eye)
        following = [self._open_eyes(one, directed.eye, blink=False) for one in following]
        sequence = [*past, frame.values, *(one.values for one in following)]
        sequence += [sequence[-1]] * (self._drive.window - len(sequence))
        self._past.append(frame.values)
        window = window_conditions(torch.stack(sequence), self._drive, self.avatar.info.statistics)[len(past)]
        return Moved(frame.values, window, frame.eye, c2w)

    def _next(self, planned: Planned) -> tuple[_Frame, list[_Frame]]:
        """The frame as sound and life make it, and those that are known of what follows."""
        if planned.epoch != self._epoch:
            self._epoch = planned.epoch
            self._fall_silent()
        if planned.begins:
            # What an utterance that was cut short left is not of this one.
            self._ear.reset()
            self._coming.clear()
        if planned.feed is None:
            frame = (
                self._left.popleft() if self._left else self._alive(self._ear.rest[None], torch.full((1,), LogMel.silence))[0]
            )
            frame = replace(frame, values=self._with_resting_mouth(frame.values, 0.0))
            following = list(self._left)[: self._after]
        else:
            self._hear(planned)
            frame = self._coming.popleft()
            following = list(self._coming)[: self._after]
        return frame, following

    def _of_clip(self, number: int) -> tuple[list[Tensor], _Frame, list[_Frame]]:
        """A face of the clip between those that came before and after it; its ends are repeated."""
        track, half = self.avatar.track, self._drive.window // 2
        near = torch.arange(number - half, number + half + 1).clamp(0, len(track.eye) - 1)
        faces = [_Frame(track.displacements[at], track.eye[at], track.c2w[at]) for at in near.tolist()]
        return [face.values for face in faces[:half]], faces[half], faces[half + 1 :][: self._drive.window - 1 - half]

    def _hear(self, planned: Planned) -> None:
        feed = torch.from_numpy(planned.feed).to(self.avatar.device).float() / 32768
        heard = [self._ear.listen(feed)]
        if planned.ends:
            heard.append(self._ear.finish())
        for part in heard:
            self._coming.extend(self._alive(part.values, part.loudness))

    def _alive(self, values: Tensor, loudness: Tensor) -> list[_Frame]:
        """Frames with the life of a face and head."""
        landmarks = values if self._drive.kind == "landmarks" else values.new_zeros(len(values), 68, 3)
        shown = self._life.advance(landmarks, loudness)
        values = shown.landmarks if self._drive.kind == "landmarks" else values
        return [_Frame(*parts) for parts in zip(values, shown.eye, shown.c2w, strict=True)]

    def _fall_silent(self) -> None:
        """The mouth rests from the next frame on, its windows two frames later; head and eyes go on as they were about to."""
        self._ear.reset()
        self._left.extend(self._coming)
        self._coming.clear()
        self._past.extend([self._with_resting_mouth(values, FALL_SILENT) for values in self._past])

    def _with_resting_mouth(self, values: Tensor, share: float) -> Tensor:
        """What is left of the mouth is `share`; brows and eyelids stay."""
        rested = torch.lerp(self._ear.rest, values, share)
        if self._drive.kind == "landmarks":
            for part in (BROWS, EYELIDS):
                rested[part] = values[part]
        return rested

    def _open_eyes(self, frame: _Frame, constant: float | None, *, blink: bool = True) -> _Frame:
        """Another eye opening than the clip's, and blinks that were asked for; the eyelids follow."""
        lids = self._blinking.popleft() if blink and self._blinking else 1.0
        wanted = frame.eye if constant is None else frame.eye.new_tensor(constant)
        wanted = wanted * lids
        if self._drive.kind != "landmarks":
            return replace(frame, eye=wanted)
        values = frame.values.clone()
        values[EYELIDS] += (wanted - frame.eye) * self._slope[EYELIDS]
        return replace(frame, values=values, eye=wanted)


def _breathe(c2w: Float[Tensor, "4 4"], number: int) -> Float[Tensor, "4 4"]:
    """The camera sinks and tilts by as much as the breathing head rises and nods."""
    phase = math.sin(2 * math.pi * BREATHS * number / FRAME_RATE)
    moved = c2w.clone()
    turn = rotation_matrix(torch.tensor([0.0, 0.0, NOD * phase])).to(c2w)
    moved[:3] = turn @ c2w[:3]
    moved[0, 3] -= RISE * phase
    return moved
