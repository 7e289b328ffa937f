"""Landmarks over time on curves and points whose readings are known."""

import numpy as np
import pytest

from r2talker.evaluate.faces import eye_opening, face_distance, mouth_distance, mouth_opening, time_lips, time_sound
from tests.talking import make_talk
from tests.tolerances import assert_close


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(2).uniform(50, 200, (68, 3)).astype(np.float32)


def speech(frames: int) -> np.ndarray:
    """An opening that syllables move, sampled as finely as needed by `moved`."""
    return moved(frames, 0.0)


def moved(frames: int, late: float) -> np.ndarray:
    time = (np.arange(frames) - late) / 25
    return 6 + 3 * np.sin(2 * np.pi * 2.1 * time) + 2 * np.sin(2 * np.pi * 3.3 * time + 1)


class TestDistances:
    def test_a_moved_face_is_no_distance_away(self, points: np.ndarray) -> None:
        elsewhere = points + np.array([7, -4, 9], np.float32)
        assert_close(mouth_distance(elsewhere, points, 512), 0, "pixels of a moved face")
        assert_close(face_distance(elsewhere, points, 512), 0, "pixels of a moved face")

    def test_one_point_by_hand(self, points: np.ndarray) -> None:
        wrong = points.copy()
        wrong[60, 0] += 10
        # Its own error is 10 less the mean's 0.5, the other 19 points' is 0.5; at a height of 256 all count twice.
        assert mouth_distance(wrong, points, 256) == pytest.approx(2 * (9.5 + 19 * 0.5) / 20, rel=1e-4)
        mean = 10 / 68
        assert face_distance(wrong, points, 512) == pytest.approx((10 - mean + 67 * mean) / 68, rel=1e-4)

    def test_only_the_mouth_counts_for_the_mouth(self, points: np.ndarray) -> None:
        other = points.copy()
        other[:48] += 30
        assert mouth_distance(other, points, 512) == 0
        assert face_distance(other, points, 512) > 10

    def test_how_far_the_lips_are_apart_counts(self, points: np.ndarray) -> None:
        opened = points.copy()
        opened[48:58, 1] += 2
        opened[58:68, 1] -= 2
        assert mouth_distance(opened, points, 512) == pytest.approx(2, rel=1e-4)

    def test_depth_does_not_count(self, points: np.ndarray) -> None:
        deeper = points * np.array([1, 1, 3], np.float32)
        assert mouth_distance(deeper, points, 512) == 0
        assert mouth_opening(deeper, 512) == mouth_opening(points, 512)

    def test_a_face_that_is_not_seen(self, points: np.ndarray) -> None:
        assert np.isnan(mouth_distance(np.full((68, 3), np.nan), points, 512))

    def test_openings(self, points: np.ndarray) -> None:
        points[62], points[66] = (100, 100, 3), (103, 104, 9)
        assert mouth_opening(points, 256) == pytest.approx(10)
        for first in (36, 42):
            points[first : first + 6, :2] = [(0, 0), (4, -4), (8, -4), (12, 0), (8, 4), (4, 4)]
        assert eye_opening(points, 200) == pytest.approx(100 * 2 * 64 / 200**2)


class TestTimeLips:
    def test_equal_openings(self) -> None:
        timing = time_lips(speech(80), speech(80))
        assert timing is not None
        assert timing.correlation == pytest.approx(1)
        assert timing.late == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("frames", [-3, -1, 2, 4])
    def test_whole_frames_late_or_early(self, frames: int) -> None:
        timing = time_lips(moved(200, frames), speech(200))
        assert timing is not None
        assert_close(timing.late, 40 * frames, "lag of lips")
        assert timing.correlation < 0.95

    def test_parts_of_a_frame(self) -> None:
        timing = time_lips(moved(200, 1.5), speech(200))
        assert timing is not None
        assert_close(timing.late, 60, "lag of lips")

    def test_faces_that_were_not_seen_are_bridged(self) -> None:
        made = moved(200, 2)
        made[[5, 6, 90, 199]] = np.nan
        timing = time_lips(made, speech(200))
        assert timing is not None
        assert_close(timing.late, 80, "lag of lips")

    def test_too_few_faces(self) -> None:
        made = speech(60)
        made[24:] = np.nan
        assert time_lips(made, speech(60)) is None

    @pytest.mark.parametrize("made", [np.full(60, 3.0), np.random.default_rng(0).normal(5, 1, 60)])
    def test_a_mouth_that_does_not_follow_has_no_lag(self, made: np.ndarray) -> None:
        timing = time_lips(made, speech(60))
        assert timing is not None
        assert abs(timing.correlation) < 0.3
        assert np.isnan(timing.late)


@pytest.mark.parametrize("late", [0, 2])
def test_sound_that_comes_late(late: int) -> None:
    """Landmarks as a detector sees them: pixels, rows downwards, with a frame that was missed."""
    talk = make_talk(16)
    seen = (talk.landmarks.numpy() * 1500 + 200) * np.array([1.0, -1.0, -1.0])
    seen[77] = np.nan
    samples = np.concatenate([np.zeros(640 * late, np.float32), talk.samples.numpy()])
    now, reference = time_sound(seen, samples), time_sound(seen, talk.samples.numpy())
    assert not np.isnan(reference.late)
    assert_close(now.late - reference.late, late, "lag of sound")
