"""The user's face parser names the regions, inside the person's mask, only as long as it is given."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.face.bisenet import BiSeNet
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.masks import read_regions
from r2talker.ingest.networks.models import Models, find_models, open_detector
from r2talker.ingest.networks.parsing import name_regions
from r2talker.ingest.parsing import BACKGROUND, HEAD, NECK, TORSO
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.step import Workspace

BUNDLES = Path(__file__).parents[3] / "shared" / "weights"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Weights that call everything cloth: class 16."""
    torch.manual_seed(0)
    network = BiSeNet()
    torch.nn.init.zeros_(network.conv_out.conv_out.weight)
    torch.nn.init.ones_(network.conv_out.conv_out.weight[16])
    torch.nn.init.ones_(network.conv_out.conv.bn.bias)
    folder = tmp_path / "models"
    folder.mkdir()
    torch.save(network.state_dict(), folder / "79999_iter.pth")
    return folder


def test_regions_of_every_class() -> None:
    classes = np.array([[0, 1, 13, 14, 15, 16, 17, 18, 0, 16]], np.uint8)
    alpha = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 0, 0]], np.float32)
    own = np.full((1, 10), NECK, np.uint8)
    expected = [NECK, HEAD, HEAD, NECK, NECK, TORSO, HEAD, HEAD, BACKGROUND, BACKGROUND]
    assert name_regions(classes, alpha, own).tolist() == [expected]


@pytest.mark.slow
def test_the_network_is_used_while_it_is_given(
    clip: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network takes its time for a picture.
    monkeypatch.setattr("r2talker.ingest.frames.LEAST_SECONDS", 1.0)
    own = Workspace(clip, DatasetFolder(tmp_path / "short"), IngestConfig(size=64, seconds=1))
    run_steps(own, last="masks")
    before = [read_regions(own.folder.parsing(k)) for k in range(own.frames)]
    given = replace(own, config=replace(own.config, model_dir=str(models)))
    assert run_steps(given, last="masks")[-1] == "masks"
    for frame, regions in enumerate(before):
        parsed = read_regions(own.folder.parsing(frame))
        assert (parsed[regions == BACKGROUND] == BACKGROUND).mean() > 0.98
        assert (parsed[regions != BACKGROUND] == TORSO).mean() > 0.95
    assert run_steps(given, last="masks") == []
    assert run_steps(own, last="masks")[-1] == "masks"
    assert all((read_regions(own.folder.parsing(k)) == regions).all() for k, regions in enumerate(before))


def test_what_a_folder_holds(tmp_path: Path) -> None:
    assert find_models(None) == Models()
    with pytest.raises(R2TalkerError, match="is not a folder"):
        find_models(str(tmp_path / "none"))
    with pytest.raises(R2TalkerError, match="holds neither"):
        find_models(str(tmp_path))
    bundle = tmp_path / "face_landmarker.task"
    bundle.touch()
    assert find_models(str(tmp_path)) == Models(None, bundle)
    with pytest.raises(R2TalkerError, match="not a face landmarker bundle"):
        open_detector(str(tmp_path))


@pytest.mark.skipif(not BUNDLES.is_dir(), reason="no face_landmarker.task beside the project")
def test_a_bundle_finds_the_points(clip: Path, tmp_path: Path) -> None:
    own = Workspace(clip, DatasetFolder(tmp_path / "short"), IngestConfig(size=64, seconds=2))
    run_steps(own, last="landmarks")
    before = np.stack([np.loadtxt(own.folder.landmarks(k)) for k in range(own.frames)])
    assert run_steps(replace(own, config=replace(own.config, model_dir=str(BUNDLES))), last="landmarks") == ["landmarks"]
    after = np.stack([np.loadtxt(own.folder.landmarks(k)) for k in range(own.frames)])
    assert 0 < np.abs(after - before).mean() < 0.03 * np.ptp(before[0, :, 0])
