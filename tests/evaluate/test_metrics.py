"""Picture metrics on cases worked out by hand."""

import math

import pytest
import torch

from r2talker.evaluate.metrics import psnr


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
