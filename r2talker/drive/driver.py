"""Sound in pieces of any size becomes landmarks frame by frame; whole files go the same way, in long pieces.

What is kept between two pieces is bounded: `CONTEXT_ROWS` log-mel rows (16 s) of the past, because the running mean of the
speaker reads 8 s of rows each of which was judged against the loudest of its own last 8 s, and less than a frame of sound. A
frame comes out as soon as the sound of its look-ahead is there (`MotionConfig.look_ahead_ms`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from r2talker.drive.log_mel import HOP, ROWS_PER_FRAME, SAMPLE_RATE, LogMel, frame_count, row_count
from r2talker.drive.motion import FEATURE_LIMIT, LANDMARKS, MotionModel
from r2talker.drive.speaker import CONTEXT_ROWS
from r2talker.drive.steadier import Steadier
from r2talker.errors import R2TalkerError

AROUND_ROWS = 2
"""Rows on either side of a frame's own whose loudness counts as the frame's (120 ms, about a syllable's rise)."""

BLOCK_SAMPLES = 30 * SAMPLE_RATE
"""Longer pieces are worked off in blocks of 30 s, so that memory does not grow with their length."""


@dataclass(frozen=True)
class Heard:
    """Frames that have become complete: displacements of the landmarks, and loudness.

    loudness: mean log-mel value of the frame (1 unit is 40 dB), which head motion follows; see `frame_loudness`.
    """

    landmarks: Float[Tensor, "frames 68 3"]
    loudness: Float[Tensor, " frames"]


class Driver:
    """A model from sound to landmarks, listening; the same frames come out however the sound is cut.

    Brows and eyelids rest at their mean (see `r2talker.drive.life`). One utterance ends with `flush`; `reset` forgets an
    unfinished one. Not to be used by two threads at once.
    """

    def __init__(self, model: MotionModel) -> None:
        if model.training:
            raise ValueError("the model is in training mode; call eval() first")
        self.model = model
        self._device = model.basis.device
        self.reset()

    def reset(self) -> None:
        """Forget everything that was heard: the next sample begins an utterance."""
        margin, width = LogMel.margin, self.model.config.bands
        # Silence before the beginning, as `LogMel.forward` has it.
        self._samples = torch.zeros(margin, device=self._device)
        self._received = 0
        self._rows = torch.zeros(0, width, device=self._device)
        self._features = torch.full((self.model.rows_back, width), -FEATURE_LIMIT, device=self._device)
        # Per row: loudness, loudness relative to the speaker, strangeness of the speaker.
        before = torch.tensor([[LogMel.silence, -1.0, 0.0]], device=self._device)
        self._voice = before.expand(self.model.rows_back, 3)
        self._steadier = Steadier(self.model.pace.item(), self.model.config.tremble)
        self._frames = 0

    @property
    def received(self) -> int:
        """Samples of this utterance so far."""
        return self._received

    def push(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "frames 68 3"]:
        """Take 16 kHz mono samples in [-1, 1], any number; return the landmarks of the frames that became complete.

        Raises R2TalkerError for samples of another shape or that are not finite, and takes none of them.
        """
        return self.listen(samples).landmarks

    def flush(self) -> Float[Tensor, "frames 68 3"]:
        """Return the landmarks of the rest, as if silence followed, round(25 * seconds) frames in all, and reset."""
        return self.finish().landmarks

    @torch.no_grad()
    def listen(self, samples: Float[Tensor, " samples"]) -> Heard:
        """Like `push`, with the loudness of the frames."""
        samples = self._checked(samples)
        parts = [self._take(block) for block in samples.split(BLOCK_SAMPLES)]
        return _joined(parts) if len(parts) != 1 else parts[0]

    @torch.no_grad()
    def finish(self) -> Heard:
        """Like `flush`, with the loudness of the frames."""
        frames = frame_count(self._received)
        begun = row_count(self._received)
        missing = begun * HOP - self._received + LogMel.margin
        self._take_samples(torch.zeros(missing, device=self._device))
        needed = ROWS_PER_FRAME * (frames - self._frames - 1) + self.model.window_rows - self._features.shape[0]
        self._features = pad(self._features, (0, 0, 0, max(0, needed)), value=-FEATURE_LIMIT)
        silence = torch.tensor([[LogMel.silence, -1.0, 0.0]], device=self._device)
        self._voice = torch.cat([self._voice, silence.expand(max(0, needed), 3)])
        heard = self._complete(frames - self._frames)
        self.reset()
        return heard

    def _checked(self, samples: Tensor) -> Tensor:
        if samples.dim() != 1 or not samples.is_floating_point():
            raise R2TalkerError(
                f"sound must be one row of floating-point samples, got {samples.dtype} {list(samples.shape)}; "
                "give 16 kHz mono samples in [-1, 1]"
            )
        samples = samples.to(device=self._device, dtype=torch.float32)
        if not torch.isfinite(samples).all():
            raise R2TalkerError("the sound holds samples that are not finite; give 16 kHz mono samples in [-1, 1]")
        return samples

    def _take(self, samples: Float[Tensor, " samples"]) -> Heard:
        self._received += samples.shape[0]
        self._take_samples(samples)
        ready = (self._features.shape[0] - self.model.window_rows) // ROWS_PER_FRAME + 1
        return self._complete(max(ready, 0))

    def _take_samples(self, samples: Float[Tensor, " samples"]) -> None:
        """Extend the features by the rows that became complete."""
        sound = torch.cat([self._samples, samples])
        rows = self.model.log_mel.inner_rows(sound)
        self._samples = sound[rows.shape[0] * HOP :].clone()
        if rows.shape[0] == 0:
            return
        known = torch.cat([self._rows, rows])
        heard, new = self.model.hear(known), slice(-rows.shape[0], None)
        voice = torch.stack([rows.mean(1), heard.level[new], heard.strangeness[new]], dim=1)
        self._features = torch.cat([self._features, heard.features[new]])
        self._voice = torch.cat([self._voice, voice])
        # Copies, because a view would keep the whole piece.
        self._rows = known[-CONTEXT_ROWS:].clone()

    def _complete(self, frames: int) -> Heard:
        """The next `frames` frames, whose rows are all there."""
        if frames < 1:
            return Heard(self._features.new_zeros(0, LANDMARKS, 3), self._features.new_zeros(0))
        windows = self._features.unfold(0, self.model.window_rows, ROWS_PER_FRAME).transpose(1, 2)[:frames]
        loudness, level, strangeness = self._voice.unfold(0, self.model.window_rows, ROWS_PER_FRAME)[:frames].unbind(1)
        own = slice(self.model.rows_back, self.model.rows_back + ROWS_PER_FRAME)
        around = slice(max(0, own.start - AROUND_ROWS), own.stop + AROUND_ROWS)
        used = frames * ROWS_PER_FRAME
        self._features, self._voice = self._features[used:].clone(), self._voice[used:].clone()
        self._frames += frames
        coefficients = self.model.coefficients(windows)
        coefficients = self.model.follow_syllables(coefficients, level[:, around].mean(1), strangeness[:, own.start])
        landmarks = self._steadier.advance(self.model.landmarks(coefficients))
        return Heard(landmarks, loudness[:, own].mean(1))


def generate_landmarks(
    model: MotionModel, samples: Float[Tensor, " samples"], *, eye: Float[Tensor, " frames"] | None = None
) -> Float[Tensor, "frames 68 3"]:
    """Landmark displacements that speak `samples` (16 kHz mono in [-1, 1]), round(25 * seconds) frames.

    Units, frame and range are those of the landmarks that the model was trained on. `eye` is the eye value that the avatar
    shows in each frame: the eyelids follow it; without it they rest at their mean, as the brows always do. The result never
    leaves the range of the training frames.
    """
    landmarks = listen_through(model, samples).landmarks
    return landmarks if eye is None else model.move_eyelids(landmarks, eye)


def listen_through(model: MotionModel, samples: Float[Tensor, " samples"]) -> Heard:
    """All frames of a whole sound, made by a `Driver`."""
    training = model.training
    driver = Driver(model.eval())
    heard = _joined([driver.listen(samples), driver.finish()])
    model.train(training)
    return heard


def _joined(parts: list[Heard]) -> Heard:
    return Heard(torch.cat([part.landmarks for part in parts]), torch.cat([part.loudness for part in parts]))
