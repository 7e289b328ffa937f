"""Picture metrics on cases worked out by hand."""

import math

import pytest
import torch

from r2talker.evaluate.metrics import mouth_distance, psnr


def test_psnr_of_a_constant_error() -> None:
    truth = torch.full((4, 5, 3), 0.5)
    assert psnr(truth + 0.1, truth) == pytest.approx(20, abs=1e-4)
    assert psnr(truth - 0.01, truth) == pytest.approx(40, abs=1e-3)


def test_psnr_of_one_wrong_value_of_sixty() -> None:
    truth = torch.zeros(4, 5, 3)
    wrong = truth.clone()
    wrong[1, 2, 0] = 1.0
    assert psnr(wrong, truth) == pytest.approx(10 * math.log10(60), abs=1e-4)


def test_psnr_of_equal_pictures_is_infinite() -> None:
    assert psnr(torch.ones(2, 2, 3), torch.ones(2, 2, 3)) == math.inf


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(68, 2, generator=torch.Generator().manual_seed(0)) * 100


def test_where_the_mouth_is_does_not_count(points: torch.Tensor) -> None:
    assert mouth_distance(points + torch.tensor([3.0, -4.0]), points) == pytest.approx(0, abs=1e-4)


def test_only_the_mouth_counts(points: torch.Tensor) -> None:
    other = points.clone()
    other[:48] += 30
    assert mouth_distance(other, points) == 0


def test_how_far_the_lips_are_apart_counts(points: torch.Tensor) -> None:
    opened = points.clone()
    opened[48:58, 1] += 2
    opened[58:68, 1] -= 2
    assert mouth_distance(opened, points) == pytest.approx(2, abs=1e-4)
    one = points.clone()
    one[60] += torch.tensor([6.0, 8.0])
    # One point off by 10; the mean moves by half a pixel, which all nineteen others feel.
    assert mouth_distance(one, points) == pytest.approx((9.5 + 19 * 0.5) / 20, abs=1e-4)
