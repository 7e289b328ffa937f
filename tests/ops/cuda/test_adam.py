"""The fused optimiser against plain torch."""

import math

import pytest
import torch
from torch import Tensor

from r2talker.ops.adam.cuda import PARTS, FlatAdam, Range
from r2talker.ops.adam.reference import update
from tests.ops.cuda.backends import Backend
from tests.tolerances import assert_close

SIZE, STEPS = 1024, 6


def flat(backend: Backend, ranges: list[Range], rates: Tensor | None = None) -> FlatAdam:
    device = backend.device
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(SIZE, generator=generator).to(device)
    zeros = [torch.zeros(SIZE, device=device) for _ in range(3)]
    steps = torch.zeros(1, dtype=torch.int32, device=device)
    rates = torch.full((STEPS + 1,), 1.0) if rates is None else rates
    return FlatAdam(values, *zeros, steps, rates.to(device), ranges, backend.load(PARTS, {}))


def test_every_step_is_the_reference_s_and_pytorch_s(backend: Backend) -> None:
    rates = torch.linspace(1, 0.5, STEPS + 1)
    adam = flat(backend, [Range(0, 512, 1e-2, None, False), Range(512, SIZE, 1e-3, None, False)], rates)
    plain = [t.clone() for t in (adam.values, adam.gradients, adam.means, adam.squares)]
    theirs = torch.nn.Parameter(adam.values[:512].clone())
    optimizer = torch.optim.Adam([theirs], betas=(0.9, 0.99), eps=1e-15)
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        gradient = torch.randn(SIZE, generator=generator).to(backend.device)
        adam.gradients.copy_(gradient)
        adam.update()
        plain[1].copy_(gradient)
        for part, factor in ((slice(0, 512), 1e-2), (slice(512, SIZE), 1e-3)):
            update(*(t[part] for t in plain), step=step, rate=float(rates[step]) * factor)
        theirs.grad = gradient[:512].clone()
        optimizer.param_groups[0]["lr"] = float(rates[step]) * 1e-2
        optimizer.step()
    for ours, reference in zip((adam.values, adam.gradients, adam.means, adam.squares), plain, strict=True):
        assert_close(ours, reference, "optimiser")
    assert_close(adam.values[:512], theirs, "optimiser")
    assert int(adam.steps) == STEPS


def test_sparse_rows_without_a_gradient_stay_and_halves_follow(backend: Backend) -> None:
    half = torch.zeros(256, 4, dtype=torch.float16, device=backend.device)
    adam = flat(backend, [Range(0, SIZE, 1e-2, half, True)])
    adam.refresh_halves()
    before = adam.values.clone()
    adam.means.fill_(1.0)
    adam.gradients[8:12] = torch.tensor([1.0, 0.0, -2.0, 0.0], device=backend.device)
    adam.update()
    changed = (adam.values != before).nonzero().flatten().tolist()
    assert changed == [8, 9, 10, 11]
    assert torch.equal(half, adam.values.view(256, 4).half())
    assert float(adam.gradients.abs().max()) == 0


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_no_number_does_no_harm(backend: Backend, bad: float) -> None:
    adam = flat(backend, [Range(0, SIZE, 1e-2, None, False)])
    before = adam.values.clone()
    adam.gradients[5] = bad
    adam.gradients[6] = 1.0
    adam.update()
    assert torch.equal(adam.values[5], before[5])
    assert float(adam.values[6]) < float(before[6])
    assert bool(torch.isfinite(adam.values).all())


def test_the_average_moves_by_its_share(backend: Backend) -> None:
    adam = flat(backend, [])
    average = torch.zeros(SIZE, device=backend.device)
    adam.average(average, 0.25)
    assert_close(average, adam.values * 0.25, "optimiser")
