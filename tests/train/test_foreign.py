"""Training on folders of other tools: the same frames, poses and landmarks give the same first steps as our own layout."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from r2talker.avatar import Avatar
from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.train.run import train_avatar
from tests.layouts import ad_nerf, geneface_with, rad_nerf, torso_pngs, with_offsets
from tests.tiny import MOTION, TRAIN_FRAMES, TRAINING, Recorder
from tests.tolerances import assert_close

STEPS = 3
BRIEF = replace(TRAINING, head_steps=STEPS, torso_steps=STEPS)
QUICK = replace(MOTION, steps=2)

Readings = dict[tuple[str, int], dict[str, float]]


@dataclass
class Onlooker:
    """Remembers the readings of the first and the last step of every phase."""

    readings: Readings = field(default_factory=dict)

    def step(self, phase: str, step: int, steps: int, scalars: Mapping[str, float], draw: object, save: object) -> None:
        if scalars:
            self.readings[phase, step] = dict(scalars)


@dataclass(frozen=True)
class Training:
    """What a short training read and said."""

    readings: Readings
    said: list[str]
    avatar: Path


def train(method: str, folder: Path, target: Path) -> Training:
    onlooker, progress = Onlooker(), Recorder()
    train_avatar(method, folder, target, BRIEF, QUICK, progress, onlooker)
    assert set(onlooker.readings) == {(phase, step) for phase in ("head", "torso") for step in (1, STEPS)}
    return Training(onlooker.readings, progress.ended, target)


@pytest.fixture(scope="module")
def own(dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Readings]:
    """Readings of a method's training on our own layout."""
    root = tmp_path_factory.mktemp("own")
    return cache(lambda method: train(method, dataset.root, root / f"{method}.avatar").readings)


def make_r2_talker(dataset: DatasetFolder, root: Path) -> Path:
    return with_offsets(rad_nerf(dataset, root), np.load(dataset.landmark_offsets()))


def make_r2_talker_with_eyes(dataset: DatasetFolder, root: Path) -> Path:
    """Its loader leaves the eye values to us, but the file may have them (upstream.md 1.3)."""
    make_r2_talker(dataset, root)
    for split in ("train", "val"):
        path = root / f"transforms_{split}.json"
        value, ours = (json.loads(file.read_text()) for file in (path, dataset.transforms(split)))
        for frame, known in zip(value["frames"], ours["frames"], strict=True):
            frame["eye_ratio"] = known["eye_ratio"]
        path.write_text(json.dumps(value))
    return root


def make_geneface(dataset: DatasetFolder, root: Path) -> Path:
    return geneface_with(dataset, root, np.load(dataset.landmark_offsets()))


def make_ad_nerf_with_torsos(dataset: DatasetFolder, root: Path) -> Path:
    torso_pngs(dataset, root)
    return ad_nerf(dataset, root)


FOLDERS: dict[str, tuple[str, Callable[[DatasetFolder, Path], Path], str]] = {
    "RAD-NeRF": ("radnerf", rad_nerf, "first losses"),
    "R2-Talker": ("r2talker", make_r2_talker, "first losses"),
    "R2-Talker with eyes": ("r2talker", make_r2_talker_with_eyes, "exact"),
    "GeneFace": ("geneface", make_geneface, "first losses"),
    "AD-NeRF with torsos": ("radnerf", make_ad_nerf_with_torsos, "first losses"),
    "AD-NeRF": ("radnerf", ad_nerf, "first losses, torsos cut out"),
}
"""What each tool's folder is trained by here, and how far the first losses may differ from those on our layout."""


@pytest.mark.parametrize("tool", FOLDERS)
def test_the_first_losses_are_those_on_our_layout(
    tool: str, dataset: DatasetFolder, own: Callable[[str], Readings], tmp_path: Path
) -> None:
    method, make, tolerance = FOLDERS[tool]
    (tmp_path / "person").mkdir()
    made = train(method, make(dataset, tmp_path / "person"), tmp_path / "a.avatar")
    for step, expected in own(method).items():
        assert made.readings[step].keys() == expected.keys()
        for name, value in expected.items():
            assert_close(made.readings[step][name], value, tolerance)
    told = "no torso_imgs: neck and torso are cut out of the pictures" in " ".join(made.said)
    assert told == (tool == "AD-NeRF")
    assert len(Avatar.load(made.avatar, device="cpu").track.c2w) == TRAIN_FRAMES


def test_a_method_that_hears_wants_sound(dataset: DatasetFolder, tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    folder, progress = rad_nerf(dataset, tmp_path / "person"), Recorder()
    (folder / "aud.wav").unlink()
    with pytest.raises(R2TalkerError, match=r"person has no mel features.*it has eo .*aud\.wav"):
        train_avatar("radnerf", folder, tmp_path / "a.avatar", BRIEF, QUICK, progress)
    assert [name for name, *_ in progress.begun if name != "dataset"] == []
