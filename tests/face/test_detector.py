"""What MediaPipe sees in the procedural person, whose true landmarks are known, and in nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from r2talker.face.detector import FaceDetector, FaceFinder
from r2talker.face.segmenter import PersonSegmenter
from r2talker.face.topology import mesh_to_68
from r2talker.media.read import read_video
from r2talker.subject.truth import load_truth

# Pixels of a 144 pixel picture: MediaPipe places brows, lips and jaw of a drawn face some pixels off.
LANDMARK_MEAN, LANDMARK_MOST = 2.5, 9.0


@pytest.fixture(scope="module")
def pictures(clip: Path) -> list[np.ndarray]:
    return list(read_video(clip))[:6]


@pytest.mark.parametrize("tracking", [False, True])
def test_landmarks_lie_where_the_drawing_has_them(pictures: list[np.ndarray], clip: Path, tracking: bool) -> None:
    truth = load_truth(clip.parent).landmarks_2d
    with FaceDetector(tracking=tracking) as detector:
        faces = [detector.detect(picture) for picture in pictures]
    for index, face in enumerate(faces):
        assert face is not None
        assert face.faces_found == 1
        assert face.mesh.shape == (478, 3)
        error = np.linalg.norm(mesh_to_68(face.mesh)[:, :2] - truth[index], axis=1)
        assert error.mean() < LANDMARK_MEAN
        assert error.max() < LANDMARK_MOST


def test_nothing_is_found_in_noise() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (96, 120, 3), dtype=np.uint8)
    with FaceDetector() as detector, FaceFinder() as finder:
        assert detector.detect(noise) is None
        assert finder.find(noise).shape == (0, 4)


def test_two_faces_are_counted_and_the_larger_comes_first(pictures: list[np.ndarray]) -> None:
    large, small = pictures[0], pictures[0][::2, ::2]
    both = np.zeros((144, 216, 3), np.uint8)
    both[:, :144], both[72:, 144:] = large, small
    with FaceFinder() as finder:
        boxes = finder.find(both)
    assert len(boxes) == 2
    assert boxes[0, 2] > 1.5 * boxes[1, 2]
    assert boxes[0, 0] < 144 < boxes[1, 0] + boxes[1, 2]


def test_the_person_is_told_from_the_background(pictures: list[np.ndarray], clip: Path) -> None:
    person = load_truth(clip.parent).labels[0] != 0
    with PersonSegmenter() as segmenter:
        mask = segmenter.segment(pictures[0])
    assert mask.shape == person.shape
    both, either = (mask > 0.5) & person, (mask > 0.5) | person
    assert both.sum() / either.sum() > 0.9


def test_mediapipe_stays_quiet(pictures: list[np.ndarray], capfd: pytest.CaptureFixture[str]) -> None:
    make: Callable[[], FaceDetector] = FaceDetector
    with make() as detector:
        detector.detect(pictures[0])
    assert capfd.readouterr().err == ""
