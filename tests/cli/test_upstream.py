"""`r2talker import` and `export`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from r2talker.upstream.scene import SceneFiles
from tests.cli.conftest import Command
from tests.upstream.files import golden_scene, latest, save, state_dict


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneFiles:
    return golden_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(latest(state_dict("genefaceDagger")), tmp_path_factory.mktemp("checkpoint") / "ngp.pth")


def test_there_and_back(command: Command, checkpoint: Path, scene: SceneFiles, tmp_path: Path) -> None:
    given = ("--pose", scene.poses, "--background", scene.background, "--landmarks", scene.landmarks)
    outcome = command("import", checkpoint, tmp_path / "a.avatar", *given)
    assert (outcome.code, outcome.err) == (0, "")
    assert "GeneFace on instant-ngp with its moving average of the weights" in outcome.out
    assert "geneface avatar of 64 x 64" in outcome.out
    assert "driven by landmarks; torso included" in outcome.out
    assert "driven by landmarks" in command("info", tmp_path / "a.avatar").out
    rendered = command(
        "render", tmp_path / "a.avatar", "-o", tmp_path / "a.mp4", "--size", 16, "--frames", 2, "--device", "cpu"
    )
    assert rendered.code == 0, rendered.err
    outcome = command("export", tmp_path / "a.avatar", tmp_path / "again.pth")
    assert (outcome.code, outcome.err) == (0, "")
    assert "the checkpoint it was imported from" in outcome.out


def test_refusals_are_one_line(
    refused: Callable[..., str], checkpoint: Path, scene: SceneFiles, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    assert "give --dataset DIR, or --pose" in refused("import", checkpoint, tmp_path / "a.avatar")
    assert "no-such.pth" in refused("import", tmp_path / "no-such.pth", tmp_path / "a.avatar", "--pose", scene.poses)
    assert "exists already" in refused("import", checkpoint, trained("r2talker"), "--pose", scene.poses)
    assert "must end in .pth" in refused("export", trained("r2talker"), tmp_path / "a.zip")
    assert "cannot become a checkpoint" in refused("export", trained("r2talker"), tmp_path / "a.pth")
    assert "not a finished avatar" in refused("export", tmp_path / "none", tmp_path / "a.pth")
