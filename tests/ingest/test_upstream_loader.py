"""Our dataset through a loader written from the description of the original one (upstream.md 1 to 1.3, 2.2, 2.7)."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import wavfile

from r2talker.data.dataset import Dataset, read_dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.step import Workspace
from tests.tiny import FRAMES, SIZE, TRAIN_FRAMES
from tests.tolerances import TOLERANCES, assert_close


@dataclass(frozen=True)
class Loaded:
    """What the original loader has in memory."""

    height: int
    width: int
    focal: float
    poses: np.ndarray
    images: np.ndarray
    torsos: np.ndarray
    background: np.ndarray
    conditions: np.ndarray
    eye: np.ndarray
    lips: list[tuple[int, int, int, int]]


def rgb(path: Path, mode: int) -> np.ndarray:
    picture = cv2.imread(str(path), mode)
    order = [2, 1, 0, 3] if picture.shape[2] == 4 else [2, 1, 0]
    return picture[..., order].astype(np.float32) / 255


def load(root: Path, split: str) -> Loaded:
    value = json.loads((root / f"transforms_{split}.json").read_text())
    height, width = (int(value["h"]), int(value["w"])) if "h" in value else (2 * int(value["cy"]), 2 * int(value["cx"]))
    frames = value["frames"]
    poses, images, torsos, eye, lips = [], [], [], [], []
    for frame in frames:
        p = np.array(frame["transform_matrix"])
        rows = [[p[k, 0], -p[k, 1], -p[k, 2], 4 * p[k, 3]] for k in (1, 2, 0)]
        poses.append(np.array([*rows, [0, 0, 0, 1]], np.float32))
        number = str(frame["img_id"])
        images.append(rgb(root / "gt_imgs" / f"{number}.jpg", cv2.IMREAD_UNCHANGED))
        torsos.append(rgb(root / "torso_imgs" / f"{number}.png", cv2.IMREAD_UNCHANGED))
        points = np.loadtxt(root / "ori_imgs" / f"{number}.lms")
        x, y = points[36:48, 0].reshape(2, 6), points[36:48, 1].reshape(2, 6)
        area = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)) / 2
        eye.append(100 * area.sum() / (height * width))
        low, high = points[48:60].min(0).astype(int), points[48:60].max(0).astype(int)
        lips.append((low[1], high[1], low[0], high[0]))
    features = np.load(root / f"aud_idexp_{split}.npy")
    # Landmarks are stored by split, so that a frame's row counts from the split's first; the last row stands for what lies beyond.
    rows = [features[min(frame["aud_id"] - frames[0]["aud_id"], len(features) - 1)] for frame in frames]
    return Loaded(
        height, width, float(value["focal_len"]), np.stack(poses), np.stack(images), np.stack(torsos),
        rgb(root / "bc.jpg", cv2.IMREAD_UNCHANGED), np.stack(rows),
        np.array(eye), lips,
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(dataset: DatasetFolder, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = shutil.copytree(dataset.root, tmp_path_factory.mktemp("theirs") / "person")
    workspace = Workspace(clip, DatasetFolder(copy), IngestConfig(size=SIZE))
    run_steps(replace(workspace, config=replace(workspace.config, torso_png=True)))
    return copy


@pytest.fixture(scope="module")
def ours(root: Path) -> Dataset:
    return read_dataset(root)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_original_loader_sees_what_we_see(root: Path, ours: Dataset, split: str) -> None:
    theirs = load(root, split)
    part = slice(0, TRAIN_FRAMES) if split == "train" else slice(TRAIN_FRAMES, None)
    assert (theirs.height, theirs.width, theirs.focal) == (SIZE, SIZE, ours.info.focal)
    assert_close(theirs.poses, ours.c2w[part], "rotation")
    assert_close(theirs.conditions, ours.displacements[part], "exact")
    assert_close(theirs.eye, ours.eye[part], "eye value through text")
    frames = range(*part.indices(ours.info.frames))
    pictures = read_pictures(ours, frames)
    for made, own in (
        (theirs.images, pictures.truth),
        (theirs.torsos, pictures.torso),
        (theirs.background, pictures.background),
    ):
        assert torch.equal(torch.from_numpy(made * 255).round().byte(), own)


def test_lips_and_torsos_are_usable(root: Path) -> None:
    theirs = load(root, "train")
    assert all(0 <= top < bottom <= SIZE and 0 <= left < right <= SIZE for top, bottom, left, right in theirs.lips)
    assert (theirs.torsos[..., :3][theirs.torsos[..., 3] == 0] == 0).all()
    assert theirs.conditions.dtype == np.float32
    assert np.abs(theirs.conditions).max() <= 1


REGIONS_BGR = {"head": (255, 0, 0), "neck": (0, 255, 0), "torso": (0, 0, 255), "background": (255, 255, 255)}
"""Upstream.md 1.2, as OpenCV reads them."""


def test_frames_are_numbered_and_split_as_described(root: Path) -> None:
    """Upstream.md 1.3: focal length and centre as floats, whole numbers from 0 on, the first 10 of 11 train."""
    numbers: list[int] = []
    for split in ("train", "val"):
        value = json.loads((root / f"transforms_{split}.json").read_text())
        assert all(isinstance(value[name], float) for name in ("focal_len", "cx", "cy"))
        assert (value["cx"], value["cy"]) == (value["w"] / 2, value["h"] / 2) == (SIZE / 2, SIZE / 2)
        for frame in value["frames"]:
            assert isinstance(frame["img_id"], int)
            assert frame["aud_id"] == frame["img_id"]
            matrix = np.array(frame["transform_matrix"])
            assert_close(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), "rotation")
            assert matrix[3].tolist() == [0, 0, 0, 1]
        if split == "train":
            trained = len(value["frames"])
        numbers += [frame["img_id"] for frame in value["frames"]]
    assert numbers == list(range(FRAMES))
    assert trained == int(FRAMES * 10 / 11)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_size_may_be_left_unsaid(root: Path, tmp_path: Path, split: str) -> None:
    """Loaders that know no `h` and `w` take twice the centre."""
    path = shutil.copytree(root, tmp_path / "person") / f"transforms_{split}.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps({key: value[key] for key in ("focal_len", "cx", "cy", "frames")}))
    assert (load(path.parent, split).height, load(path.parent, split).width) == (SIZE, SIZE)


def test_every_file_of_a_frame_is_as_described(root: Path) -> None:
    """Upstream.md 1: 8-bit pictures of one size, 68 lines of two numbers, four colours of which all occur."""
    seen = dict.fromkeys(REGIONS_BGR, 0)
    for number in range(FRAMES):
        for path in (
            root / "ori_imgs" / f"{number}.jpg",
            root / "gt_imgs" / f"{number}.jpg",
            root / "parsing" / f"{number}.png",
        ):
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert (picture.dtype, picture.shape) == (np.uint8, (SIZE, SIZE, 3)), path
        torso = cv2.imread(str(root / "torso_imgs" / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        assert (torso.dtype, torso.shape) == (np.uint8, (SIZE, SIZE, 4))
        parsing = cv2.imread(str(root / "parsing" / f"{number}.png"))
        for name, colour in REGIONS_BGR.items():
            seen[name] += int((parsing == colour).all(-1).sum())
        lines = (root / "ori_imgs" / f"{number}.lms").read_text().splitlines()
        assert len(lines) == 68
        assert all(len([float(part) for part in line.split()]) == 2 for line in lines)
    assert sum(seen.values()) == FRAMES * SIZE * SIZE
    assert min(seen.values()) > 0
    assert cv2.imread(str(root / "bc.jpg"), cv2.IMREAD_UNCHANGED).shape == (SIZE, SIZE, 3)


def test_the_background_stands_where_the_parsing_says_so(root: Path) -> None:
    """Upstream.md 1: `gt_imgs` have the plate in every background pixel."""
    plate = cv2.imread(str(root / "bc.jpg")).astype(int)
    for number in (0, FRAMES // 2, FRAMES - 1):
        outside = (cv2.imread(str(root / "parsing" / f"{number}.png")) == 255).all(-1)
        # JPEG blurs over its blocks of 8 pixels; what lies further inside is the plate but for its own coding.
        inside = cv2.erode(outside.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
        assert inside.sum() > 500
        shown = cv2.imread(str(root / "gt_imgs" / f"{number}.jpg")).astype(int)
        assert np.abs(shown - plate)[inside].mean() < TOLERANCES["plate after JPEG"].atol


def test_sound_and_landmarks_are_as_described(root: Path) -> None:
    """Upstream.md 1: 16 kHz 16-bit sound; landmarks of all frames are those of the splits one after the other."""
    rate, samples = wavfile.read(root / "aud.wav")
    assert (rate, samples.dtype) == (16000, np.int16)
    assert abs(len(samples) / rate - FRAMES / 25) < 0.1
    train, val, both = (np.load(root / f"aud_idexp{name}.npy", allow_pickle=False) for name in ("_train", "_val", ""))
    assert both.dtype == np.float32
    assert np.array_equal(np.concatenate([train, val]), both)
    assert both.shape == (FRAMES, 68, 3)
