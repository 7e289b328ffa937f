"""Mel-frequency cepstra as DeepSpeech 0.1.0 was trained on, with its context windows (upstream.md 6.9).

The recipe is that of the package python_speech_features with its defaults at 16 kHz: pre-emphasis 0.97, rectangular frames of
25 ms every 10 ms, 512-point power spectrum, 26 triangles on the mel scale 2595 log10(1 + f / 700) whose corners lie on bins, log,
orthonormal DCT-II, lifter 22, and the log of the frame's energy in place of coefficient 0. Float64, because the tool's are.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from r2talker.drive.log_mel import SAMPLE_RATE

CEPSTRA, CONTEXT = 26, 9
INPUT_WIDTH = (2 * CONTEXT + 1) * CEPSTRA

_FRAME, _STEP, _FFT = 400, 160, 512
_PRE_EMPHASIS, _LIFTER = 0.97, 22
# The tool replaces zeros by the smallest step of float64 before it takes logarithms.
_FLOOR = torch.finfo(torch.float64).eps


def compute_cepstra(samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows {CEPSTRA}"]:
    """MFCC at 100 Hz of int16-sized samples (not of samples in [-1, 1]); the last frame is filled with zeros."""
    sound = samples.double()
    sound = torch.cat([sound[:1], sound[1:] - _PRE_EMPHASIS * sound[:-1]])
    rows = 1 + max(0, math.ceil((len(sound) - _FRAME) / _STEP))
    sound = pad(sound, (0, (rows - 1) * _STEP + _FRAME - len(sound)))
    spectrum = torch.fft.rfft(sound.unfold(0, _FRAME, _STEP), _FFT)
    power = (spectrum.real.square() + spectrum.imag.square()) / _FFT
    energy = power.sum(1)
    bands = power @ _mel_triangles()
    cepstra = _floored(bands).log() @ _cosines()
    order = torch.arange(CEPSTRA, dtype=torch.float64)
    cepstra = cepstra * (1 + _LIFTER / 2 * torch.sin(math.pi * order / _LIFTER))
    cepstra[:, 0] = _floored(energy).log()
    return cepstra


def network_input(samples: Float[Tensor, " samples"]) -> Float[Tensor, "rows {INPUT_WIDTH}"]:
    """What the network reads, at 50 Hz: every second row of cepstra beside its 9 neighbours before and after, normalised.

    samples in [-1, 1]. Rows beyond the ends are zeros; mean and standard deviation are those of the whole array.
    """
    pcm = (samples.double() * 32768).round().clamp(-32768, 32767)
    cepstra = pad(compute_cepstra(pcm)[::2], (0, 0, CONTEXT, CONTEXT))
    windows = cepstra.unfold(0, 2 * CONTEXT + 1, 1).transpose(1, 2).flatten(1)
    return (windows - windows.mean()) / windows.std(correction=0).clamp_min(_FLOOR)


def _floored(values: Tensor) -> Tensor:
    return torch.where(values == 0, _FLOOR, values)


def _mel_triangles() -> Float[Tensor, "bins bands"]:
    """Triangles between neighbouring corners, which are rounded down to bins."""
    highest = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    mel = torch.linspace(0, highest, CEPSTRA + 2, dtype=torch.float64)
    corners = torch.floor((_FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE)
    bins = torch.arange(_FFT // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return torch.where(bins < centre, rising, falling).clamp_min(0)


def _cosines() -> Float[Tensor, "bands cepstra"]:
    """Orthonormal DCT-II."""
    band = torch.arange(CEPSTRA, dtype=torch.float64)[:, None] + 0.5
    order = torch.arange(CEPSTRA, dtype=torch.float64)
    scale = torch.full((CEPSTRA,), math.sqrt(2 / CEPSTRA), dtype=torch.float64)
    scale[0] = math.sqrt(1 / CEPSTRA)
    return torch.cos(math.pi / CEPSTRA * band * order) * scale
