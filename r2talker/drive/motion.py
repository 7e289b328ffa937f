"""Sound to 3D landmark displacements of one person at 25 fps.

Log-mel rows, minus the speaker's running mean, go in windows of about a third of a second through a few small networks whose
outputs are averaged; the average moves the lower face along the person's own principal components, so every mouth that comes
out is one the person makes. Frame t reads rows 2t - back ... 2t + ahead; all that it depends on is bounded, by the history of
the speaker's mean in the past and by the look-ahead in the future, so that `Driver` can make it from sound in pieces.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, layer_norm, pad

from r2talker.drive.config import MotionConfig
from r2talker.drive.log_mel import HOP, ROWS_PER_FRAME, SAMPLE_RATE, LogMel
from r2talker.drive.manifold import pull_to_known
from r2talker.drive.speaker import speaker_mean, strangeness

LANDMARKS = 68
BROWS = slice(17, 27)
EYELIDS = slice(36, 48)
FEATURE_LIMIT = 4.0
"""Normalised features are clipped here (standard deviations): digital silence is no further from speech than a quiet room."""

INNER_UPPER, INNER_LOWER = [61, 62, 63], [67, 66, 65]
"""Inner lip points, upper ones over lower ones."""

_ROW_MS = 20
_TEN_DECIBEL = 0.25
_PAUSE, _SPEECH = -0.7, -0.4
_SYLLABLE_RANGE = (-0.6, 0.4)
_MARGIN_MS = LogMel.margin * 1000 // SAMPLE_RATE


@dataclass(frozen=True)
class HeardRows:
    """Log-mel rows as the model hears them.

    features: relative to the speaker, unit variance for the training voice. level: mean over the bands relative to the speaker's
    mean, log-mel units. strangeness: 0 the training voice, 1 quite another.
    """

    features: Float[Tensor, "rows bands"]
    level: Float[Tensor, " rows"]
    strangeness: Float[Tensor, " rows"]


class MemberLinear(nn.Module):
    """One linear layer per member: [members, items, inputs] -> [members, items, outputs]."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Float[Tensor, "members items inputs"]) -> Float[Tensor, "members items outputs"]:
        return torch.baddbmm(self.bias, x, self.weight)


class MotionModel(nn.Module):
    """Audio to landmarks of one person; rebuilt from its `config` and its state.

    Everything learned from the person beside the weights is a buffer: `landmark_mean`, `landmark_min`, `landmark_max` [68, 3]
    of the training frames, and `known` [remembered, 68, 3], some of them; `pace` the usual change of a mouth coordinate from one
    training frame to the next; `basis` [components, 68, 3] of the lower face, scaled so that a coefficient of 1 is one standard
    deviation; `closed` the coefficients of the shut mouth; `gain` of the articulation; `eye_slope` [68, 3] of the eyelids per
    unit of eye value around `eye_mean`; `band_mean`, `band_std`, `quietest` of the training voice; `sound_lag` the frames by
    which the sound of the training clip came late, which was corrected before training.
    """

    landmark_mean: Tensor
    landmark_min: Tensor
    landmark_max: Tensor
    basis: Tensor
    closed: Tensor
    gain: Tensor
    eye_slope: Tensor
    eye_mean: Tensor
    band_mean: Tensor
    band_std: Tensor
    quietest: Tensor
    sound_lag: Tensor
    known: Tensor
    pace: Tensor

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.bands)
        future_ms = config.look_ahead_ms - _MARGIN_MS
        # The second row of the frame is its own sound and costs no waiting.
        self.rows_ahead = 1 + future_ms // _ROW_MS
        self.rows_back = config.look_back_ms // _ROW_MS + config.blur_rows
        self.network_rows = self.window_rows - 2 * config.blur_rows
        least = _MARGIN_MS + _ROW_MS * max(0, config.blur_rows - 1)
        if future_ms < 0 or self.rows_ahead < config.blur_rows or config.look_back_ms < 0:
            raise ValueError(f"look_ahead_ms must be at least {least} and look_back_ms at least 0, got {config}")
        inputs = config.bands * self.network_rows
        self.first = MemberLinear(config.members, inputs, config.hidden)
        self.second = MemberLinear(config.members, config.hidden, config.hidden)
        self.last = MemberLinear(config.members, config.hidden, config.components)
        for name in ("landmark_mean", "landmark_min", "landmark_max", "eye_slope"):
            self.register_buffer(name, torch.zeros(LANDMARKS, 3))
        self.register_buffer("basis", torch.zeros(config.components, LANDMARKS, 3))
        self.register_buffer("closed", torch.zeros(config.components))
        self.register_buffer("band_mean", torch.zeros(config.bands))
        self.register_buffer("band_std", torch.ones(config.bands))
        self.register_buffer("known", torch.zeros(config.remembered, LANDMARKS, 3))
        for name, value in (("gain", 1.0), ("eye_mean", 0.0), ("quietest", LogMel.silence), ("pace", 0.0)):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("sound_lag", torch.tensor(0))

    @property
    def window_rows(self) -> int:
        """Rows that one frame reads: those of the networks, moved by up to `blur_rows` to either side."""
        return self.rows_back + 1 + self.rows_ahead

    def hear(self, rows: Float[Tensor, "rows bands"]) -> "HeardRows":
        """What log-mel rows say, beside who says it."""
        mean = speaker_mean(rows, self.band_mean, self.quietest)
        centred = (rows - mean).to(rows.dtype)
        return HeardRows(
            features=(centred / self.band_std).clamp(-FEATURE_LIMIT, FEATURE_LIMIT),
            level=centred.mean(1),
            strangeness=strangeness(mean, self.band_mean, self.band_std),
        )

    def windows(self, features: Float[Tensor, "rows bands"], frames: int) -> Float[Tensor, "frames window bands"]:
        """Rows 2t - back ... 2t + ahead of each frame t; silence outside."""
        needed = ROWS_PER_FRAME * max(frames - 1, 0) + self.window_rows
        after = max(0, needed - self.rows_back - features.shape[0])
        padded = pad(features, (0, 0, self.rows_back, after), value=-FEATURE_LIMIT)[:needed]
        return padded.unfold(0, self.window_rows, ROWS_PER_FRAME).transpose(1, 2)[:frames]

    def forward(
        self, windows: Float[Tensor, "members items network_window bands"], drop: float = 0.0
    ) -> Float[Tensor, "members items components"]:
        """Coefficients on the person's components, of each member for its own items; `drop` is the dropout while training."""
        x = windows.flatten(2)
        for layer in (self.first, self.second):
            x = dropout(gelu(layer_norm(layer(x), (self.config.hidden,))), drop, self.training)
        return self.last(x)

    def coefficients(self, windows: Float[Tensor, "frames window bands"]) -> Float[Tensor, "frames components"]:
        """Mean over the members, and over windows moved by a few rows, with the articulation gain.

        Moved windows tell of moments 20 ms earlier and later: their mean trembles less and is not late.
        """
        moved = windows.unfold(1, self.network_rows, 1).transpose(2, 3)
        every = moved.flatten(0, 1)[None].expand(self.config.members, -1, -1, -1)
        return self.forward(every).mean(0).unflatten(0, moved.shape[:2]).mean(1) * self.gain

    def unmoved(self, windows: Float[Tensor, "items window bands"]) -> Float[Tensor, "items network_window bands"]:
        """The part of each window that the networks read when it is not moved, which they are trained on."""
        return windows[:, self.config.blur_rows : self.config.blur_rows + self.network_rows]

    def follow_syllables(
        self,
        coefficients: Float[Tensor, "frames components"],
        level: Float[Tensor, " frames"],
        strangeness: Float[Tensor, " frames"],
    ) -> Float[Tensor, "frames components"]:
        """Let the mouth of a strange voice, which the networks know less well, also open with its loudness and close in its pauses.

        level: loudness around the frame relative to the speaker's mean, log-mel units. By `strangeness`, coefficients go to the
        closed mouth below -28 dB, and the opening grows by `config.syllables` standard deviations per 10 dB.
        """
        sound = ((level - _PAUSE) / (_SPEECH - _PAUSE)).clamp(0, 1)
        sound = sound * sound * (3 - 2 * sound)
        share = 1 - strangeness * (1 - sound)
        louder = level.clamp(*_SYLLABLE_RANGE) / _TEN_DECIBEL * strangeness * self.config.syllables
        opening = (self.basis[:, INNER_UPPER, 1] - self.basis[:, INNER_LOWER, 1]).mean(1)
        direction = opening / opening.norm().clamp_min(1e-9)
        return self.closed + (coefficients - self.closed + louder[:, None] * direction) * share[:, None]

    def landmarks(self, coefficients: Float[Tensor, "frames components"]) -> Float[Tensor, "frames 68 3"]:
        """Displacements of the lower face along the components, pulled towards remembered frames and within their range.

        Brows and eyelids stay at the training mean.
        """
        free = self.landmark_mean + (coefficients @ self.basis.flatten(1)).unflatten(1, (LANDMARKS, 3))
        return self.clamp(pull_to_known(free, self.known, self.config.nearness))

    def clamp(self, landmarks: Float[Tensor, "frames 68 3"]) -> Float[Tensor, "frames 68 3"]:
        """No coordinate further than it went in the training frames."""
        return landmarks.clamp(self.landmark_min, self.landmark_max)

    def move_eyelids(
        self, landmarks: Float[Tensor, "frames 68 3"], eye: Float[Tensor, " frames"]
    ) -> Float[Tensor, "frames 68 3"]:
        """Let the eyelids follow the eye value that the avatar shows (upstream.md 2.7), as they did in the training frames."""
        offset = (eye.to(landmarks) - self.eye_mean)[:, None, None]
        return self.clamp(landmarks + self.eye_slope * offset)


def advance_sound(samples: Float[Tensor, " samples"], frames: int) -> Float[Tensor, " samples"]:
    """The sound `frames` video frames earlier (negative: later), as long as before; silence comes in at the end that opens."""
    shift = frames * HOP * ROWS_PER_FRAME
    return pad(samples[shift:], (0, shift)) if shift >= 0 else pad(samples, (-shift, 0))[: samples.shape[0]]
