"""Log-mel rows at 50 Hz: the audio feature that needs no download.

Row r belongs to the 20 ms frame of samples 320 r ... 320 r + 319 and reads 512 samples centred on it, so it depends on the
sound from 6 ms before to 6 ms after its frame and on nothing else: sound in chunks gives the rows of the whole.
Mel scale: 2595 log10(1 + f / 700) (O'Shaughnessy 1987), triangles of unit peak between 60 and 7600 Hz.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

SAMPLE_RATE = 16000
HOP = 320
ROW_RATE = SAMPLE_RATE / HOP
WINDOW_ROWS = 16
ROWS_PER_FRAME = 2
LOUDNESS_BANDS = 24

_FFT = 512
_LOW_HZ, _HIGH_HZ = 60.0, 7600.0
_POWER_FLOOR = 1e-8


class LogMel(nn.Module):
    """`width` log-mel bands of 16 kHz mono sound in [-1, 1].

    Values are (log10(power) + 4) / 4, at least `silence` = -1 (digital silence); loud speech reaches about 1.
    """

    rate = ROW_RATE
    receptive_samples = _FFT
    silence = -1.0
    margin = (_FFT - HOP) // 2
    """Samples that a row reads on either side of its own frame."""

    window: Tensor
    bands: Tensor

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        # Derived from `width` alone, hence not part of the state.
        self.register_buffer("window", torch.hann_window(_FFT) / (_FFT / 4) ** 0.5, persistent=False)
        self.register_buffer("bands", mel_bands(width), persistent=False)

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows width"]:
        """Rows of a whole utterance, ceil(samples / 320) of them; silence is assumed outside."""
        rows = row_count(samples.shape[0])
        return self.inner_rows(pad(samples, (self.margin, rows * HOP - samples.shape[0] + self.margin)))

    def inner_rows(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows width"]:
        """Rows of a stretch of 320 * rows samples given with its `margin` samples of real sound on either side."""
        if samples.shape[0] < _FFT:
            return samples.new_zeros(0, self.width)
        spectrum = torch.fft.rfft(samples.unfold(0, _FFT, HOP) * self.window)
        power = (spectrum.real.square() + spectrum.imag.square()) @ self.bands
        return power.clamp_min(_POWER_FLOOR).log10() / 4 + 1


def frame_loudness(samples: Float[Tensor, " samples"]) -> Float[Tensor, " frames"]:
    """Mean of 24 log-mel bands over each 25 fps frame's own 40 ms (1 unit is 40 dB), round(25 * seconds) frames."""
    rows = LogMel(LOUDNESS_BANDS).to(samples.device)(samples)
    return (
        pad(rows.mean(1), (0, 1), value=LogMel.silence)
        .unfold(0, ROWS_PER_FRAME, ROWS_PER_FRAME)
        .mean(1)[: frame_count(len(samples))]
    )


def frame_count(samples: int) -> int:
    """Video frames at 25 fps of that many samples, rounded to the nearest."""
    return int(samples / (HOP * ROWS_PER_FRAME) + 0.5)


def row_count(samples: int) -> int:
    """Feature rows of that many samples: every begun 20 ms frame counts."""
    return math.ceil(samples / HOP)


def mel_bands(width: int) -> Float[Tensor, "bins width"]:
    """Triangular filters over the 257 bins of a 512-point spectrum, evenly spaced on the mel scale.

    A triangle narrower than the spacing of the bins is widened to it, so that no band is empty.
    """
    low, high = (2595 * math.log10(1 + f / 700) for f in (_LOW_HZ, _HIGH_HZ))
    edges = 700 * (10 ** (torch.linspace(low, high, width + 2, dtype=torch.float64) / 2595) - 1)
    spacing = SAMPLE_RATE / _FFT
    frequency = torch.arange(_FFT // 2 + 1, dtype=torch.float64)[:, None] * spacing
    centre = edges[1:-1]
    left = torch.minimum(edges[:-2], centre - spacing)
    right = torch.maximum(edges[2:], centre + spacing)
    rising = (frequency - left) / (centre - left)
    falling = (right - frequency) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0).float()


def audio_windows(
    rows: Float[Tensor, "rows width"], frames: int, *, padding: float = 0.0
) -> Float[Tensor, "frames {WINDOW_ROWS} width"]:
    """Window of each 25 fps frame t: rows 2t - 8 ... 2t + 7, `padding` outside the sequence (upstream.md section 1).

    `padding` is 0 for logits as upstream stores them and `LogMel.silence` for log-mel rows.
    """
    before = WINDOW_ROWS // 2
    needed = ROWS_PER_FRAME * (frames - 1) + WINDOW_ROWS
    after = max(0, needed - before - rows.shape[0])
    padded = pad(rows, (0, 0, before, after), value=padding)[: max(needed, 0)]
    if frames < 1:
        return rows.new_zeros(0, WINDOW_ROWS, rows.shape[1])
    return padded.unfold(0, WINDOW_ROWS, ROWS_PER_FRAME).transpose(1, 2).contiguous()
