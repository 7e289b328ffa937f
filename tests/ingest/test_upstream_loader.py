"""Our dataset through a loader written from the description of the original one (upstream.md 1.1 to 1.3, 2.2, 2.7)."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from r2talker.data.dataset import Dataset, read_dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import run_steps
from r2talker.ingest.step import Workspace
from tests.tiny import SIZE, TRAIN_FRAMES
from tests.tolerances import assert_close


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
    height, width = int(value["h"]), int(value["w"])
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
    return Loaded(
        height, width, float(value["focal_len"]), np.stack(poses), np.stack(images), np.stack(torsos),
        rgb(root / "bc.jpg", cv2.IMREAD_UNCHANGED), np.stack([features[min(k, len(features) - 1)] for k in range(len(frames))]),
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
