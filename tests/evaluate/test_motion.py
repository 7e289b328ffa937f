"""Scores of lip motion on curves whose scores are known."""

import math

import pytest
import torch

from r2talker.drive.config import MotionConfig
from r2talker.drive.motion import MotionModel
from r2talker.evaluate import motion
from r2talker.evaluate.motion import best_lag, correlation, evaluate_voice, lip_curves, score_motion, syllable_envelope
from tests.tolerances import assert_close


def mouth(opening: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Positions (metres) with the given inner opening and width; the outer height is the opening plus 2 cm."""
    points = torch.zeros(opening.shape[0], 68, 3)
    points[:, 62, 1], points[:, 66, 1] = opening / 2, -opening / 2
    points[:, 51, 1], points[:, 57, 1] = opening / 2 + 0.01, -opening / 2 - 0.01
    points[:, 48, 0], points[:, 54, 0] = -width / 2, width / 2
    return points


@pytest.fixture
def speaking() -> torch.Tensor:
    time = torch.arange(150) / 25
    opening = 0.004 * (1 + torch.sin(2 * math.pi * 2.3 * time) * torch.cos(1.7 * time))
    return mouth(opening, 0.05 + 0.004 * torch.sin(2 * math.pi * 1.1 * time + 1))


def test_lip_curves_are_distances(speaking: torch.Tensor) -> None:
    curves = lip_curves(mouth(torch.tensor([0.003]), torch.tensor([0.05])))
    assert_close(torch.cat([curves.opening, curves.width, curves.height]), torch.tensor([0.003, 0.05, 0.023]), "lip distance")


def test_identical_motion_is_perfect(speaking: torch.Tensor) -> None:
    scores = score_motion(speaking, speaking, pixels_per_metre=1500)
    assert scores.raw.mean == pytest.approx(1)
    assert scores.fast.mean == pytest.approx(1)
    assert scores.mouth_error == scores.mouth_pixels == 0
    assert scores.lag == 0
    assert scores.closed_recall == 1
    assert scores.jitter == scores.tracked_jitter > 0


def test_opposite_motion_correlates_minus_one(speaking: torch.Tensor) -> None:
    scores = score_motion(2 * speaking.mean(0) - speaking, speaking)
    assert scores.raw.mean == pytest.approx(-1)


@pytest.mark.parametrize("late", [-4, -1, 2, 5])
def test_the_lag_is_found(speaking: torch.Tensor, late: int) -> None:
    assert best_lag(lip_curves(speaking.roll(late, 0)[10:-10]), lip_curves(speaking[10:-10])) == late


def test_slow_drift_lowers_raw_but_not_fast_correlation(speaking: torch.Tensor) -> None:
    drift = torch.linspace(0, 0.02, 150)
    drifting = mouth(lip_curves(speaking).opening + drift, lip_curves(speaking).width)
    scores = score_motion(drifting, speaking)
    assert scores.raw.opening < 0.6
    assert scores.fast.opening > 0.95


def test_errors_are_metres_and_pixels_of_the_picture_plane(speaking: torch.Tensor) -> None:
    moved = speaking + torch.tensor([0.003, 0.004, 0.012])
    scores = score_motion(moved, speaking, pixels_per_metre=1000)
    assert scores.mouth_error == pytest.approx(0.013, rel=1e-4)
    assert scores.mouth_pixels == pytest.approx(5.0, rel=1e-4)
    assert math.isnan(score_motion(moved, speaking).mouth_pixels)


def test_a_mouth_that_stays_open_closes_never(speaking: torch.Tensor) -> None:
    open_mouth = mouth(torch.full((150,), 0.01), torch.full((150,), 0.05))
    scores = score_motion(open_mouth, speaking)
    assert scores.closed_recall == 0
    assert scores.raw.mean == 0
    assert scores.jitter == 0


def test_correlation_of_known_curves() -> None:
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert correlation(a, 3 * a + 1) == pytest.approx(1)
    assert correlation(a, torch.tensor([1.0, -1.0, -1.0, 1.0])) == pytest.approx(0)
    assert correlation(a, torch.ones(4)) == 0


def test_two_seconds_are_needed(speaking: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="at least 50"):
        score_motion(speaking[:49], speaking[:49])


def test_syllable_envelope_rises_with_loudness() -> None:
    sound = torch.randn(32000, generator=torch.Generator().manual_seed(0)) * 0.01
    sound[16000:] *= 10  # 20 dB are half a unit
    envelope = syllable_envelope(sound, 50)
    assert envelope.shape == (50,)
    assert_close(envelope[35:45].mean() - envelope[5:15].mean(), torch.tensor(0.5), "envelope of noise")


def test_a_mouth_that_follows_loudness_scores_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = torch.randn(48000, generator=torch.Generator().manual_seed(0)) * 0.1
    sound[16000:32000] *= 1e-4
    loudness = syllable_envelope(sound, 75)
    monkeypatch.setattr(motion, "generate_landmarks", lambda *_: mouth(loudness.clamp_min(loudness.max() - 0.75), loudness * 0))
    scores = evaluate_voice(MotionModel(MotionConfig()), sound)
    assert scores.envelope > 0.99
    assert 15 <= scores.pauses <= 25
    assert scores.pause_opening < 0.05
