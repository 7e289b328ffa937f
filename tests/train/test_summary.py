"""What a training run shows: `training.html`, previews and TensorBoard's pictures; and a whole run under a time budget."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from r2talker.avatar_format import AvatarFolder, read_avatar_info
from r2talker.data.dataset import Dataset
from r2talker.data.folder import DatasetFolder
from r2talker.train.config import TrainConfig
from r2talker.train.diary import Diary, RunFolder
from r2talker.train.history import History
from r2talker.train.pace import Stopwatch
from r2talker.train.plan import CLOSING_SECONDS, CPU_PRESETS
from r2talker.train.run import train_avatar
from r2talker.train.showing import MOST_SHOWN, Pair, shown_frames
from r2talker.train.summary import Summary
from tests.report.page import Page
from tests.tiny import MOTION, TRAIN_FRAMES, TRAIN_SIZE, Interrupting


def read_page(path: Path) -> tuple[Page, str]:
    """The page, whose tags are balanced and which asks for nothing outside, and its words."""
    page = Page(path.read_text())
    assert all(source.startswith("data:image/") for source in page.sources)
    return page, " ".join(page.text)


def test_a_finished_run_has_a_page(trained: Callable[[str], Path]) -> None:
    folder = trained("r2talker")
    page, text = read_page(folder / "training.html")
    for words in ("r2talker.avatar", "finished in", "54 frames to train on, 6 held out", f"held-out frame {TRAIN_FRAMES}"):
        assert words in text
    for words in ("Head", "Torso", "psnr", "entropy", "opacity error", "landmark generator", "steps per second", "grid rate"):
        assert words in text
    assert len(page.sources) == MOST_SHOWN
    assert "location.reload" not in text


def test_shown_frames_are_held_out_and_spread(data: Dataset) -> None:
    assert shown_frames(data) == [54, 55, 57, 58]
    everything = dataclasses.replace(data.info, train_frames=60)
    assert shown_frames(dataclasses.replace(data, info=everything)) == [0]


@pytest.fixture
def summary(data: Dataset, tmp_path: Path) -> Summary:
    return Summary(RunFolder(tmp_path / "a.avatar" / "training"), "a <method>", data, {"train_size": 64}, "cpu", History())


def test_the_page_of_a_run_that_goes_on(summary: Summary) -> None:
    """It is there from the start, loads itself again, and grows with the run; names are escaped."""
    page_file = summary.folder.page
    plain = torch.full((8, 8, 3), 0.5)
    summary.start([Pair(54, plain, plain)])
    page, text = read_page(page_file)
    assert ("a <method>" in text, "location.reload" in text, len(page.sources)) == (True, True, 1)
    with Diary(summary.folder, summary.history, summary.write) as diary:
        diary.begin("head", 100, 2.0)
        for step in range(0, 41, 20):
            diary.note({"psnr": 20.0 + step}, step=step, steps=90, seconds=3.0 + step)
        diary.show(np.zeros((8, 16, 3), np.uint8), 40)
    page, text = read_page(page_file)
    assert "41 of 90" in text
    assert "location.reload" in text
    assert len(page.sources) == 1
    # Readings, their mean, and the held-out frame.
    assert page_file.read_text().count("<polyline") == 3
    assert summary.history.phases[0].previews == [{"step": 40, "psnr": 100.0}]
    summary.finish([], 75.0)
    assert "finished in 1 min 15 s" in read_page(page_file)[1]


def test_frames_that_were_trained_on_are_called_so(summary: Summary, data: Dataset) -> None:
    everything = dataclasses.replace(data, info=dataclasses.replace(data.info, train_frames=60))
    plain = torch.full((8, 8, 3), 0.5)
    dataclasses.replace(summary, dataset=everything).finish([Pair(0, plain, plain)], 5.0)
    text = read_page(summary.folder.page)[1]
    assert "Frames trained on" in text
    assert "training frame 0" in text


def test_tensorboard_has_the_previews(trained: Callable[[str], Path]) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(trained("r2talker") / "training" / "tensorboard")).Reload()
    for phase in ("head", "torso"):
        image = events.Images(f"{phase}/preview")[-1]
        assert (image.width, image.height) == (2 * TRAIN_SIZE, TRAIN_SIZE)
        assert image.encoded_image_string == (trained("r2talker") / "training" / f"preview_{phase}.png").read_bytes()


class TestBudget:
    """A clock on which every look costs a twentieth of a second."""

    CONFIG = TrainConfig(train_size=TRAIN_SIZE, rays=64, time="20s", device="cpu")
    TICK = 0.05

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ticks = itertools.count()
        monkeypatch.setattr("r2talker.train.run.Stopwatch", lambda: Stopwatch(now=lambda: next(ticks) * self.TICK))

    def phases(self, folder: Path) -> tuple[float, list[dict[str, float]]]:
        history = json.loads((folder / "training" / "history.json").read_text())
        return history["generator"], history["phases"]

    def test_the_phases_share_the_time(self, dataset: DatasetFolder, tmp_path: Path) -> None:
        train_avatar("r2talker", dataset.root, tmp_path / "a.avatar", self.CONFIG, MOTION)
        begin, (head, torso) = self.phases(tmp_path / "a.avatar")
        end = 20.0 - CLOSING_SECONDS - (MOST_SHOWN + 1) * self.TICK
        assert 0 < begin < 2
        assert head["ended"] == pytest.approx(begin + 0.8 * (end - begin), abs=4 * self.TICK)
        assert torso["ended"] == pytest.approx(end, abs=4 * self.TICK)
        assert 20 < head["steps"] < CPU_PRESETS["standard"].head_steps
        provenance = read_avatar_info(AvatarFolder(tmp_path / "a.avatar")).provenance
        assert provenance["steps"] == {"head": head["steps"], "torso": torso["steps"]}
        assert provenance["training"]["head_steps"] is None

    def test_what_is_left_counts_after_an_interruption(self, dataset: DatasetFolder, tmp_path: Path) -> None:
        folder, often = tmp_path / "a.avatar", dataclasses.replace(self.CONFIG, checkpoint_seconds=0)
        with pytest.raises(KeyboardInterrupt):
            train_avatar("r2talker", dataset.root, folder, often, MOTION, Interrupting("head", 41))
        stopped = self.phases(folder)[1][0]
        resumed = Interrupting("torso", 21)
        with pytest.raises(KeyboardInterrupt):
            train_avatar("r2talker", dataset.root, folder, often, MOTION, resumed)
        # Goes on with the steps that were foreseen then.
        assert ("head", stopped["steps"], 40) in resumed.begun
        train_avatar("r2talker", dataset.root, folder, self.CONFIG, MOTION)
        begin, (head, torso) = self.phases(folder)
        end = 20.0 - CLOSING_SECONDS - (MOST_SHOWN + 1) * self.TICK
        assert head["ended"] == pytest.approx(begin + 0.8 * (end - begin), abs=4 * self.TICK)
        assert torso["ended"] == pytest.approx(end, abs=4 * self.TICK)
