"""Imported golden checkpoints."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from r2talker import methods
from r2talker.upstream.importing import import_checkpoint
from r2talker.upstream.scene import SceneFiles
from tests.upstream.files import golden_scene, latest, save, state_dict


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> SceneFiles:
    return golden_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="session")
def imported(scene: SceneFiles, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """Folder of an avatar imported from the golden weights of one of our methods, with or without torso. Read only."""
    root = tmp_path_factory.mktemp("imported")

    @cache
    def make(name: str, torso: bool) -> Path:
        content = latest(state_dict(methods.get(name).upstream_name, torso=torso), average=False)
        path, avatar = root / f"{name}-{torso}.pth", root / f"{name}-{torso}.avatar"
        import_checkpoint(save(content, path), avatar, scene)
        return avatar

    return make
