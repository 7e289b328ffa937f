"""A person made of formulas: sound and landmarks whose relation is known."""

import dataclasses

import torch

from r2talker.train.motion_augment import coloured_noise

BASE = torch.zeros(68, 3)
BASE[62, 1], BASE[66, 1], BASE[51, 1], BASE[57, 1], BASE[48, 0], BASE[54, 0] = 0.001, -0.001, 0.01, -0.01, -0.025, 0.025
"""Rest positions, metres, as far as lips are concerned."""


@dataclasses.dataclass(frozen=True)
class Talk:
    """Sound, landmarks in metres, and eye value of a person made of formulas."""

    samples: torch.Tensor
    landmarks: torch.Tensor
    eye: torch.Tensor


def smooth_noise(length: int, step: int, generator: torch.Generator) -> torch.Tensor:
    """Linear interpolation between random values in [0, 1], one every `step`."""
    knots = torch.rand(length // step + 2, generator=generator)
    return torch.nn.functional.interpolate(knots[None, None], size=length + step, mode="linear")[0, 0, :length]


def make_talk(seconds: int = 20, *, seed: int = 0) -> Talk:
    """Loudness opens the mouth; a brighter sound widens it; the jaw follows the opening; the eyes blink on their own."""
    generator = torch.Generator().manual_seed(seed)
    frames, samples = seconds * 25, seconds * 16000
    opening = (smooth_noise(frames, 5, generator) * 1.6 - 0.5).clamp(0, 1)
    bright = smooth_noise(frames, 7, generator)
    upsample = lambda curve: torch.nn.functional.interpolate(curve[None, None], size=samples, mode="linear")[0, 0]  # noqa: E731
    dull, sharp = (coloured_noise(samples, slope=slope, generator=generator) for slope in (2.0, 0.0))
    loud, bright_now = upsample(opening), upsample(bright)
    hiss = torch.randn(samples, generator=generator) * 0.001
    sound = 0.1 * loud * (dull * (1 - bright_now) + sharp * bright_now) + hiss
    landmarks = torch.zeros(frames, 68, 3)
    landmarks[:, 60:65, 1] = 0.002 * opening[:, None]
    landmarks[:, 65:68, 1] = -0.008 * opening[:, None]
    landmarks[:, 55:60, 1] = -0.008 * opening[:, None]
    landmarks[:, 5:12, 1] = -0.006 * opening[:, None]
    landmarks[:, 48, 0], landmarks[:, 54, 0] = -0.004 * bright, 0.004 * bright
    eye = 0.2 + 0.05 * smooth_noise(frames, 9, generator)
    landmarks[:, 37:39, 1] = landmarks[:, 43:45, 1] = 0.02 * (eye - 0.2)[:, None]
    landmarks += torch.randn(landmarks.shape, generator=generator) * 1e-4
    return Talk(sound, landmarks, eye)
