"""The face mesh by a MediaPipe Tasks bundle, against that of the wheel's own models."""

from pathlib import Path

import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.face.detector import FaceDetector
from r2talker.face.tasks import BundleDetector, find_landmarker
from r2talker.media.read import read_video

MODELS = Path(__file__).parents[3] / "shared" / "weights"


@pytest.fixture(scope="module")
def bundle() -> Path:
    found = find_landmarker(MODELS) if MODELS.is_dir() else None
    if found is None:
        pytest.skip("no face_landmarker.task beside the project")
    return found


@pytest.mark.parametrize("tracking", [False, True])
def test_it_sees_the_same_face(bundle: Path, clip: Path, tracking: bool, capfd: pytest.CaptureFixture[str]) -> None:
    pictures = [picture for _, picture in zip(range(5), read_video(clip), strict=False)]
    with BundleDetector(bundle, tracking=tracking) as detector, FaceDetector(tracking=tracking) as own:
        pairs = [(detector.detect(picture), own.detect(picture)) for picture in pictures]
    for found, known in pairs:
        assert found is not None
        assert known is not None
        assert found.mesh.shape == (478, 3)
        width = np.ptp(known.mesh[:, 0])
        assert np.abs(found.mesh[:, :2] - known.mesh[:, :2]).mean() < 0.03 * width
    assert "INFO" not in capfd.readouterr().err


def test_a_wall_has_no_face(bundle: Path) -> None:
    with BundleDetector(bundle) as detector:
        assert detector.detect(np.full((128, 128, 3), 90, np.uint8)) is None


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"hello")
    with pytest.raises(R2TalkerError, match="not a face landmarker bundle"):
        BundleDetector(path)
    with pytest.raises(R2TalkerError, match="cannot read"):
        BundleDetector(tmp_path / "none.task")


def test_only_landmarkers_are_found(tmp_path: Path) -> None:
    assert find_landmarker(tmp_path) is None
    (tmp_path / "selfie.task").touch()
    assert find_landmarker(tmp_path) is None
    (tmp_path / "my_face_landmarker_v2.task").touch()
    assert find_landmarker(tmp_path) == tmp_path / "my_face_landmarker_v2.task"
