"""What every kind of audio feature says of itself, and the windows of the original tools."""

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from r2talker.drive.log_mel import ROWS_PER_FRAME, WINDOW_ROWS


class AudioFeature(Protocol):
    """16 kHz mono sound to rows of features.

    rate: rows per second. width: numbers per row. receptive_samples: stretch of sound that a row depends on, centred on the
    row's own, or None where a row depends on the whole sound.
    """

    @property
    def rate(self) -> float: ...

    @property
    def width(self) -> int: ...

    @property
    def receptive_samples(self) -> int | None: ...

    def __call__(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows width"]:
        """Rows of a whole utterance of samples in [-1, 1]."""
        ...


def tool_windows(rows: Float[Tensor, "rows width"], *, last_half: bool) -> Float[Tensor, "windows {WINDOW_ROWS} width"]:
    """Windows as the original tools store them: rows 2t - 8 ... 2t + 7, zeros outside (upstream.md 1 and 6.9).

    There are floor(rows / 2) + 1 of them with `last_half`, as the wav2vec tools count, and ceil(rows / 2) without, as the
    DeepSpeech tool does; the last of the former begins with the last 8 rows and is zero after them.
    """
    count = rows.shape[0] // ROWS_PER_FRAME + 1 if last_half else (rows.shape[0] + 1) // ROWS_PER_FRAME
    if count == 0:
        return rows.new_zeros(0, WINDOW_ROWS, rows.shape[1])
    padded = pad(rows, (0, 0, WINDOW_ROWS // 2, WINDOW_ROWS // 2))
    return padded.unfold(0, WINDOW_ROWS, ROWS_PER_FRAME).transpose(1, 2)[:count].contiguous()


def normalise_sound(samples: Float[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """Mean 0 and variance 1, as the speech models' processors do it (epsilon 1e-7 in the variance)."""
    return (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
