"""The space that the head can fill, against the drawn person's own landmarks."""

import dataclasses
from pathlib import Path

import pytest
import torch

from r2talker.data.dataset import Dataset, Pictures, read_pictures
from r2talker.model.occupancy import OccupancyGrid
from r2talker.ops.camera_rays.op import SCENE_SCALE
from r2talker.render.config import RenderSettings
from r2talker.subject.truth import load_truth
from r2talker.train.hull import head_hull
from tests.tiny import TRAIN_SIZE

AABB = RenderSettings().aabb


@pytest.fixture(scope="module")
def pictures(data: Dataset) -> Pictures:
    return read_pictures(data, list(data.train), size=TRAIN_SIZE)


def test_the_true_head_is_inside(data: Dataset, pictures: Pictures, clip: Path) -> None:
    truth = load_truth(clip.parent)
    points = torch.tensor(truth.landmarks[::9][..., [1, 2, 0]] * SCENE_SCALE, dtype=torch.float32).reshape(-1, 3)
    assert head_hull(data, pictures, points, AABB).all()


def test_corners_and_the_space_around_are_not(data: Dataset, pictures: Pictures) -> None:
    corners = torch.cartesian_prod(*[torch.tensor([-0.99, 0.99]) * scale for scale in (1.0, 0.5, 1.0)])
    beside = torch.tensor([[0.0, 0.0, 0.9], [0.0, 0.0, -0.9], [0.95, 0.0, 0.0]])
    assert not head_hull(data, pictures, torch.cat([corners, beside]), AABB).any()
    share = head_hull(data, pictures, OccupancyGrid().centres(), AABB).float().mean()
    assert 0.01 < share < 0.2


def test_only_the_rendered_box_counts(data: Dataset, pictures: Pictures) -> None:
    everything = dataclasses.replace(pictures, head=torch.ones_like(pictures.head))
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.49, 0.0], [0.0, 0.51, 0.0], [1.01, 0.0, 0.0]])
    assert head_hull(data, everything, points, AABB).tolist() == [True, True, False, False]


def test_most_views_must_agree(data: Dataset, pictures: Pictures) -> None:
    centre = torch.zeros(1, 3)
    assert head_hull(data, pictures, centre, AABB).all()
    for empty, possible in ((3, True), (20, False), (len(pictures.head), False)):
        head = pictures.head.clone()
        head[:empty] = False
        # A few wrong masks do no harm, many do.
        assert bool(head_hull(data, dataclasses.replace(pictures, head=head), centre, AABB)) is possible
