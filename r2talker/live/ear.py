"""What an avatar hears: sound in pieces becomes frames of what its method is driven by."""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.drive.driver import Driver
from r2talker.drive.log_mel import HOP, LOUDNESS_BANDS, ROWS_PER_FRAME, WINDOW_ROWS, LogMel
from r2talker.drive.motion import MotionModel
from r2talker.errors import R2TalkerError
from r2talker.live.session import FRAME_SAMPLES

_SETTLED = 2 * 16000
"""Samples of silence after which landmarks have come to rest."""


@dataclass(frozen=True)
class HeardFrames:
    """Frames that became complete: what drives the method, and how loud they are (see `Heard.loudness`)."""

    values: Float[Tensor, "frames *shape"]
    loudness: Float[Tensor, " frames"]


class Ear(Protocol):
    """Streams one utterance after the other.

    ahead: samples after a frame's own that must have arrived before the frame is complete. rest: the frame that silence makes.
    """

    ahead: int
    rest: Float[Tensor, "*shape"]

    def listen(self, samples: Float[Tensor, " samples"]) -> HeardFrames:
        """Take more sound; return what became complete."""
        ...

    def finish(self) -> HeardFrames:
        """The rest of the utterance, as if silence followed; then begin anew."""
        ...

    def reset(self) -> None:
        """Forget the utterance."""
        ...


class LandmarkEar:
    """Landmarks by the avatar's own generator."""

    def __init__(self, model: MotionModel) -> None:
        self._driver = Driver(model)
        # Frame t reads rows up to 2 t + rows_ahead, a row its own 320 samples and the margin after.
        self.ahead = (model.rows_ahead + 1) * HOP + LogMel.margin - FRAME_SAMPLES
        self.rest = self._driver.push(torch.zeros(_SETTLED))[-1].clone()
        self._driver.reset()

    def listen(self, samples: Float[Tensor, " samples"]) -> HeardFrames:
        """See `Ear`."""
        heard = self._driver.listen(samples)
        return HeardFrames(heard.landmarks, heard.loudness)

    def finish(self) -> HeardFrames:
        """See `Ear`."""
        heard = self._driver.finish()
        return HeardFrames(heard.landmarks, heard.loudness)

    def reset(self) -> None:
        """See `Ear`."""
        self._driver.reset()


class RowEar:
    """Windows of log-mel rows, for methods that hear the sound themselves: frame t has rows 2 t - 8 ... 2 t + 7."""

    def __init__(self, width: int, device: torch.device) -> None:
        self._log_mel = LogMel(width).to(device)
        self._loudness = LogMel(LOUDNESS_BANDS).to(device)
        self._device = device
        self.ahead = WINDOW_ROWS // 2 * HOP + LogMel.margin
        self.rest = torch.full((WINDOW_ROWS, width), LogMel.silence, device=device)
        self.reset()

    def reset(self) -> None:
        """See `Ear`."""
        self._samples = torch.zeros(LogMel.margin, device=self._device)
        self._rows = torch.full((WINDOW_ROWS // 2, self._log_mel.width), LogMel.silence, device=self._device)
        self._levels = torch.zeros(0, device=self._device)
        self._received, self._frames = 0, 0

    @torch.no_grad()
    def listen(self, samples: Float[Tensor, " samples"]) -> HeardFrames:
        """See `Ear`."""
        self._received += len(samples)
        return self._take(samples.to(self._device, torch.float32))

    @torch.no_grad()
    def finish(self) -> HeardFrames:
        """See `Ear`."""
        left = self._received // FRAME_SAMPLES - self._frames
        heard = self._take(torch.zeros(self.ahead + FRAME_SAMPLES, device=self._device))
        self.reset()
        return HeardFrames(heard.values[:left], heard.loudness[:left])

    def _take(self, samples: Tensor) -> HeardFrames:
        sound = torch.cat([self._samples, samples])
        rows = self._log_mel.inner_rows(sound)
        self._levels = torch.cat([self._levels, self._loudness.inner_rows(sound).mean(1)])
        self._samples = sound[len(rows) * HOP :].clone()
        self._rows = torch.cat([self._rows, rows])
        count = max((len(self._rows) - WINDOW_ROWS) // ROWS_PER_FRAME + 1, 0)
        if count == 0:
            return HeardFrames(self._rows.new_zeros(0, *self.rest.shape), self._rows.new_zeros(0))
        windows = self._rows.unfold(0, WINDOW_ROWS, ROWS_PER_FRAME).transpose(1, 2)[:count].clone()
        loudness = self._levels[: count * ROWS_PER_FRAME].unflatten(0, (count, ROWS_PER_FRAME)).mean(1)
        self._rows = self._rows[count * ROWS_PER_FRAME :].clone()
        self._levels = self._levels[count * ROWS_PER_FRAME :].clone()
        self._frames += count
        return HeardFrames(windows, loudness)


def make_ear(avatar: Avatar) -> Ear:
    """The ear of an avatar; R2TalkerError when it cannot hear."""
    if avatar.model.drives_landmarks:
        if avatar.motion is None:
            raise R2TalkerError("this avatar has no landmark generator (it was trained without sound), so it cannot speak live")
        return LandmarkEar(avatar.motion)
    if avatar.info.feature != "mel":
        raise R2TalkerError(f"this avatar listens to {avatar.info.feature!r} features, which cannot be computed live")
    return RowEar(avatar.info.model.feature_width, avatar.device)
