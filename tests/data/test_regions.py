"""Rectangles from landmarks and masks, on cases worked out by hand."""

import pytest
import torch

from r2talker.data.regions import Region, clipped, face_region, lips_region, mask_region, padded_region

SIZE = 100


@pytest.fixture
def points() -> torch.Tensor:
    """Landmarks (x, y) with everything at (50, 50) but what a test moves."""
    return torch.full((68, 2), 50.0)


def test_whole_pixels_inside_the_picture() -> None:
    assert clipped(10.9, 20.9, 30.2, 40.8, SIZE) == Region(10, 20, 30, 40)
    assert clipped(-5, 200, -0.5, 100.5, SIZE) == Region(0, 100, 0, 100)


@pytest.mark.parametrize(("top", "bottom"), [(30, 30), (40, 10), (150, 300), (-300, -150), (99.5, 99.9)])
def test_never_empty(top: float, bottom: float) -> None:
    for region in (clipped(top, bottom, 0, SIZE, SIZE), clipped(0, SIZE, top, bottom, SIZE)):
        assert region.area >= 1
        assert 0 <= region.top < region.bottom <= SIZE
        assert 0 <= region.left < region.right <= SIZE


def test_area_and_membership() -> None:
    region = Region(top=2, bottom=5, left=10, right=14)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    inside = region.contains(rows, columns)
    assert region.area == 12 == int(inside.sum())
    assert inside[2:5, 10:14].all()


def test_the_face_reaches_from_the_nostrils_to_the_chin(points: torch.Tensor) -> None:
    points[31:36, 1] = torch.tensor([44.0, 43.0, 42.0, 43.0, 44.0])
    points[8] = torch.tensor([50.0, 80.0])
    points[0, 0], points[16, 0] = 20.0, 75.0
    points[24, 1] = 5.0  # a brow, above the nostrils
    assert face_region(points, SIZE) == Region(top=42, bottom=80, left=20, right=75)


def test_the_lips_get_a_square_of_their_longer_side(points: torch.Tensor) -> None:
    points[48], points[54] = torch.tensor([40.0, 60.0]), torch.tensor([60.0, 60.0])
    points[51], points[57] = torch.tensor([50.0, 57.0]), torch.tensor([50.0, 65.0])
    points[49:51] = points[52:54] = points[55:57] = points[58:60] = torch.tensor([50.0, 60.0])
    points[60:] = torch.tensor([0.0, 0.0])  # the inner lips do not count
    assert lips_region(points, SIZE) == Region(top=51, bottom=71, left=40, right=60)


def test_padding_is_a_share_of_the_longer_side() -> None:
    corners = torch.tensor([[20.0, 50.0], [60.0, 60.0]])
    assert padded_region(corners, 0.25, SIZE) == Region(top=40, bottom=70, left=10, right=70)
    assert padded_region(corners, 10.0, SIZE) == Region(0, SIZE, 0, SIZE)


def test_the_box_of_a_mask() -> None:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    assert mask_region(mask, 3) == Region(0, SIZE, 0, SIZE)
    mask[40, 70], mask[45, 98] = True, True
    assert mask_region(mask, 0) == Region(top=40, bottom=46, left=70, right=99)
    assert mask_region(mask, 3) == Region(top=37, bottom=49, left=67, right=SIZE)
