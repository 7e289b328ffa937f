"""A training run that is killed without warning, again and again, ends in the same avatar as one that is left alone."""

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from r2talker.avatar_format import AvatarFolder
from r2talker.data.folder import DatasetFolder
from r2talker.train.config import SamplingConfig
from r2talker.train.run import train_avatar
from tests.tiny import MOTION, TRAINING, Recorder

KILLS = [
    ("begin", "landmark generator", 0),
    ("begin", "head", 0),
    ("replace", "checkpoint.safetensors", 2),
    ("advance", "head", 21),
    ("end", "head", 0),
    ("advance", "cameras", 21),
    ("end", "cameras", 0),
    ("advance", "head-again", 21),
    ("advance", "lips", 21),
    ("begin", "torso", 0),
    ("advance", "torso", 21),
    ("replace", "avatar.json", 0),
]
"""Where the run is killed: in every phase, between two, while a file is being written; with steps or files that come before."""


CONFIG = dataclasses.replace(
    TRAINING, head_steps=90, camera_steps=30, lips_steps=30, patch=16, exposure=True, sampling=SamplingConfig(hard=0.2)
)


class Killer(Recorder):
    """Kills its own process at one of `KILLS`."""

    def __init__(self, event: str, name: str, number: int) -> None:
        super().__init__()
        self.point, self.running, self.replaced = (event, name), "", 0
        self.number = number
        if event == "replace":
            original = Path.replace

            def replace(path: Path, target: Path) -> Path:
                self.replaced += target.name == name
                if self.replaced > number:
                    self.meet("replace", name)
                return original(path, target)

            Path.replace = replace  # type: ignore[method-assign, assignment]

    def meet(self, event: str, name: str) -> None:
        if (event, name) == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        self.running = name
        self.meet("begin", name)

    def advance(self, done: int, note: str = "", *, total: int | None = None) -> None:
        if done >= self.number:
            self.meet("advance", self.running)

    def end(self, message: str) -> None:
        self.meet("end", self.running)


def train_until_killed(dataset: Path, avatar: Path, event: str, name: str, number: int) -> None:
    """Runs in a process of its own, with checkpoints every few steps."""
    config = dataclasses.replace(CONFIG, checkpoint_seconds=0.1, preview_seconds=0.2)
    train_avatar("geneface", dataset, avatar, config, MOTION, Killer(event, name, number))


@pytest.mark.slow
def test_killed_in_every_phase_and_between_them(dataset: DatasetFolder, tmp_path: Path) -> None:
    folder = tmp_path / "a.avatar"
    # A process that has only imported things is copied for every run, which costs less than importing them each time.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.test_kill"])
    for kill in KILLS:
        process = context.Process(target=train_until_killed, args=(dataset.root, folder, *kill))
        process.start()
        process.join(timeout=300)
        assert process.exitcode == -signal.SIGKILL, kill
        assert not AvatarFolder(folder).info.exists()
    recorder = Recorder()
    assert not train_avatar("geneface", dataset.root, folder, CONFIG, MOTION, recorder).current
    # Nothing was left to train when the last one was killed.
    assert {name for name, _, _ in recorder.begun} == {"pictures", "body"}
    whole = tmp_path / "whole.avatar"
    train_avatar("geneface", dataset.root, whole, CONFIG, MOTION)
    expected, weights = (load_file(AvatarFolder(path).weights) for path in (whole, folder))
    assert expected.keys() == weights.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, weights[name])] == []
    assert readings(folder) == readings(whole)
    assert not list(folder.rglob("*partial*"))


def readings(avatar: Path) -> list[tuple[str, int, list[dict[str, float]]]]:
    """What a run has measured, without the times."""
    phases = json.loads((avatar / "training" / "history.json").read_text())["phases"]
    return [
        (phase["name"], phase["steps"], [{key: point[key] for key in point if key != "seconds"} for point in phase["points"]])
        for phase in phases
    ]
