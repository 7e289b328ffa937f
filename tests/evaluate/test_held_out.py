"""Scores of a whole avatar on the held-out end of its dataset."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder
from r2talker.data.dataset import Pictures
from r2talker.data.folder import DatasetFolder, read_info, write_info
from r2talker.errors import R2TalkerError
from r2talker.evaluate.films import TrueDrive
from r2talker.evaluate.held_out import HeldOutScores, evaluate_avatar
from tests.tiny import FRAMES, SIZE, TRAIN_FRAMES, TRAIN_SIZE, Recorder

HELD_OUT = FRAMES - TRAIN_FRAMES


@pytest.fixture
def folder(avatar: Avatar, tmp_path: Path) -> Path:
    """An avatar in a place where readings may be written."""
    avatar.save(tmp_path / "a.avatar")
    return tmp_path / "a.avatar"


def strict(text: str) -> dict[str, float | None]:
    """JSON as everybody else reads it, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_readings_and_contact_sheet(folder: Path, dataset: DatasetFolder) -> None:
    recorder = Recorder()
    scores = evaluate_avatar(folder, dataset.root, progress=recorder, device="cpu")
    assert scores.frames == HELD_OUT
    assert recorder.begun == [("evaluation", HELD_OUT, 0)]
    for value in (scores.psnr_head, scores.psnr_full, scores.psnr_mouth):
        assert 8 < value < 45
    # The head over the true torso cannot be much worse than the head over a torso that saw thirty steps.
    assert scores.psnr_head > scores.psnr_full
    assert 0 < scores.motion_mouth_error < 30
    assert -1 <= scores.motion_opening_correlation <= 1
    written = strict((folder / "evaluation.json").read_text())
    expected = {name: None if math.isnan(value) else value for name, value in dataclasses.asdict(scores).items()}
    assert written == expected
    sheet = cv2.imread(str(folder / "evaluation.png"))
    assert sheet.shape == (2 * TRAIN_SIZE, HELD_OUT * TRAIN_SIZE, 3)
    truth = cv2.resize(cv2.imread(str(dataset.ground_truth(TRAIN_FRAMES))), (TRAIN_SIZE,) * 2, interpolation=cv2.INTER_AREA)
    assert abs(sheet[:TRAIN_SIZE, :TRAIN_SIZE].astype(int) - truth).max() <= 1


def test_methods_that_hear_have_no_generator_to_score(
    trained: Callable[[str], Path], dataset: DatasetFolder, tmp_path: Path
) -> None:
    Avatar.load(trained("radnerf"), device="cpu").save(tmp_path / "b.avatar")
    scores = evaluate_avatar(tmp_path / "b.avatar", dataset.root, device="cpu")
    assert math.isnan(scores.motion_mouth_error)
    assert strict((tmp_path / "b.avatar" / "evaluation.json").read_text())["motion_mouth_error"] is None


def test_a_generator_that_has_nothing_to_hear_is_not_scored(folder: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "mute.dataset"))
    copy.audio.unlink()
    scores = evaluate_avatar(folder, copy.root, device="cpu")
    assert math.isnan(scores.motion_mouth_error)
    assert scores.frames == HELD_OUT


def test_perfect_pictures_have_perfect_mouths_and_are_still_json(
    folder: Path, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the truth in place of the rendering, at a size at which the detector sees the face."""
    monkeypatch.setattr(TrueDrive, "render", lambda self, frame, pictures, kind: truth_of(pictures, frame))
    loaded = Avatar.load(folder, device="cpu")
    dataclasses.replace(loaded, info=dataclasses.replace(loaded.info, size=SIZE)).save(folder)
    scores = evaluate_avatar(folder, dataset.root, device="cpu")
    assert scores.psnr_full == scores.psnr_mouth == math.inf
    assert scores.lmd == 0
    assert strict((folder / "evaluation.json").read_text())["psnr_full"] is None


def truth_of(pictures: Pictures, frame: int) -> torch.Tensor:
    return pictures.truth[pictures.index[frame]].float() / 255


def test_the_summary_leaves_out_what_was_not_measured() -> None:
    nan = math.nan
    assert len(HeldOutScores(5, 30, 29, 27, nan, nan, nan).summary().splitlines()) == 1
    full = HeldOutScores(5, 30.123, 29, 27, 2.5, 3.5, 0.75).summary()
    assert "over 5 frames: 30.12 dB" in full
    assert "2.50 px" in full
    assert "3.50 px" in full
    assert "0.75" in full


def test_excluded_frames_are_not_looked_at(folder: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "some.dataset"))
    held_out = range(TRAIN_FRAMES, FRAMES)
    write_info(copy, dataclasses.replace(read_info(copy), excluded=list(held_out[1:])))
    assert evaluate_avatar(folder, copy.root, device="cpu").frames == 1
    write_info(copy, dataclasses.replace(read_info(copy), excluded=list(held_out)))
    with pytest.raises(R2TalkerError, match=r"some\.dataset are excluded; take some back"):
        evaluate_avatar(folder, copy.root, device="cpu")


def test_a_dataset_without_held_out_frames(folder: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "all.dataset"))
    write_info(copy, dataclasses.replace(read_info(copy), train_frames=FRAMES))
    with pytest.raises(R2TalkerError, match=r"all\.dataset has no held-out frames; ingest a longer clip"):
        evaluate_avatar(folder, copy.root)
    assert not (folder / "evaluation.json").exists()


def test_an_avatar_that_is_not_finished(folder: Path, dataset: DatasetFolder) -> None:
    AvatarFolder(folder).info.unlink()
    with pytest.raises(R2TalkerError, match="not a finished avatar"):
        evaluate_avatar(folder, dataset.root)
