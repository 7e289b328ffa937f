"""`r2talker train-motion` and `evaluate-motion` as commands."""

from pathlib import Path

import pytest

from r2talker.data.folder import DatasetFolder
from r2talker.evaluate import motion_report
from tests.cli.conftest import Command


def test_hearing_layers_are_learned_and_started_from(
    command: Command, dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "motion.safetensors"
    outcome = command("train-motion", dataset.root, dataset.root, "-o", file, "--steps", 3)
    assert outcome.code == 0
    assert outcome.out.endswith(f"wrote {file}, hearing layers from 2 clips\n")
    # The clip is too short to hold out the two seconds that scores need: what is left out is checked elsewhere.
    monkeypatch.setattr(motion_report, "held_out_part", lambda *_: range(54, 104))
    monkeypatch.setattr(motion_report, "evaluate_clip", lambda model, data, part: model.first.weight.shape)
    monkeypatch.setattr(motion_report, "describe_clip", lambda name, shape: f"{name}: layers of {list(shape)}")
    outcome = command("evaluate-motion", dataset.root, "--motion-start", file)
    assert outcome.code == 0
    assert f"{dataset.root}: layers of [4, 336, 128]" in outcome.out


def test_what_cannot_be_done_is_one_line(command: Command, dataset: DatasetFolder, tmp_path: Path) -> None:
    for arguments, words in (
        (("train-motion", tmp_path), "is not a finished dataset"),
        (("train-motion", dataset.root, "--steps", 0), "must be positive"),
        (("evaluate-motion", dataset.root), "0.2 s held out, at least 2 are needed; give --held-seconds"),
        (("evaluate-motion", dataset.root, "--avatar", tmp_path, "--held-seconds", 3), "give one, and no other options"),
        (("create", "a.mp4", "b.avatar", "--motion-start", tmp_path / "absent"), "does not exist; make it with"),
    ):
        outcome = command(*arguments)
        assert outcome.code == 2
        assert words in " ".join(outcome.err.split())
        assert outcome.err.count("\n") == 1
