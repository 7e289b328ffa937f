"""Sound to 3D landmark displacements of one person at 25 fps.

Log-mel rows, minus the speaker's running mean, go in windows of about a third of a second through a few small networks whose
outputs are averaged; the average moves the lower face along the person's own principal components, so every mouth that comes
out is one the person makes. Frame t reads rows 2t - back ... 2t + ahead; all that it depends on is bounded, by the history of
the speaker's mean in the past and by the look-ahead in the future, so that `Driver` can make it from sound in pieces.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, layer_norm, pad

from r2talker.drive.config import MotionConfig
from r2talker.drive.log_mel import HOP, ROWS_PER_FRAME, SAMPLE_RATE, LogMel
from r2talker.drive.speaker import subtract_speaker

LANDMARKS = 68
BROWS = slice(17, 27)
EYELIDS = slice(36, 48)
FEATURE_LIMIT = 4.0
"""Normalised features are clipped here (standard deviations): digital silence is no further from speech than a quiet room."""

_ROW_MS = 20
_MARGIN_MS = LogMel.margin * 1000 // SAMPLE_RATE


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
    of the training frames; `basis` [components, 68, 3] of the lower face, scaled so that a coefficient of 1 is one standard
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

    def __init__(self, config: MotionConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.bands)
        self.rows_back = config.look_back_ms // _ROW_MS
        future_ms = config.look_ahead_ms - _MARGIN_MS
        # The second row of the frame is its own sound and costs no waiting.
        self.rows_ahead = 1 + future_ms // _ROW_MS
        if self.rows_ahead < 1 or self.rows_back < 0:
            raise ValueError(f"look_ahead_ms must be at least {config.look_ahead_ms - future_ms}, got {config.look_ahead_ms}")
        inputs = config.bands * self.window_rows
        self.first = MemberLinear(config.members, inputs, config.hidden)
        self.second = MemberLinear(config.members, config.hidden, config.hidden)
        self.last = MemberLinear(config.members, config.hidden, config.components)
        for name in ("landmark_mean", "landmark_min", "landmark_max", "eye_slope"):
            self.register_buffer(name, torch.zeros(LANDMARKS, 3))
        self.register_buffer("basis", torch.zeros(config.components, LANDMARKS, 3))
        self.register_buffer("closed", torch.zeros(config.components))
        self.register_buffer("band_mean", torch.zeros(config.bands))
        self.register_buffer("band_std", torch.ones(config.bands))
        for name, value in (("gain", 1.0), ("eye_mean", 0.0), ("quietest", LogMel.silence)):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("sound_lag", torch.tensor(0))

    @property
    def window_rows(self) -> int:
        """Rows that one frame reads."""
        return self.rows_back + 1 + self.rows_ahead

    def features(self, rows: Float[Tensor, "rows bands"]) -> Float[Tensor, "rows bands"]:
        """Speaker-normalised features of log-mel rows, unit variance for the training voice."""
        centred = subtract_speaker(rows, self.band_mean, self.quietest)
        return (centred / self.band_std).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)

    def windows(self, features: Float[Tensor, "rows bands"], frames: int) -> Float[Tensor, "frames window bands"]:
        """Rows 2t - back ... 2t + ahead of each frame t; silence outside."""
        needed = ROWS_PER_FRAME * max(frames - 1, 0) + self.window_rows
        after = max(0, needed - self.rows_back - features.shape[0])
        padded = pad(features, (0, 0, self.rows_back, after), value=-FEATURE_LIMIT)[:needed]
        return padded.unfold(0, self.window_rows, ROWS_PER_FRAME).transpose(1, 2)[:frames]

    def forward(
        self, windows: Float[Tensor, "members items window bands"], drop: float = 0.0
    ) -> Float[Tensor, "members items components"]:
        """Coefficients on the person's components, of each member for its own items; `drop` is the dropout while training."""
        x = windows.flatten(2)
        for layer in (self.first, self.second):
            x = dropout(gelu(layer_norm(layer(x), (self.config.hidden,))), drop, self.training)
        return self.last(x)

    def coefficients(self, windows: Float[Tensor, "frames window bands"]) -> Float[Tensor, "frames components"]:
        """Mean over the members, with the articulation gain."""
        every = windows[None].expand(self.config.members, *windows.shape)
        return self.forward(every).mean(0) * self.gain

    def landmarks(self, coefficients: Float[Tensor, "frames components"]) -> Float[Tensor, "frames 68 3"]:
        """Displacements of the lower face along the components, within the range of the training frames.

        Brows and eyelids stay at the training mean.
        """
        return self.clamp(self.landmark_mean + (coefficients @ self.basis.flatten(1)).unflatten(1, (LANDMARKS, 3)))

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
