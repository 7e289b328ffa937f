"""Energy, pitch and voicing of sounds whose values are known."""

import math

import pytest
import torch

from r2talker.drive.features.feature import AudioFeature
from r2talker.drive.features.voice import Voice
from r2talker.drive.log_mel import LogMel
from tests.tolerances import assert_close

RATE = 16000


def buzz(hertz: float, seconds: float = 1.0) -> torch.Tensor:
    """A sum of ten harmonics."""
    time = torch.arange(int(seconds * RATE)) / RATE
    return sum(torch.sin(2 * math.pi * hertz * k * time) / k for k in range(1, 11)) * 0.1


@pytest.mark.parametrize("hertz", [80.0, 123.0, 200.0, 330.0])
def test_the_pitch_of_a_buzz_is_found(hertz: float) -> None:
    rows = Voice()(buzz(hertz))[3:-3]
    assert_close(rows[:, 1], torch.full((44,), math.log2(hertz / 100)), "pitch of a buzz")
    assert (rows[:, 2] > 0.9).all()


def test_noise_and_silence_have_no_pitch() -> None:
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    for sound in (noise, torch.zeros(RATE)):
        rows = Voice()(sound)
        assert torch.isfinite(rows).all()
        assert (rows[:, 1] == 0).float().mean() > 0.9


def test_energy_is_the_log_of_the_power() -> None:
    quiet, loud = (Voice()(buzz(150) * gain)[10:-10, 0] for gain in (0.1, 1.0))
    assert_close(loud - quiet, torch.full_like(loud, 2.0), "energy")


@pytest.mark.parametrize(("samples", "rows"), [(0, 0), (1, 1), (320, 1), (321, 2), (16000, 50)])
def test_every_begun_row_counts(samples: int, rows: int) -> None:
    assert Voice()(torch.zeros(samples)).shape == (rows, Voice.width)


def test_features_without_a_download_say_what_they_are() -> None:
    features: list[AudioFeature] = [LogMel(24), Voice()]
    assert [(f.rate, f.width, f.receptive_samples) for f in features] == [(50, 24, 512), (50, 3, 704)]
    assert [f(torch.zeros(3200)).shape for f in features] == [(10, 24), (10, 3)]


def test_a_row_depends_on_its_receptive_field_only() -> None:
    sound = buzz(120)
    changed = sound.clone()
    reach = (Voice.receptive_samples - 320) // 2
    changed[21 * 320 + reach :] = 0.5
    before, after = Voice()(sound), Voice()(changed)
    assert torch.equal(before[:21], after[:21])
    assert not torch.equal(before[21], after[21])
