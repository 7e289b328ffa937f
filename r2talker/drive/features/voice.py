"""Energy, pitch and voicing at 50 Hz, beside log-mel rows: no download, a handful of operations.

Pitch: the highest peak of the normalised autocorrelation, divided by that of the window (Boersma 1993, "Accurate short-term
analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled sound").
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from r2talker.drive.log_mel import HOP, ROW_RATE, SAMPLE_RATE, row_count

LOWEST_HZ, HIGHEST_HZ = 70.0, 400.0
VOICED = 0.5
"""Voicing from which a pitch counts."""

# Three periods of the lowest pitch.
_WINDOW = 704
_FFT = 2048
_POWER_FLOOR = 1e-8
# Twice the period fits a periodic sound as well as the period, or better where that lies between two samples.
_OCTAVE_COST = 0.08


class Voice(nn.Module):
    """Rows (energy, pitch, voicing): log10 of the power, octaves above 100 Hz (0 where unvoiced), correlation in [0, 1]."""

    rate = ROW_RATE
    width = 3
    receptive_samples = _WINDOW

    window: Tensor
    decay: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(_WINDOW)
        self.register_buffer("window", window, persistent=False)
        # Float64 once; the autocorrelation of the window itself, by which the sound's falls with the lag.
        decay = _autocorrelate(window.double()[None])[0]
        self.register_buffer("decay", (decay / decay[0]).float(), persistent=False)

    def forward(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows 3"]:
        """Rows of a whole utterance, ceil(samples / 320) of them; silence is assumed outside."""
        rows, margin = row_count(samples.shape[0]), (_WINDOW - HOP) // 2
        if rows == 0:
            return samples.new_zeros(0, self.width)
        padded = pad(samples, (margin, rows * HOP - samples.shape[0] + margin))
        frames = padded.unfold(0, _WINDOW, HOP)
        centred = (frames - frames.mean(1, keepdim=True)) * self.window
        power = centred.square().sum(1) / self.window.square().sum()
        correlation = _autocorrelate(centred)
        correlation = correlation / correlation[:, :1].clamp_min(_POWER_FLOOR) / self.decay
        shortest, longest = int(SAMPLE_RATE / HIGHEST_HZ), int(SAMPLE_RATE / LOWEST_HZ)
        lags = torch.arange(shortest, longest + 1, device=samples.device)
        candidates = correlation[:, shortest : longest + 1]
        best = (candidates - _OCTAVE_COST * torch.log2(lags / shortest)).argmax(1)
        octaves = torch.log2(SAMPLE_RATE / lags[best] / 100.0)
        voicing = candidates.gather(1, best[:, None])[:, 0].clamp(0, 1)
        energy = power.clamp_min(_POWER_FLOOR).log10()
        return torch.stack([energy, torch.where(voicing >= VOICED, octaves, 0.0), voicing], dim=1)


def _autocorrelate(frames: Float[Tensor, "rows window"]) -> Float[Tensor, "rows lags"]:
    """For lags below half the window."""
    spectrum = torch.fft.rfft(frames, _FFT)
    return torch.fft.irfft(spectrum.real.square() + spectrum.imag.square(), _FFT)[:, : _WINDOW // 2]
