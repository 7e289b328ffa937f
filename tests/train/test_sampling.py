"""Which frame and which pixels a step looks at."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from r2talker.data.dataset import Dataset, read_pictures
from r2talker.data.regions import Region
from r2talker.train.config import SamplingConfig
from r2talker.train.sampling import (
    FrameRegions,
    frame_of_step,
    frame_regions,
    pixels_inside,
    rehearsal,
    sample_patches,
    sample_pixels,
    step_generator,
    within_pixels,
)
from tests.tiny import SIZE, TRAIN_SIZE

CPU = torch.device("cpu")
# Apart from each other, so that every pixel tells which one it was drawn from.
APART = FrameRegions(
    head=Region(0, 20, 0, 64), lips=Region(30, 40, 10, 50), eyes=Region(50, 52, 60, 64), face=Region(0, 64, 0, 64)
)


def count_inside(region: Region, pixels: torch.Tensor, size: int = TRAIN_SIZE) -> int:
    return int(region.contains(pixels // size, pixels % size).sum())


@pytest.mark.parametrize("rays", [1, 7, 1000])
def test_each_region_gets_its_share(rays: int) -> None:
    shares = SamplingConfig(anywhere=0.0, lips=0.5, eyes=0.2)
    pixels = sample_pixels(APART, TRAIN_SIZE, rays, shares, step_generator(0, 0, CPU))
    assert len(pixels) == rays
    lips, eyes = int(rays * 0.5), int(rays * 0.2)
    assert count_inside(APART.lips, pixels) == lips
    assert count_inside(APART.eyes, pixels) == eyes
    assert count_inside(APART.head, pixels) == rays - lips - eyes


def test_a_share_is_drawn_from_everywhere() -> None:
    pixels = sample_pixels(APART, TRAIN_SIZE, 4000, SamplingConfig(anywhere=1.0, lips=0.0, eyes=0.0), step_generator(0, 0, CPU))
    thirds = torch.stack([pixels // TRAIN_SIZE, pixels % TRAIN_SIZE]) * 3 // TRAIN_SIZE
    cells = Counter(map(tuple, thirds.T.tolist()))
    assert len(cells) == 9
    # 444 expected, 20 standard deviation.
    assert min(cells.values()) > 340


@pytest.mark.parametrize("region", [Region(5, 6, 9, 10), Region(60, 64, 61, 64), Region(0, 64, 0, 64)])
def test_every_pixel_of_a_region_is_drawn_and_no_other(region: Region) -> None:
    pixels = pixels_inside(region, 20 * region.area, TRAIN_SIZE, step_generator(3, 1, CPU))
    assert count_inside(region, pixels) == len(pixels)
    # With 20 draws per pixel one of 4096 is missed with probability 1e-5.
    assert len(pixels.unique()) == region.area


def test_a_step_draws_the_same_again_and_another_step_does_not() -> None:
    def draw(seed: int, step: int) -> torch.Tensor:
        return sample_pixels(APART, TRAIN_SIZE, 100, SamplingConfig(), step_generator(seed, step, CPU))

    assert torch.equal(draw(0, 5), draw(0, 5))
    assert not torch.equal(draw(0, 5), draw(0, 6))
    assert not torch.equal(draw(0, 5), draw(1, 5))


def test_every_frame_comes_once_per_epoch_in_changing_order() -> None:
    frames = 11
    order = [frame_of_step(frames, 4, step) for step in range(3 * frames)]
    epochs = [tuple(order[start : start + frames]) for start in range(0, len(order), frames)]
    assert all(sorted(epoch) == list(range(frames)) for epoch in epochs)
    assert len(set(epochs)) == 3
    assert [frame_of_step(frames, 5, step) for step in range(frames)] != list(epochs[0])


def test_regions_of_a_real_frame_lie_around_their_features(data: Dataset) -> None:
    pictures = read_pictures(data, [8], size=TRAIN_SIZE)
    regions = frame_regions(data, pictures, 8)
    points = data.pixels[8] * (TRAIN_SIZE / SIZE)
    for region, features in ((regions.lips, points[48:68]), (regions.eyes, points[36:48])):
        column, row = features.long().unbind(-1)
        assert region.contains(row, column).all()
        assert regions.head.contains(row, column).all()
        assert region.area < regions.head.area / 3
    rows, columns = torch.nonzero(pictures.head[0]).unbind(-1)
    assert regions.head.contains(rows, columns).all()
    assert regions.lips.top > regions.eyes.top


def rare_order(data: Dataset, closed: int, wide: int) -> Counter[int]:
    """An epoch when only frames `closed` and `wide` are out of the ordinary."""
    eye = torch.full((data.info.frames,), 0.3)
    eye[closed] = 0.05
    displacements = torch.zeros(data.info.frames, 68, 3)
    displacements[wide, 66, 1] = -1.0  # the lower lip goes down
    return Counter(rehearsal(replace(data, eye=eye, displacements=displacements)))


def test_closed_eyes_and_wide_mouths_are_rehearsed(data: Dataset) -> None:
    count = len(data.train)
    order = rare_order(data, closed=3, wide=7)
    assert sorted(order) == list(data.train)
    assert {frame for frame, times in order.items() if times > 1} == {3, 7}
    assert order[3] == int(0.08 * count)
    assert order[7] == int(0.25 * count)


def test_one_closed_frame_of_a_long_clip_is_not_shown_for_ever(data: Dataset) -> None:
    long = replace(data, info=replace(data.info, frames=1000, train_frames=1000), numbers=list(range(1000)))
    assert rare_order(long, closed=3, wide=7)[3] == 1 + 30


def test_patches_are_whole_squares_inside_the_picture(data: Dataset) -> None:
    only_eyes = SamplingConfig(anywhere=0.0, lips=0.0, eyes=1.0)
    pixels = sample_patches(APART, TRAIN_SIZE, 20, 8, only_eyes, step_generator(0, 0, CPU)).reshape(20, 8, 8)
    rows, columns = pixels // TRAIN_SIZE, pixels % TRAIN_SIZE
    assert torch.equal(rows[:, :, 0] - rows[:, :1, 0], torch.arange(8).expand(20, 8))
    assert torch.equal(columns[:, 0] - columns[:, 0, :1], torch.arange(8).expand(20, 8))
    # The eyes' rectangle touches the right border of the picture.
    assert int(columns.max()) == TRAIN_SIZE - 1
    assert set(rows[:, 4, 4].tolist()) <= {50, 51}


def test_patches_come_from_the_regions_in_their_shares() -> None:
    shares = SamplingConfig(anywhere=0.0, lips=0.5, eyes=0.0)
    pixels = sample_patches(APART, TRAIN_SIZE, 400, 2, shares, step_generator(0, 1, CPU)).reshape(400, 4)
    lips = sum(count_inside(APART.lips, patch) == 4 for patch in pixels)
    assert 150 < lips < 250


def test_excluded_frames_are_not_trained_on_but_the_first_keeps_its_code(data: Dataset) -> None:
    numbers = list(range(data.info.frames))
    numbers[0], numbers[9], numbers[10] = 1, 8, 11
    left = replace(data, numbers=numbers)
    assert sorted(set(rehearsal(left))) == left.kept == [frame for frame in data.train if frame not in (9, 10)]


def test_coordinates_stay_within_their_pixels() -> None:
    middles = torch.tensor([[-1.0, 1.0], [0.0, 0.0]])
    corners = [within_pixels(middles, torch.full((2, 2), share), 65) for share in (0.0, 1.0)]
    # 65 pixels lie 1/32 apart.
    assert torch.equal(corners[1] - corners[0], torch.full((2, 2), 1 / 32))
    assert torch.equal((corners[0] + corners[1]) / 2, middles)
