"""The user's segmentation models: what is found, and what their masks mean. No such model is at hand: a tiny one of the same form stands in."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.face.bundle_segmenter import BundleSegmenter, Kind, SegmenterFile, find_segmenter, person_of
from r2talker.ingest.networks.models import find_models, open_segmenter
from tests.face.tiny_segmenter import write_segmenter


def flat(*values: float) -> list[np.ndarray]:
    return [np.full((4, 6), value, np.float32) for value in values]


def test_the_one_that_tells_most_is_taken(tmp_path: Path) -> None:
    assert find_segmenter(tmp_path) is None
    names = {
        "hair_segmenter.tflite": "hair",
        "selfie_segmenter.task": "person",
        "selfie_multiclass_256x256.tflite": "multiclass",
    }
    for name, kind in names.items():
        (tmp_path / name).touch()
        assert find_segmenter(tmp_path) == SegmenterFile(tmp_path / name, cast(Kind, kind))
    (tmp_path / "selfie_multiclass.txt").touch()
    assert find_models(str(tmp_path)).segmenter == SegmenterFile(tmp_path / "selfie_multiclass_256x256.tflite", "multiclass")


def test_what_masks_mean() -> None:
    assert person_of(flat(0.3, 0.2, 0.1, 0.3, 0.1, 0.0), "multiclass") == pytest.approx(0.7)
    assert person_of(flat(0.8), "person") == pytest.approx(0.8)
    assert person_of(flat(0.4, 0.6), "hair") == pytest.approx(0.6)
    assert person_of(flat(1.2), "person").max() == 1


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "selfie_multiclass_256x256.tflite"
    path.write_bytes(b"hello")
    with pytest.raises(R2TalkerError, match="not a segmentation model of MediaPipe"):
        open_segmenter(str(tmp_path))
    with pytest.raises(R2TalkerError, match="cannot read"):
        BundleSegmenter(SegmenterFile(tmp_path / "none.tflite", "person"))


@pytest.mark.parametrize(
    ("name", "classes"),
    [("selfie_multiclass_256x256.tflite", 6), ("selfie_segmenter.tflite", 2), ("hair_segmenter.tflite", 2)],
)
def test_a_model_of_the_documented_form_masks_the_dark_half(name: str, classes: int, tmp_path: Path) -> None:
    """Through MediaPipe itself: masks come at the picture's size, one for each class."""
    write_segmenter(tmp_path / name, classes)
    picture = np.full((60, 90, 3), 255, np.uint8)
    picture[:, 45:] = 0
    with open_segmenter(str(tmp_path)) as segmenter:
        mask = segmenter.segment(picture)
    assert mask.shape == (60, 90)
    assert mask.dtype == np.float32
    assert mask[:, 55:].min() > 0.95
    # The package's own network, which hair is added to, sees nobody in a white wall.
    assert mask[:, :35].max() < 0.3
