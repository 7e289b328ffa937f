"""`r2talker info`: what a folder holds."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from r2talker.avatar import Avatar
from r2talker.data.folder import DatasetFolder
from tests.cli.conftest import Command


def test_a_dataset(command: Command, dataset: DatasetFolder) -> None:
    outcome = command("info", dataset.root)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{dataset.root}: 60 frames of 128 x 128 at 25 fps, 54 to train, 6 held out" in outcome.out
    assert "from subject.mp4: 144 x 144, 25.00 fps, 2.4 s, with sound" in outcome.out
    assert "focal length 300 px; audio features mel (64)" in outcome.out


def test_avatars(command: Command, trained: Callable[[str], Path]) -> None:
    for method, drive in (
        ("r2talker", "sound through its landmark generator, or landmarks"),
        ("radnerf", "sound through mel features"),
    ):
        outcome = command("info", trained(method))
        assert (outcome.code, outcome.err) == (0, "")
        assert f"{trained(method)}: {method} avatar of 64 x 64, made by r2talker" in outcome.out
        assert f"driven by {drive}; torso included" in outcome.out
        assert "from subject.mp4" in outcome.out


def test_an_avatar_that_never_heard_a_sound(command: Command, avatar: Avatar, tmp_path: Path) -> None:
    mute = dataclasses.replace(avatar, info=dataclasses.replace(avatar.info, motion=None), motion=None)
    mute.save(tmp_path / "mute.avatar")
    assert "driven by landmarks;" in command("info", tmp_path / "mute.avatar").out


@pytest.mark.parametrize("kind", ["empty folder", "file", "nothing"])
def test_neither(refused: Callable[..., str], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    line = refused("info", path)
    assert f"{path} " in line
    assert ("holds neither avatar.json nor dataset.json" if kind == "empty folder" else "is not a folder") in line
