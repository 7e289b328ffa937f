"""Altered copies of a clip's sound, so that seconds of one voice in one room serve for other voices and rooms."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.drive.log_mel import SAMPLE_RATE

_ROOM_SHARE = 0.33


@dataclass(frozen=True)
class AlteredSound:
    """samples: the sound; speed: seconds of the original per second of the copy."""

    samples: Float[Tensor, " samples"]
    speed: float


def alter_sound(samples: Float[Tensor, " samples"], generator: torch.Generator) -> AlteredSound:
    """Speed and pitch +-12 %, noise of a random colour 12 to 40 dB below the speech, and half the time a small room."""
    speed = math.exp(_uniform(-0.12, 0.12, generator))
    altered = play_faster(samples, speed)
    if _uniform(0, 1, generator) < 0.5:
        altered = add_room(
            altered, reverberation=_uniform(0.1, 0.5, generator), wet=_uniform(0.1, 0.5, generator), generator=generator
        )
    noise = coloured_noise(altered.shape[0], slope=_uniform(0, 1, generator), generator=generator)
    level = altered.square().mean().sqrt() * 10 ** (-_uniform(25, 45, generator) / 20)
    return AlteredSound(altered + noise * level, speed)


def play_faster(samples: Float[Tensor, " samples"], speed: float) -> Float[Tensor, " copied"]:
    """Linear interpolation at `speed` times the pace; pitch and formants move along."""
    time = torch.arange(int(samples.shape[0] / speed), dtype=torch.float64) * speed
    left = time.long().clamp(max=samples.shape[0] - 2)
    return torch.lerp(samples[left], samples[left + 1], (time - left).to(samples.dtype))


def coloured_noise(length: int, *, slope: float, generator: torch.Generator) -> Float[Tensor, " length"]:
    """Gaussian noise of unit power whose power falls as frequency^-slope above 50 Hz (0 white, 1 pink)."""
    spectrum = torch.fft.rfft(torch.randn(length, generator=generator))
    frequency = torch.linspace(0, SAMPLE_RATE / 2, spectrum.shape[0]).clamp_min(50)
    noise = torch.fft.irfft(spectrum * frequency ** (-slope / 2), length)
    return noise / noise.square().mean().sqrt().clamp_min(1e-12)


def add_room(
    samples: Float[Tensor, " samples"], *, reverberation: float, wet: float, generator: torch.Generator
) -> Float[Tensor, " samples"]:
    """Convolve with the direct sound plus a noise tail that falls by 60 dB in `reverberation` seconds (Polack's model)."""
    length = int(reverberation * SAMPLE_RATE)
    tail = torch.randn(length, generator=generator) * 10 ** (-3 * torch.arange(length) / length)
    response = tail / tail.norm() * wet
    response[0] = 1.0
    size = samples.shape[0] + length
    return torch.fft.irfft(torch.fft.rfft(samples, size) * torch.fft.rfft(response, size), size)[: samples.shape[0]]


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand(1, generator=generator).item()
