"""Spherical harmonics, frequencies, truncated exponential."""

import math

import pytest
import torch

from r2talker.ops.freq_encode.op import freq_encode
from r2talker.ops.sh_encode.op import sh_encode
from r2talker.ops.trunc_exp.op import trunc_exp
from tests.golden.regenerate import golden
from tests.tolerances import assert_close


def test_sh_golden() -> None:
    assert_close(sh_encode(torch.from_numpy(golden("ops")["sh4/d"])), golden("ops")["sh4/y"], "golden sh")


@pytest.mark.parametrize(("name", "octaves"), [("freq_2d_10", 10), ("freq_6d_4", 4)])
def test_freq_golden(name: str, octaves: int) -> None:
    encoded = freq_encode(torch.from_numpy(golden("ops")[f"{name}/x"]), octaves)
    assert_close(encoded, golden("ops")[f"{name}/y"], f"golden {name}")


def test_gradients() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(sh_encode, (x,))
    assert torch.autograd.gradcheck(lambda x: freq_encode(x, 4), (x,))
    assert torch.autograd.gradcheck(trunc_exp, (x,))


@pytest.mark.parametrize("points", [0, 1, 63])
def test_shapes(points: int) -> None:
    assert sh_encode(torch.zeros(points, 3)).shape == (points, 16)
    assert freq_encode(torch.zeros(points, 2), 10).shape == (points, 42)


def test_harmonics_are_orthonormal() -> None:
    normal = torch.randn(200_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = sh_encode(normal / normal.norm(dim=1, keepdim=True))
    overlap = 4 * math.pi * y.T @ y / len(y)
    assert (overlap - torch.eye(16, dtype=torch.float64)).abs().max() < 5 / math.sqrt(len(y)) * 4


def test_truncated_exponential_keeps_gradients_finite() -> None:
    x = torch.tensor([-1000.0, -3.0, 0.0, 15.0, 80.0], requires_grad=True)
    y = trunc_exp(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert_close(y, torch.tensor([0.0, math.exp(-3), 1.0, math.exp(15), math.exp(80)]), "geometry")
    assert_close(slope, torch.tensor([math.exp(-15), math.exp(-3), 1.0, math.exp(15), math.exp(15)]), "geometry")


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="sh_encode"):
        sh_encode(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="freq_encode"):
        freq_encode(torch.zeros(4), 2)
