"""Steps are skipped when current, redone when stale, and go on where an interrupted run stopped."""

import errno
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.files import read_json
from r2talker.ingest import pipeline
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.masks import alpha_path
from r2talker.ingest.pipeline import STEPS, run_steps
from r2talker.ingest.step import Workspace
from r2talker.progress import Silent
from tests.tiny import SIZE

AFTER_TRACKING = ["expression", "sync", "eyes", "inspection", "exclusion", "features", "report", "description"]


@pytest.fixture
def workspace(dataset: DatasetFolder, clip: Path, tmp_path: Path) -> Workspace:
    copy = tmp_path / "copy.dataset"
    shutil.copytree(dataset.root, copy)
    return Workspace(clip, DatasetFolder(copy), IngestConfig(size=SIZE))


class Interrupting(Silent):
    """Stops the work when step `name` begins."""

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        if name == self.name:
            raise KeyboardInterrupt


def test_a_finished_dataset_is_left_alone(workspace: Workspace) -> None:
    before = workspace.folder.info.stat().st_mtime_ns
    assert run_steps(workspace) == []
    assert workspace.folder.info.stat().st_mtime_ns == before


def test_every_step_names_only_earlier_steps_and_real_settings() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    for index, step in enumerate(STEPS):
        assert set(step.needs) <= set(names[:index])
        assert all(hasattr(IngestConfig(), setting) for setting in step.settings)


def test_records_say_what_was_made(workspace: Workspace) -> None:
    for step in STEPS:
        record = read_json(workspace.record(step.name))
        assert record["message"]
        assert record["seconds"] >= 0


def test_a_changed_setting_redoes_what_reads_it_and_what_follows(workspace: Workspace) -> None:
    wider = replace(workspace, config=replace(workspace.config, feature_width=32))
    assert run_steps(wider) == ["features", "description"]
    other = replace(wider, config=replace(wider.config, torso_png=True))
    assert run_steps(other) == ["images", "description"]
    assert other.folder.torso(0).suffix == ".png"
    assert not other.folder.torso(0).with_suffix(".webp").exists()


def test_a_new_version_of_a_step_redoes_what_needs_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [replace(step, version=99) if step.name == "tracking" else step for step in STEPS]
    monkeypatch.setattr(pipeline, "STEPS", steps)
    assert run_steps(workspace) == ["tracking", *AFTER_TRACKING]


def test_a_missing_file_is_made_again(workspace: Workspace) -> None:
    workspace.folder.torso(5).unlink()
    assert run_steps(workspace) == ["images", "description"]
    assert workspace.folder.torso(5).exists()


def test_an_interrupted_run_is_unfinished_and_goes_on(workspace: Workspace) -> None:
    wider = replace(workspace, config=replace(workspace.config, focal=250.0))
    with pytest.raises(KeyboardInterrupt):
        run_steps(replace(wider, progress=Interrupting("expression")))
    assert not workspace.folder.info.exists()
    assert run_steps(wider) == AFTER_TRACKING
    assert workspace.folder.info.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from r2talker.data.folder import DatasetFolder
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.masks import alpha_path
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.step import Workspace
from r2talker.progress import Silent

class Killing(Silent):
    def begin(self, name, total, *, done=0):
        self.name = name

    def advance(self, done, note=""):
        if self.name == sys.argv[1] and done == 20:
            os.kill(os.getpid(), signal.SIGKILL)

run_steps(Workspace(Path(sys.argv[2]), DatasetFolder(Path(sys.argv[3])), IngestConfig(size=int(sys.argv[4])), Killing()))
"""


@pytest.mark.parametrize("step", ["masks", "images"])
def test_a_killed_step_goes_on_in_its_middle(workspace: Workspace, step: str) -> None:
    folder = workspace.folder
    names = {"masks": [folder.parsing, partial(alpha_path, workspace)], "images": [folder.ground_truth, folder.torso]}[step]
    pairs = [[name(index) for name in names] for index in range(workspace.frames)]
    before = {path: path.read_bytes() for pair in pairs for path in pair}
    record = read_json(workspace.record(step))
    workspace.record(step).unlink()
    process = subprocess.run([sys.executable, "-c", KILLED, step, workspace.video, folder.root, str(SIZE)], check=False)
    assert process.returncode == -signal.SIGKILL
    # A picture that lacks one of its files is made again, both of them.
    made = [pair for pair in pairs if all(path.exists() for path in pair)]
    times = {path: path.stat().st_mtime_ns for pair in made for path in pair}
    assert 20 <= len(made) < workspace.frames - 10
    half_written = pairs[3][0].with_name(".3.partial-1.png")
    half_written.write_bytes(b"half")
    assert run_steps(workspace)[0] == step
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert {path: path.read_bytes() for path in before} == before
    assert read_json(workspace.record(step))["readings"] == record["readings"]
    assert not half_written.exists()


def test_what_other_inputs_left_is_not_taken_over(workspace: Workspace) -> None:
    path = workspace.folder.torso(5)
    content = path.read_bytes()
    path.write_bytes(b"of an older clip")
    workspace.record("images").write_text('{"step": "images", "fingerprint": "of an older clip"}')
    assert run_steps(workspace)[0] == "images"
    assert path.read_bytes() == content


def test_a_full_disk_leaves_nothing_that_counts_as_done(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    wider = replace(workspace, config=replace(workspace.config, feature_width=24))
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(R2TalkerError, match="No space left"):
        run_steps(wider)
    monkeypatch.undo()
    assert not workspace.folder.info.exists()
    assert run_steps(wider) == ["features", "description"]


def test_one_step_can_run_alone(clip: Path, tmp_path: Path) -> None:
    alone = Workspace(clip, DatasetFolder(tmp_path / "a.dataset"), IngestConfig(size=64, seconds=2.0))
    assert run_steps(alone, last="audio") == ["frames", "audio"]
    assert alone.frames == 50
    assert not alone.folder.info.exists()


def test_a_folder_of_something_else_is_not_touched(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(R2TalkerError, match="is not a dataset"):
        run_steps(Workspace(clip, DatasetFolder(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
