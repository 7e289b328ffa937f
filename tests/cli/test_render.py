"""`r2talker render`: drives, looks, and what it refuses."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch

from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder
from r2talker.data.dataset import Dataset
from r2talker.data.folder import DatasetFolder
from r2talker.data.poses import read_recording
from r2talker.drive.config import Smoothing
from r2talker.drive.poses import smooth_poses
from r2talker.media.write import write_png, write_wav
from r2talker.subject.voice import synthesise_speech
from tests.cli.conftest import Command

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def folder(avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar driven by landmarks, without the traces of its training."""
    path = tmp_path_factory.mktemp("speaking") / "a.avatar"
    avatar.save(path)
    return path


@pytest.fixture(scope="module")
def hearing(audio_avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar driven by audio features."""
    path = tmp_path_factory.mktemp("hearing") / "b.avatar"
    audio_avatar.save(path)
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second at a rate that has to be resampled."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    write_wav(path, synthesise_speech(1.0, 5).samples[:11025], 22050)
    return path


def pictures(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_sound_of_another_rate(command: Command, folder: Path, hearing: Path, speech: Path, tmp_path: Path) -> None:
    for source in (folder, hearing):
        target = tmp_path / f"{source.stem}.mp4"
        outcome = command("render", source, "--audio", speech, "-o", target, "--size", 16)
        assert outcome.code == 0
        assert outcome.out == f"wrote {target} and {target.with_suffix('.png')}\n"
        assert len(pictures(target)) == 13  # 0.5 s are 12.5 frames
        assert cv2.imread(str(target.with_suffix(".png"))).shape == (16, 16, 3)


@pytest.mark.parametrize("shape", [(6, 68, 3), (6, 204), (1, 6, 204)])
def test_landmark_files_of_every_shape(
    command: Command, folder: Path, data: Dataset, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    moves = data.displacements[:6].numpy()
    expected, target = tmp_path / "expected.mp4", tmp_path / "made.mp4"
    for path, array in ((expected, moves), (target, moves.reshape(shape).astype(np.float64))):
        file = save(path.with_suffix(".npy"), array)
        assert command("render", folder, "--landmarks", file, "-o", path, "--size", 24).code == 0
    assert np.array_equal(pictures(target), pictures(expected))
    assert pictures(target).shape == (6, 24, 24, 3)


def test_heads_and_blinks(command: Command, folder: Path, dataset: DatasetFolder, speech: Path, tmp_path: Path) -> None:
    target, poses = tmp_path / "made.mp4", dataset.transforms("val")
    common = ("render", folder, "-o", target, "--audio", speech, "--size", 16)
    assert command(*common, "--head", "speech", "--blinks", "new").code == 0
    assert command(*common, "--poses", poses, "--blinks", "none").code == 0
    assert len(pictures(target)) == 13
    outcome = command(*common, "--poses", poses, "--pose", 0)
    assert outcome.code == 2
    assert "choose one" in outcome.err


def test_feature_files(command: Command, hearing: Path, data: Dataset, tmp_path: Path) -> None:
    file = save(tmp_path / "mel.npy", data.audio["mel"][:5].numpy())
    assert command("render", hearing, "--features", file, "--output", tmp_path / "a.mp4", "--size", 16).code == 0
    assert len(pictures(tmp_path / "a.mp4")) == 5


def test_everything_the_original_tester_takes(
    command: Command, trained: Callable[[str], Path], data: Dataset, dataset: DatasetFolder, tmp_path: Path
) -> None:
    """Poses and eyes of a transforms file, a range of them, smoothing, a limit, a colour by name; by every method."""
    moves, heard = dataset.landmark_offsets("val"), save(tmp_path / "aud.npy", data.audio["mel"][-8:].double().numpy())
    drives = {"r2talker": ("--landmarks", moves), "geneface": ("--landmarks", moves), "radnerf": ("--features", heard)}
    for method, drive in drives.items():
        target = tmp_path / f"{method}.mp4"
        options = ("--poses", dataset.transforms("train"), "--data-range", 5, 9, "--smooth-eyes", 3, "--smooth-lips", 0.35)
        limit = () if method == "radnerf" else ("--landmark-limit", 2.3)
        outcome = command(
            "render", trained(method), "-o", target, *drive, *options, *limit, "--background", "white", "--size", 24
        )
        assert (outcome.code, outcome.err.count("\n")) == (0, 1), outcome.err
        expected = tmp_path / "expected.mp4"
        Avatar.load(trained(method), device="cpu").render_video(
            expected,
            landmarks=data.displacements[-6:] if limit else None,
            features=None if limit else data.audio["mel"][-8:],
            poses=smooth_poses(data.c2w[5:9]),
            eye=data.eye[5:9],
            smoothing=Smoothing(smooth_eyes=3, smooth_lips=0.35, landmark_limit=2.3 if limit else None),
            background=(255, 255, 255),
            size=24,
        )
        assert np.array_equal(pictures(target), pictures(expected))
        assert len(pictures(target)) == (6 if limit else 8)


def test_path_smoothing_can_be_turned_off(command: Command, folder: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    seen: dict[str, list[torch.Tensor]] = {"on": [], "off": []}

    def spy(self: Avatar, path: Path, **options: Any) -> int:
        seen[path.stem].append(options["poses"])
        return 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Avatar, "render_video", spy)
        common = ("render", folder, "--poses", dataset.transforms("val"))
        assert command(*common, "-o", tmp_path / "on.mp4").code == 0
        assert command(*common, "-o", tmp_path / "off.mp4", "--smooth-path", 1).code == 0
    raw = read_recording(dataset.transforms("val")).c2w
    assert torch.equal(seen["off"][0], raw)
    assert torch.equal(seen["on"][0], smooth_poses(raw))


def test_poses_of_another_camera_are_told(command: Command, folder: Path, dataset: DatasetFolder, tmp_path: Path) -> None:
    value = json.loads(dataset.transforms("val").read_text())
    value["focal_len"] *= 1.2
    (tmp_path / "far.json").write_text(json.dumps(value))
    common = ("render", folder, "-o", tmp_path / "a.mp4", "--size", 16, "--frames", 2, "--poses")
    outcome = command(*common, tmp_path / "far.json")
    assert outcome.code == 0
    assert "focal length of 2.81 sides of the picture, the avatar has 2.34 and keeps it" in outcome.err
    assert "focal length" not in command(*common, dataset.transforms("val")).err


def test_doubtful_landmarks_are_told(command: Command, folder: Path, data: Dataset, tmp_path: Path) -> None:
    own = data.displacements[:30].numpy()
    centimetres = save(tmp_path / "cm.npy", own * 10)
    far = own.copy()
    far[:, 0, 0] += 3
    beyond, fitting = save(tmp_path / "far.npy", far), save(tmp_path / "own.npy", own)
    common = ("render", folder, "-o", tmp_path / "a.mp4", "--size", 16, "--frames", 2, "--landmarks")
    assert re.search(r"cm.npy move \d+\.\d times as much as those of the clip", command(*common, centimetres).err)
    assert f"note: 1% of the landmarks of {beyond} leave [-1, 1]" in command(*common, beyond).err
    for quiet in (command(*common, fitting), command(*common, centimetres, "--landmark-limit", 2.3)):
        assert (quiet.code, "note: " in quiet.err) == (0, False)


def test_features_of_another_kind_are_refused_by_width(refused: Refused, folder: Path, hearing: Path, tmp_path: Path) -> None:
    target = ("-o", tmp_path / "a.mp4")
    file = save(tmp_path / "aud_eo.npy", np.zeros((5, 16, 44), np.float32))
    line = refused("render", hearing, "--features", file, *target)
    assert f"{file} holds esperanto windows of width 44; radnerf listens to mel windows of width 64, (T, 16, 64)" in line
    assert "with --features" in refused("render", folder, "--landmarks", file, *target)
    moves = save(tmp_path / "moves.npy", np.zeros((5, 68, 3), np.float32))
    assert "with --landmarks" in refused("render", hearing, "--features", moves, *target)
    assert "not audio features" in refused("render", folder, "--features", file, *target)
    assert "chooses from 54 frames" in refused("render", folder, "--data-range", 50, 55, *target)
    assert "--smooth-lips is a share" in refused("render", folder, "--smooth-lips", 1, *target)
    assert "only landmarks can be held" in refused(
        "render", hearing, "--landmark-limit", 2, "--features", save(file, np.zeros((5, 16, 64))), *target
    )


def test_looks(command: Command, folder: Path, tmp_path: Path) -> None:
    def first(name: str, *options: object) -> np.ndarray:
        target = tmp_path / f"{name}.mp4"
        assert command("render", folder, "-o", target, "--size", 32, "--frames", 3, *options).code == 0
        assert len(pictures(target)) == 3
        return pictures(target)

    write_png(tmp_path / "red.png", np.full((8, 8, 3), (255, 0, 0), np.uint8))
    blue, red = first("blue", "--background", "0, 0,255"), first("red", "--background", tmp_path / "red.png")
    assert blue[0, 0, 0, 2] > blue[0, 0, 0, 0] + 60
    assert red[0, 0, 0, 0] > red[0, 0, 0, 2] + 60
    here, beside, turned = (first(f"pose{pose}", "--pose", pose, "--eye", 0.2).astype(int) for pose in (3, 4, 40))
    # Lips and brows move alike in all three; a pose of the next frame is nearly the same, one of 1.5 s later is not.
    assert np.abs(here - beside).mean() < 0.5 * np.abs(here - turned).mean()


LANDMARKS = {
    "one face": (np.zeros((68, 3)), r"[68, 3]; expected (T, 68, 3), (T, 204) or (1, T, 204)"),
    "one row": (np.zeros(204), r"[204]; expected (T, 68, 3)"),
    "68 x 2": (np.zeros((5, 68, 2)), r"[5, 68, 2]; expected (T, 68, 3)"),
    "two clips": (np.zeros((2, 5, 204)), r"[2, 5, 204]; expected (T, 68, 3)"),
    "transposed": (np.zeros((68, 5, 3)), r"[68, 5, 3]; expected (T, 68, 3)"),
    "no frame": (np.zeros((0, 68, 3), np.float32), "float32 [0, 68, 3]; expected finite numbers, at least one frame"),
    "not a number": (np.full((5, 68, 3), np.nan, np.float32), "float32 [5, 68, 3]; expected finite numbers"),
    "complex": (np.zeros((5, 68, 3), np.complex64), "complex64 [5, 68, 3]; expected finite numbers"),
    "words": (np.full((5, 204), "a"), "<U1 [5, 204]; expected finite numbers"),
}


@pytest.mark.parametrize("case", LANDMARKS)
def test_other_landmark_files_are_refused_by_name(refused: Refused, folder: Path, tmp_path: Path, case: str) -> None:
    array, words = LANDMARKS[case]
    file = save(tmp_path / "odd.npy", array)
    line = refused("render", folder, "--landmarks", file, "-o", tmp_path / "a.mp4")
    assert str(file) in line
    assert words in line
    assert not (tmp_path / "a.mp4").exists()


def test_files_that_are_no_arrays_are_refused_by_name(refused: Refused, folder: Path, hearing: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.npy"
    text.write_text("0.1 0.2 0.3")
    pickled = tmp_path / "pickled.npy"
    np.save(pickled, np.array([{"a": 1}], object), allow_pickle=True)
    for file in (text, pickled):
        line = refused("render", folder, "--landmarks", file, "-o", tmp_path / "a.mp4")
        assert f"{file} is not a plain .npy array" in line
        assert "allow_pickle=True" not in line
    assert "none.npy" in refused("render", hearing, "--features", tmp_path / "none.npy", "-o", tmp_path / "a.mp4")
    flat = save(tmp_path / "flat.npy", np.zeros((5, 64), np.float32))
    assert "[5, 64]; expected (T, 16, K)" in refused("render", hearing, "--features", flat, "-o", tmp_path / "a.mp4")


def test_drives_that_do_not_fit(refused: Refused, folder: Path, hearing: Path, speech: Path, tmp_path: Path) -> None:
    moves = save(tmp_path / "moves.npy", np.zeros((3, 68, 3), np.float32))
    target = ("-o", tmp_path / "a.mp4", "--size", 16)
    assert "one thing at a time" in refused("render", folder, "--audio", speech, "--landmarks", moves, *target)
    assert "not landmarks" in refused("render", hearing, "--landmarks", moves, *target)
    assert "no motion of its own to replay" in refused("render", hearing, *target)
    assert "poses 0 to 53, got 99" in refused("render", folder, "--pose", 99, *target)
    assert "at least one frame" in refused("render", folder, "--frames", 0, *target)
    assert "must be positive, got -8" in refused("render", folder, "-o", tmp_path / "a.mp4", "--size", -8)
    assert list(tmp_path.iterdir()) == [moves]


def test_sound_that_cannot_be_spoken(refused: Refused, command: Command, folder: Path, clip: Path, tmp_path: Path) -> None:
    target = ("-o", tmp_path / "a.mp4", "--size", 16, "--frames", 2)
    samples = np.zeros(16000, np.float32)
    write_wav(tmp_path / "click.wav", samples[:200])
    assert "click.wav is shorter than one frame" in refused("render", folder, "--audio", tmp_path / "click.wav", *target)
    write_wav(tmp_path / "empty.wav", samples[:0])
    assert "empty.wav has a sound track without any sound" in refused(
        "render", folder, "--audio", tmp_path / "empty.wav", *target
    )
    (tmp_path / "text.wav").write_text("la la la")
    assert "text.wav: not a video or sound file" in refused("render", folder, "--audio", tmp_path / "text.wav", *target)
    assert "none.wav does not exist" in refused("render", folder, "--audio", tmp_path / "none.wav", *target)
    assert f"{tmp_path} is a folder" in refused("render", folder, "--audio", tmp_path, *target)
    # Silence is sound, and so is that of a video.
    write_wav(tmp_path / "silence.wav", samples)
    for audio in (tmp_path / "silence.wav", clip):
        assert command("render", folder, "--audio", audio, *target).code == 0


def test_places_that_cannot_be_written(refused: Refused, folder: Path, tmp_path: Path) -> None:
    assert "a.mov must end in .mp4" in refused("render", folder, "-o", tmp_path / "a.mov")
    (tmp_path / "dir.mp4").mkdir()
    options = ("--size", 16, "--frames", 2)
    assert "cannot write" in refused("render", folder, "-o", tmp_path / "dir.mp4", *options)
    (tmp_path / "file").write_text("")
    line = refused("render", folder, "-o", tmp_path / "file" / "a.mp4", *options)
    assert f"cannot write {tmp_path / 'file' / 'a.mp4'}" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dir.mp4", "file"]
    assert list((tmp_path / "dir.mp4").iterdir()) == []


def test_damaged_avatars(refused: Refused, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = AvatarFolder(tmp_path / "c.avatar")
    Avatar.load(folder, device="cpu").save(copy.root)
    tensors = load_file(copy.weights)
    del tensors["model.torso.individual_codes"]
    save_file(tensors, copy.weights)
    line = refused("render", copy.root, "-o", tmp_path / "a.mp4")
    assert str(copy.weights) in line
    assert "model.torso.individual_codes is missing; copy the whole avatar again" in line
    assert "not a finished avatar" in refused("render", tmp_path / "none.avatar", "-o", tmp_path / "a.mp4")


def test_the_real_process_answers_with_one_line(folder: Path, tmp_path: Path) -> None:
    """Through `python -m r2talker`, where libraries have their own ideas of what to print."""
    command = [
        sys.executable,
        "-m",
        "r2talker",
        "render",
        folder,
        "-o",
        tmp_path / "a.mp4",
        "--background",
        tmp_path / "no.png",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    expected = f"--background {tmp_path / 'no.png'} is neither a readable picture nor a colour such as 255,255,255"
    assert done.stderr == f"r2talker render: {expected}\n"
