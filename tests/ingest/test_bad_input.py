"""Clips that cannot be used: one line that names the file and what to do, and no dataset."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from r2talker.data.folder import DatasetFolder, read_info
from r2talker.errors import R2TalkerError
from r2talker.files import read_npy
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import ingest, run_steps
from r2talker.ingest.step import Workspace
from r2talker.media.read import read_audio, read_video
from r2talker.media.write import VideoWriter


@pytest.fixture(scope="module")
def pictures(clip: Path) -> list[np.ndarray]:
    return list(read_video(clip))


def write(path: Path, pictures: Iterable[np.ndarray]) -> Path:
    pictures = list(pictures)
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width=width, height=height) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def refuse(video: Path, expected: str, tmp_path: Path) -> None:
    dataset = tmp_path / "bad.dataset"
    with pytest.raises(R2TalkerError, match=expected) as caught:
        ingest(video, dataset, IngestConfig(size=64))
    assert str(video) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not DatasetFolder(dataset).info.exists()
    with pytest.raises(R2TalkerError, match="not a finished dataset"):
        read_info(DatasetFolder(dataset))


def test_no_face(pictures: list[np.ndarray], tmp_path: Path) -> None:
    refuse(write(tmp_path / "wall.mp4", [np.full_like(pictures[0], 120)] * 60), "no face", tmp_path)


def test_several_faces(pictures: list[np.ndarray], tmp_path: Path) -> None:
    refuse(write(tmp_path / "two.mp4", [np.hstack([picture] * 2) for picture in pictures]), "several faces", tmp_path)


def test_a_clearly_larger_face_is_taken(pictures: list[np.ndarray], tmp_path: Path) -> None:
    size = len(pictures[0])
    canvas = np.full((size, size * 3 // 2, 3), 90, np.uint8)
    crowd = []
    for picture in pictures:
        frame = canvas.copy()
        frame[:, :size], frame[: size // 2, size:] = picture, picture[::2, ::2]
        crowd.append(frame)
    workspace = Workspace(write(tmp_path / "crowd.mp4", crowd), DatasetFolder(tmp_path / "a.dataset"), IngestConfig(size=64))
    run_steps(workspace, last="frames")
    left, _, side = workspace.readings("frames")["crop"]
    assert left + side / 2 < size


def test_the_face_goes_away_for_long(pictures: list[np.ndarray], tmp_path: Path) -> None:
    blank = np.full_like(pictures[0], 120)
    frames = [blank if 20 <= k < 34 else picture for k, picture in enumerate(pictures)]
    refuse(write(tmp_path / "away.mp4", frames), "no face in pictures 20 to 33", tmp_path)


def test_the_face_goes_away_for_a_moment(pictures: list[np.ndarray], tmp_path: Path) -> None:
    blank = np.full_like(pictures[0], 120)
    frames = [blank if 21 <= k < 25 else picture for k, picture in enumerate(pictures)]
    workspace = Workspace(write(tmp_path / "blink.mp4", frames), DatasetFolder(tmp_path / "a.dataset"), IngestConfig(size=64))
    run_steps(workspace, last="landmarks")
    assert workspace.readings("landmarks")["interpolated"] == [21, 22, 23, 24]
    assert workspace.frames == len(pictures)


def test_too_short(pictures: list[np.ndarray], tmp_path: Path) -> None:
    refuse(write(tmp_path / "short.mp4", pictures[:30]), "1.2 s of pictures", tmp_path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    refuse(tmp_path / "none.mp4", "cannot read", tmp_path)
    (tmp_path / "text.mp4").write_text("hello " * 100)
    refuse(tmp_path / "text.mp4", "not a video", tmp_path)


def test_a_clip_without_sound_gives_a_silent_dataset(pictures: list[np.ndarray], tmp_path: Path) -> None:
    video = write(tmp_path / "mute.mp4", pictures)
    info = ingest(video, tmp_path / "mute.dataset", IngestConfig(size=64))
    folder = DatasetFolder(tmp_path / "mute.dataset")
    assert not info.source.has_sound
    assert len(read_audio(folder.audio)) == info.frames * 640
    assert not read_audio(folder.audio).any()
    assert np.isfinite(read_npy(folder.root / "aud_mel.npy")).all()
    assert "no sound" in Workspace(video, folder).record("audio").read_text()
