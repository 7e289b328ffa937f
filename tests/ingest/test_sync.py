"""A sound that is out of step is found, shifted on demand, and put back on demand."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from r2talker.data.folder import DatasetFolder
from r2talker.data.sound import read_pcm
from r2talker.drive.sound_lag import SoundLag, measure_sound_lag
from r2talker.ingest import sync
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.step import Workspace
from tests.tiny import SIZE

FRAME = 640
"""Samples of one picture."""


@pytest.fixture
def late(dataset: DatasetFolder, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A dataset whose sound is said to come two pictures late."""
    monkeypatch.setattr(sync, "measure_sound_lag", lambda *_: SoundLag(2, 2.1, torch.arange(3), torch.rand(3)))
    return Workspace(clip, DatasetFolder(shutil.copytree(dataset.root, tmp_path / "copy")), IngestConfig(size=SIZE))


def test_the_sound_is_shifted_and_put_back(late: Workspace) -> None:
    before = read_pcm(late.folder.audio)
    fixing = replace(late, config=replace(late.config, fix_sync=True))
    assert run_steps(fixing) == ["sync", "inspection", "exclusion", "features", "report", "description"]
    after = read_pcm(late.folder.audio)
    assert torch.equal(after[: -2 * FRAME], before[2 * FRAME :])
    assert (after[-2 * FRAME :] == 0).all()
    assert late.readings("sync")["fixed"]
    kinds = [finding["kind"] for finding in late.readings("inspection")["findings"]]
    assert "sound out of step" not in kinds
    assert run_steps(fixing) == []
    run_steps(late)
    assert torch.equal(read_pcm(late.folder.audio), before)


def test_without_being_asked_it_only_warns(late: Workspace) -> None:
    before = read_pcm(late.folder.audio)
    for step in ("sync", "inspection"):
        late.record(step).unlink()
    run_steps(late)
    assert torch.equal(read_pcm(late.folder.audio), before)
    assert not late.readings("sync")["fixed"]
    (finding,) = [f for f in late.readings("inspection")["findings"] if f["kind"] == "sound out of step"]
    assert finding["what"] == "The sound comes 80 ms (2 pictures) late."
    assert "--fix-sync" in finding["advice"]


def test_a_short_clip_cannot_tell(dataset: DatasetFolder) -> None:
    landmarks = torch.from_numpy(np.load(dataset.landmark_offsets()))
    lag = measure_sound_lag(read_pcm(dataset.audio), landmarks)
    assert lag.frames == 0
    assert np.isnan(lag.late)
    assert len(lag.rows) == len(lag.scores) == 0
