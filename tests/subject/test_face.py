"""The map from expressions to points: lips that meet, lids that shut, skin that does not tear."""

from dataclasses import replace

import numpy as np
import pytest

from r2talker.subject.face import MOUTH_HALF_WIDTH, Expression, Influence, lip_line
from r2talker.subject.landmarks import Landmarks
from r2talker.subject.skin import skin_charts, skin_points
from tests.tolerances import assert_close


@pytest.fixture(scope="module")
def landmarks() -> Landmarks:
    return Landmarks()


def distance(points: np.ndarray, first: int, second: int) -> float:
    return float(np.linalg.norm(points[first] - points[second]))


def test_rest_face_is_in_the_head_frame(landmarks: Landmarks) -> None:
    points = landmarks.place(Expression())
    assert_close(points[36], [-0.045, 0.030, 0.065], "head frame")
    assert_close(points[45], [0.045, 0.030, 0.065], "head frame")


def test_rest_face_is_symmetric(landmarks: Landmarks) -> None:
    points = landmarks.place(Expression())
    mirrored = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37]
    mirrored += [36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    assert_close(points[mirrored] * np.array([-1, 1, 1]), points, "head frame")


@pytest.mark.parametrize("width", [-1.0, 0.0, 1.0])
def test_lips_meet_when_the_jaw_is_up(landmarks: Landmarks, width: float) -> None:
    points = landmarks.place(Expression(width=width, press=0.5))
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        assert_close(points[upper], points[lower], "head frame")


def test_jaw_opens_the_mouth_steadily(landmarks: Landmarks) -> None:
    openings = [distance(landmarks.place(Expression(open=o)), 62, 66) for o in np.linspace(0, 1, 11)]
    assert (np.diff(openings) > 0).all()
    assert 0.012 < openings[-1] < 0.025


def test_rounding_narrows_and_pushes_out(landmarks: Landmarks) -> None:
    rest = landmarks.place(Expression())
    rounded, spread = landmarks.place(Expression(width=-1)), landmarks.place(Expression(width=1))
    assert distance(rounded, 48, 54) < 0.8 * distance(rest, 48, 54) < 0.8 * distance(spread, 48, 54)
    assert rounded[51, 2] > rest[51, 2] + 0.004


def test_lids_shut_one_by_one(landmarks: Landmarks) -> None:
    rest, winked = landmarks.place(Expression()), landmarks.place(Expression(blink=(1.0, 0.0)))
    assert distance(winked, 37, 41) < 0.15 * distance(rest, 37, 41)
    assert_close(winked[42:48], rest[42:48], "head frame")
    assert_close(winked[[36, 39]], rest[[36, 39]], "head frame")


def test_brows_rise_without_the_mouth(landmarks: Landmarks) -> None:
    rest, raised = landmarks.place(Expression()), landmarks.place(Expression(brow=1.0))
    assert (raised[17:27, 1] - rest[17:27, 1] > 0.003).all()
    assert_close(raised[48:], rest[48:], "head frame")


def test_skin_does_not_tear_beyond_the_corners() -> None:
    x = np.linspace(MOUTH_HALF_WIDTH, 0.06, 20)
    points = skin_points(x, lip_line(x))
    upper, lower = Influence.of(points, "upper"), Influence.of(points, "lower")
    expression = Expression(open=1.0, width=-0.7, press=0.3, blink=(0.5, 1.0), brow=0.8)
    assert_close(upper.apply(expression), lower.apply(expression), "head frame")


@pytest.mark.parametrize("change", [{"open": 1.0}, {"width": -1.0}, {"width": 1.0}, {"press": 1.0}, {"brow": 1.0}])
def test_skin_never_folds_over(change: dict[str, float]) -> None:
    """Where the skin faces the camera no row passes the row above it (under the chin the jaw's turn changes the order)."""
    for chart in skin_charts().values():
        moved = chart.influence.apply(replace(Expression(), **change))
        front = chart.influence.rest[..., 2] > 0.065
        rises = np.diff(moved[..., 1], axis=0)[front[1:] & front[:-1]]
        was = np.diff(chart.influence.rest[..., 1], axis=0)[front[1:] & front[:-1]]
        assert (rises[was > 0] > 0).all()
