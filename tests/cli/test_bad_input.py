"""Every kind of bad input of the issue, end to end: one line that names the file and says what to do, exit code 2, nothing that a
later run would mistake for done."""

import errno
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from r2talker.avatar import Avatar
from r2talker.data.folder import DatasetFolder
from r2talker.media.write import write_wav
from tests.cli.conftest import BRIEF, Command
from tests.tiny import MOTION

Refused = Callable[..., str]
Film = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick_landmark_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained as little as everything else here."""
    monkeypatch.setattr("r2talker.train.motion_start.start_settings", lambda _: MOTION)


def blank(pictures: list[np.ndarray], frames: range) -> list[np.ndarray]:
    """The clip with an empty wall in some frames."""
    return [np.full_like(picture, 120) if k in frames else picture for k, picture in enumerate(pictures)]


def double(pictures: list[np.ndarray]) -> list[np.ndarray]:
    return [np.hstack([picture, picture]) for picture in pictures]


CLIPS = {
    # name of the clip: what happens to its pictures, and what the answer says
    "wall": (lambda pictures: blank(pictures, range(60)), "wall.mp4 shows no face in most pictures; give a clip of one person"),
    "away": (lambda pictures: blank(pictures, range(20, 34)), "away.mp4 shows no face in pictures 20 to 33"),
    "twins": (double, "twins.mp4 shows several faces"),
    "short": (lambda pictures: pictures[:30], "short.mp4 gives 1.2 s of pictures; give a clip of at least 2 s"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_clips_that_cannot_be_used(refused: Refused, film: Film, tmp_path: Path, name: str) -> None:
    change, words = CLIPS[name]
    video, avatar = film(name, change), tmp_path / "a.avatar"
    line = refused("create", video, avatar, "--size", 64, *BRIEF, after_progress=True)
    assert str(video) in line
    assert words in line
    assert not avatar.exists()
    assert not (tmp_path / "a.dataset" / "dataset.json").exists()
    line = refused("train", "r2talker", tmp_path / "a.dataset", avatar, *BRIEF)
    assert "a.dataset is not a finished dataset" in line


def test_files_that_are_no_clips(refused: Refused, clip: Path, tmp_path: Path) -> None:
    corrupt, text, sound = tmp_path / "corrupt.mp4", tmp_path / "text.mp4", tmp_path / "sound.wav"
    corrupt.write_bytes(clip.read_bytes()[100:4000])
    text.write_text("not a film " * 50)
    write_wav(sound, np.zeros(48000, np.float32))
    for video, words in (
        (corrupt, "not a video or sound file, or damaged; check the file or convert it to mp4"),
        (text, "not a video or sound file, or damaged"),
        (sound, "has no pictures; give a video"),
        (tmp_path / "none.mp4", "No such file or directory; give the path of a video"),
        (tmp_path, "Is a directory; give the path of a video"),
    ):
        line = refused("create", video, tmp_path / "a.avatar", *BRIEF)
        assert str(video) in line
        assert words in line
    assert not (tmp_path / "a.avatar").exists()


@pytest.mark.parametrize("sound", [None, "silence"], ids=["no sound track", "silence"])
def test_a_clip_without_sound_gives_an_avatar_that_cannot_speak(
    command: Command, refused: Refused, film: Film, tmp_path: Path, sound: str | None
) -> None:
    video = film(f"mute {sound}", sound=lambda samples: None if sound is None else samples * 0)
    avatar, speech = tmp_path / "a.avatar", tmp_path / "speech.wav"
    outcome = command("create", video, avatar, "--size", 64, *BRIEF)
    assert outcome.code == 0
    assert "has no sound: the avatar can replay its clip, but cannot learn to speak" in outcome.err
    assert "without sound (no landmark generator can be trained)" in outcome.out
    assert f"r2talker render {avatar} -o out.mp4" in outcome.out
    write_wav(speech, np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32))
    line = refused("render", avatar, "--audio", speech, "-o", tmp_path / "talk.mp4")
    assert "no landmark generator (it was trained without sound); pass landmarks instead of audio" in line
    assert not (tmp_path / "talk.mp4").exists()
    assert command("render", avatar, "-o", tmp_path / "replay.mp4", "--size", 16, "--frames", 2).code == 0


def test_places_that_cannot_be_written(refused: Refused, clip: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    mine = tmp_path / "letters"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    assert "letters exists and is not a dataset; choose another folder" in refused("ingest", clip, mine)
    assert "letters exists" in refused("create", clip, tmp_path / "a.avatar", "--dataset", mine)
    assert [path.name for path in mine.iterdir()] == ["letter.txt"]
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "inside"):
        assert str(folder) in refused("ingest", clip, folder, "--size", 64)
        assert str(folder) in refused("train", "geneface", dataset.root, folder, *BRIEF, after_progress=True)
    assert file.read_text() == ""


def test_settings_that_make_no_sense(refused: Refused, clip: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    for options, words in (
        (("--size", 0), "--size must be at least 16, got 0"),
        (("--focal", -3), "--focal must be at least 1, got -3"),
        (("--feature-width", 0), "--feature-width must be at least 1"),
    ):
        assert words in refused("ingest", clip, tmp_path / "a.dataset", *options)
    for options, words in (
        (("--head-steps", 0), "--head-steps must be at least 1, got 0"),
        (("--rays", -1), "--rays must be at least 1"),
        (("--train-size", 3), "--train-size must be at least 16"),
        (("--occupancy-interval", 0), "--occupancy-interval must be at least 1"),
        (("--grid-rate", "nan"), "--grid-rate must be at least 0, got nan"),
        (("--lips", 0.9, "--eyes", 0.9), "shares of all rays, got 1.85 of them together"),
    ):
        assert words in refused("train", "geneface", dataset.root, tmp_path / "a.avatar", *options)
    assert list(tmp_path.iterdir()) == []


def test_methods_and_devices_that_are_not_there(
    refused: Refused, dataset: DatasetFolder, trained: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused("train", "nerf", dataset.root, tmp_path / "a.avatar")
    assert "there is no method 'nerf'; choose one of geneface, r2talker, radnerf" in line
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for arguments in (
        ("train", "geneface", dataset.root, tmp_path / "a.avatar"),
        ("render", trained("geneface"), "-o", tmp_path / "a.mp4"),
    ):
        assert "torch sees no CUDA device; use cpu" in refused(*arguments, "--device", "cuda")
    assert list(tmp_path.iterdir()) == []


def test_datasets_of_another_version(refused: Refused, dataset: DatasetFolder, avatar: Avatar, tmp_path: Path) -> None:
    copy = DatasetFolder(shutil.copytree(dataset.root, tmp_path / "old.dataset"))
    copy.info.write_text(json.dumps(json.loads(copy.info.read_text()) | {"version": 0}))
    avatar.save(tmp_path / "a.avatar")
    for arguments in (
        ("train", "geneface", copy.root, tmp_path / "b.avatar"),
        ("evaluate", tmp_path / "a.avatar", copy.root),
        ("info", copy.root),
    ):
        line = refused(*arguments)
        assert f"{copy.root} has dataset version 0, this r2talker reads version 1; ingest the clip again" in line
    assert not (tmp_path / "b.avatar").exists()


# ---- disk full


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """From now on nothing whose name matches a pattern can be written any more."""
    rename = Path.replace

    def fill(pattern: str) -> None:
        def refuse(self: Path, target: Path) -> Path:
            if Path(target).match(pattern):
                raise OSError(errno.ENOSPC, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "replace", refuse)

    yield fill
    monkeypatch.undo()


@pytest.mark.parametrize("pattern", ["ori_imgs/31.jpg", "torso_imgs/*", "dataset.json"])
def test_a_full_disk_while_ingesting(
    refused: Refused,
    command: Command,
    clip: Path,
    tmp_path: Path,
    full_disk: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
) -> None:
    folder = tmp_path / "a.dataset"
    full_disk(pattern)
    line = refused("ingest", clip, folder, "--size", 32, after_progress=True)
    assert "No space left on device; free some space or choose another folder" in line
    assert str(folder) in line
    assert "is not a finished dataset" in refused("train", "geneface", folder, tmp_path / "a.avatar")
    assert "holds neither avatar.json nor dataset.json" in refused("info", folder)
    assert not list(folder.rglob("*partial*"))
    monkeypatch.undo()
    assert command("ingest", clip, folder, "--size", 32).code == 0


@pytest.mark.parametrize("pattern", ["checkpoint.safetensors", "avatar.json"])
def test_a_full_disk_while_training(
    refused: Refused, dataset: DatasetFolder, tmp_path: Path, full_disk: Callable[[str], None], pattern: str
) -> None:
    arguments = ("train", "radnerf", dataset.root, tmp_path / "a.avatar", "--train-size", 32, *BRIEF)
    full_disk(pattern)
    line = refused(*arguments, after_progress=True)
    assert f"{pattern}: No space left on device; free some space" in line
    assert "not a finished avatar" in refused("render", tmp_path / "a.avatar", "-o", tmp_path / "a.mp4")
    assert "holds neither" in refused("info", tmp_path / "a.avatar")
    assert not list((tmp_path / "a.avatar").rglob("*partial*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    # Lazily, because PyAV keeps the file open of which it could not write the end.
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_really_full(
    refused: Refused, clip: Path, dataset: DatasetFolder, avatar: Avatar, small_disk: Path, tmp_path: Path
) -> None:
    for arguments in (
        ("ingest", clip, small_disk / "a.dataset", "--size", 128),
        ("train", "geneface", dataset.root, small_disk / "a.avatar", "--train-size", 32, *BRIEF),
    ):
        line = refused(*arguments, after_progress=True)
        assert "No space left on device" in line
        assert str(small_disk) in line
        for leftover in small_disk.iterdir():
            shutil.rmtree(leftover)
    avatar.save(tmp_path / "a.avatar")
    (small_disk / "ballast").write_bytes(bytes(200 * 1024))
    render = ("render", tmp_path / "a.avatar", "-o", small_disk / "a.mp4", "--size", 128, "--frames", 10)
    line = refused(*render, after_progress=True)
    assert f"cannot write {small_disk / 'a.mp4'}: No space left on device" in line
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
