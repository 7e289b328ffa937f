"""The user's segmentation models: what is found, and what their masks mean. No such model is at hand: masks are made up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.face.bundle_segmenter import BundleSegmenter, Kind, SegmenterFile, find_segmenter, person_of
from r2talker.ingest.networks.models import find_models, open_segmenter


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


@pytest.mark.parametrize(("kind", "least"), [("multiclass", 0.25), ("hair", 0.75)])
def test_masks_of_the_documented_form_become_the_person(
    kind: Any, least: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in for `ImageSegmenter`, which returns `confidence_masks`: images [height, width, 1] with `numpy_view`."""
    from mediapipe.tasks.python import vision

    class Stub:
        def segment(self, image: Any) -> SimpleNamespace:
            shape = (*image.numpy_view().shape[:2], 1)
            masks = [SimpleNamespace(numpy_view=lambda part=part: np.full(shape, part, np.float32)) for part in (0.75, 0.25)]
            if kind == "hair":
                masks = masks[::-1]
            return SimpleNamespace(confidence_masks=masks)

        def close(self) -> None:
            self.closed = True

    stub = Stub()
    monkeypatch.setattr(vision.ImageSegmenter, "create_from_options", staticmethod(lambda options: stub))
    path = tmp_path / "model.tflite"
    path.write_bytes(b"model")
    with BundleSegmenter(SegmenterFile(path, kind)) as segmenter:
        mask = segmenter.segment(np.full((48, 32, 3), 90, np.uint8))
    assert mask.shape == (48, 32)
    assert mask.min() >= least - 1e-6
    assert stub.closed
