"""Pictures that are excluded stay excluded, in later runs and in training."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from r2talker.data.dataset import read_dataset
from r2talker.data.folder import DatasetFolder, read_info
from r2talker.errors import R2TalkerError
from r2talker.files import read_json, write_json
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.excluded import FILE
from r2talker.ingest.exclusion import format_frames, parse_exclusion
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.step import Workspace
from tests.tiny import FRAMES, SIZE, TRAIN_FRAMES

FOLLOWING = ["exclusion", "report", "description"]


@pytest.fixture
def workspace(dataset: DatasetFolder, clip: Path, tmp_path: Path) -> Workspace:
    return Workspace(clip, DatasetFolder(shutil.copytree(dataset.root, tmp_path / "copy")), IngestConfig(size=SIZE))


def excluding(workspace: Workspace, text: str | None) -> Workspace:
    return replace(workspace, config=replace(workspace.config, exclude=text))


def excluded(workspace: Workspace) -> list[int]:
    return read_info(workspace.folder).excluded


@pytest.mark.parametrize(
    ("text", "frames", "worst", "none"),
    [
        ("", set(), False, False),
        ("7", {7}, False, False),
        ("3-5,9, 4", {3, 4, 5, 9}, False, False),
        ("worst", set(), True, False),
        ("none,worst,2", {2}, True, True),
    ],
)
def test_what_people_write(text: str, frames: set[int], worst: bool, none: bool) -> None:
    assert parse_exclusion(text) == (frames, worst, none)


@pytest.mark.parametrize("text", ["x", "5-3", "1-", "-4", "1;2", "1-2-3", "1.5", "worst-3"])
def test_what_makes_no_sense(text: str) -> None:
    with pytest.raises(R2TalkerError, match="is no picture number; give numbers"):
        IngestConfig(exclude=text)


def test_numbers_are_written_as_they_are_read() -> None:
    assert format_frames([5, 3, 4, 9, 11, 10, 30]) == "3-5,9-11,30"
    assert parse_exclusion(format_frames(range(4, 90, 3)))[0] == set(range(4, 90, 3))


def test_excluded_pictures_stay_excluded(workspace: Workspace) -> None:
    assert run_steps(excluding(workspace, "10-12")) == FOLLOWING
    assert excluded(workspace) == [10, 11, 12]
    assert run_steps(workspace) == []
    assert run_steps(excluding(workspace, "30")) == FOLLOWING
    assert excluded(workspace) == [10, 11, 12, 30]
    shutil.rmtree(workspace.folder.root / ".steps")
    run_steps(workspace)
    assert excluded(workspace) == [10, 11, 12, 30]
    assert run_steps(excluding(workspace, "none,4")) == FOLLOWING
    assert excluded(workspace) == [4]
    assert run_steps(excluding(workspace, "none")) == FOLLOWING
    assert not (workspace.folder.root / FILE).exists()


def test_training_sees_neighbours_and_statistics_leave_them_out(workspace: Workspace) -> None:
    run_steps(excluding(workspace, "10-12"))
    data = read_dataset(workspace.folder.root)
    assert data.numbers[9:14] == [9, 9, 9, 13, 13]
    kept = np.delete(np.load(workspace.folder.landmark_offsets("train")), [10, 11, 12], axis=0)
    assert np.array(data.info.statistics.landmark_mean) == pytest.approx(kept.mean(0), abs=1e-5)


def test_the_worst_are_those_that_the_warnings_blame(workspace: Workspace) -> None:
    record = read_json(workspace.record("inspection"))
    blame = {"kind": "hand", "what": "", "advice": "", "frames": [5, 20, 21], "badness": [1.1, 3.0, 2.0]}
    many = {"kind": "blurred", "what": "", "advice": "", "frames": list(range(40, 50)), "badness": [1.01] * 10}
    record["readings"]["findings"] = [many, blame]
    write_json(workspace.record("inspection"), record)
    run_steps(excluding(workspace, "worst"))
    # A tenth of the clip at most, the worst first.
    assert excluded(workspace) == [5, 20, 21, 40, 41, 42]


def test_another_clip_has_other_pictures(workspace: Workspace) -> None:
    write_json(workspace.folder.root / FILE, {"clip": "another", "asked": "3"})
    run_steps(workspace)
    assert excluded(workspace) == []


def test_numbers_outside_the_clip(workspace: Workspace) -> None:
    with pytest.raises(R2TalkerError, match=f"gives pictures 0 to {FRAMES - 1}"):
        run_steps(excluding(workspace, f"{FRAMES}"))
    assert not (workspace.folder.root / FILE).exists()


def test_nothing_left_to_train_on(workspace: Workspace) -> None:
    with pytest.raises(R2TalkerError, match=f"leaves {TRAIN_FRAMES - 20} pictures to train on"):
        run_steps(excluding(workspace, "0-19"))


def test_a_damaged_memory(workspace: Workspace) -> None:
    (workspace.folder.root / FILE).write_text("[]")
    with pytest.raises(R2TalkerError, match=r"excluded\.json .* delete it"):
        run_steps(workspace)
