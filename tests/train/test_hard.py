"""Rays go where the head's error has been large, and the map of it follows the head."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from r2talker.data.dataset import Dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.data.regions import Region
from r2talker.errors import R2TalkerError
from r2talker.train.config import SamplingConfig
from r2talker.train.diary import RunFolder
from r2talker.train.hard import MEMORY, MOST, SIDE, HardMap
from r2talker.train.run import train_avatar
from r2talker.train.sampling import FrameRegions, frame_regions, sample_pixels, step_generator
from tests.tiny import MOTION, TRAIN_SIZE, TRAINING
from tests.tolerances import assert_close

CPU = torch.device("cpu")
WIDTH = 200
HEADS = torch.tensor([[10, 74, 20, 84], [60, 188, 40, 168]])
"""The same head near and nearer: cells of 2 and of 4 pixels."""
ROW, COLUMN = 3, 5
OWN = torch.ones(2, dtype=torch.bool)


def cells_of(pixels: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Cells' numbers, by the definition."""
    top, bottom, left, right = head.tolist()
    rows, columns = pixels // WIDTH - top, pixels % WIDTH - left
    return (rows * SIDE // (bottom - top)) * SIDE + columns * SIDE // (right - left)


def taught(hard_error: float, *, steps: int = 10, own: torch.Tensor = OWN) -> HardMap:
    """A map after steps with rays from everywhere in the heads, whose error is 0.01 but for one cell."""
    hard, generator = HardMap(CPU), torch.Generator().manual_seed(0)
    for _ in range(steps):
        pixels = torch.stack([uniform(head, 8192, generator) for head in HEADS])
        cells = torch.stack([cells_of(row, head) for row, head in zip(pixels, HEADS, strict=True)])
        error = torch.where(cells == ROW * SIDE + COLUMN, hard_error, 0.01)
        hard.note(pixels, HEADS, error, own, WIDTH)
        hard.learn()
    return hard


def uniform(head: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    top, bottom, left, right = head.tolist()
    rows = torch.randint(top, bottom, (count,), generator=generator)
    return rows * WIDTH + torch.randint(left, right, (count,), generator=generator)


def test_the_map_knows_the_mean_error_of_every_cell() -> None:
    errors = taught(0.3).errors()
    expected = torch.full_like(errors, 0.01)
    expected[ROW * SIDE + COLUMN] = 0.3
    assert_close(errors, expected, "mean error of a cell")


@pytest.mark.parametrize("slot", [0, 1])
def test_rays_are_drawn_in_proportion_to_the_error_wherever_the_head_is(slot: int) -> None:
    hard = taught(0.03)
    drawn = hard.draw(HEADS, 100_000, WIDTH, torch.Generator().manual_seed(1))[slot]
    counts = torch.bincount(cells_of(drawn, HEADS[slot]), minlength=SIDE * SIDE).float()
    others = (counts.sum() - counts[ROW * SIDE + COLUMN]) / (SIDE * SIDE - 1)
    # Three times the error, three times the rays: 292 of 100000, 17 standard deviation.
    assert 2.4 < float(counts[ROW * SIDE + COLUMN] / others) < 3.6
    assert float(counts.min()) > 40


def test_an_error_that_nothing_can_help_does_not_take_all_rays() -> None:
    weights = taught(1.0).weights().double()
    assert_close(weights[ROW * SIDE + COLUMN] / weights.mean(), MOST, "share of a bounded cell")


def test_frames_driven_by_others_and_rays_beside_the_head_do_not_count() -> None:
    hard = taught(0.3, own=torch.tensor([False, False]))
    assert float(hard.sums.abs().max()) == 0
    hard.note(torch.tensor([[0, 9 * WIDTH + 30], [3, 199 * WIDTH]]), HEADS, torch.ones(2, 2), OWN, WIDTH)
    assert float(hard.fresh.abs().max()) == 0
    # Nothing known: everywhere alike.
    assert len(hard.weights().unique()) == 1


def test_what_is_long_ago_is_forgotten() -> None:
    hard = taught(0.3)
    for _ in range(10 * MEMORY):
        hard.learn()
    weights = hard.weights().double()
    assert float(weights.max() / weights.min()) < 1.1


def test_the_hard_share_is_taken_from_the_heads_own() -> None:
    apart = FrameRegions(Region(0, 20, 0, 64), Region(30, 40, 10, 50), Region(50, 52, 60, 64), Region(0, 64, 0, 64))
    shares = SamplingConfig(anywhere=0.0, lips=0.5, eyes=0.2)
    pixels = sample_pixels(apart, TRAIN_SIZE, 1000, shares, step_generator(0, 0, CPU), elsewhere=120)
    inside = [int(region.contains(pixels // TRAIN_SIZE, pixels % TRAIN_SIZE).sum()) for region in (apart.head, apart.lips)]
    assert inside == [1000 - 500 - 200 - 120, 500]


@pytest.mark.parametrize("shares", [{"hard": 0.6}, {"hard": -0.1}, {"lips": 0.9, "hard": 0.06}])
def test_shares_that_make_no_sense_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(R2TalkerError, match="hard"):
        SamplingConfig(**shares)


@pytest.fixture(scope="module")
def troubled(dataset: DatasetFolder, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset with a square of another colour in every frame in the upper left quarter of the head."""
    folder = DatasetFolder(tmp_path_factory.mktemp("troubled") / "a.dataset")
    shutil.copytree(dataset.root, folder.root)
    pictures, generator = read_pictures(data, list(data.train)), np.random.default_rng(0)
    for frame in data.train:
        head = frame_regions(data, pictures, frame).head
        height, width = (head.bottom - head.top) // 8, (head.right - head.left) // 8
        picture = cv2.imread(str(folder.ground_truth(frame)))
        colour = generator.integers(0, 256, 3)
        picture[head.top + height : head.top + 2 * height, head.left + 2 * width : head.left + 3 * width] = colour
        cv2.imwrite(str(folder.ground_truth(frame)), picture)
    return folder.root


def test_training_finds_the_hard_place_and_looks_there(troubled: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        TRAINING, head_steps=80, torso_steps=1, sampling=SamplingConfig(lips=0.0, eyes=0.0, anywhere=0.0, hard=0.5)
    )
    train_avatar("radnerf", troubled, tmp_path / "a.avatar", config, MOTION)
    errors, rays = load_file(RunFolder(tmp_path / "a.avatar" / "training").checkpoint)["kept.hard.sums"].view(2, SIDE, SIDE)
    # The square's cells, without its rim.
    square = (slice(SIDE // 8 + 1, SIDE // 4 - 1), slice(SIDE // 4 + 1, 3 * SIDE // 8 - 1))
    assert float(errors[square].sum() / rays[square].sum()) > 2 * float(errors.sum() / rays.sum())
    assert float(rays[square].mean()) > 1.25 * float(rays.mean())
