"""Summaries of repeats, and ratios to ceilings."""

import time

import pytest
import torch

from benchmarks.ceilings import Ceilings, measure_ceilings
from benchmarks.timing import WARM_UP, first_call, measure, peak_memory, summarise

CPU = torch.device("cpu")


def test_summary_of_twenty_one() -> None:
    timing = summarise([float(number) for number in reversed(range(21))])
    assert (timing.median, timing.p95, timing.least) == (10.0, 19.0, 0.0)


def test_p95_lies_between_its_neighbours() -> None:
    assert summarise([1.0, 2.0]).p95 == pytest.approx(1.95)
    assert summarise([3.0]).p95 == 3.0


def test_nothing_has_no_summary() -> None:
    with pytest.raises(ValueError, match="nothing to summarise"):
        summarise([])


@pytest.mark.parametrize(("repeats", "calls"), [(1, 2), (3, 6), (20, 20 + WARM_UP)])
def test_warm_up_is_not_timed(repeats: int, calls: int) -> None:
    made = []

    def work() -> None:
        made.append(1)
        # The first call is slow, as those that compile are.
        time.sleep(0.2 if len(made) == 1 else 0.001)

    timing = measure(work, CPU, repeats=repeats)
    assert len(made) == calls
    assert 0.001 <= timing.least <= timing.median <= timing.p95 < 0.2


def test_first_call_waits() -> None:
    assert first_call(lambda: time.sleep(0.02), CPU) >= 0.02


def test_peak_memory_of_a_process() -> None:
    before = peak_memory(lambda: None, CPU)
    assert peak_memory(lambda: torch.ones(1 << 28), CPU) >= before > 1 << 24


def test_shares_of_ceilings() -> None:
    ceilings = Ceilings(copy=1e12, matrix={"fp16": 2e14, "bf16": 4e14})
    assert ceilings.best_matrix == 4e14
    assert ceilings.share_of_copy(5e8, 1e-3) == pytest.approx(0.5)
    assert ceilings.share_of_matrix(1e11, 1e-3) == pytest.approx(0.25)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_ceilings_are_those_of_a_machine(device: str) -> None:
    """Between a slow memory card and ten times the fastest of today."""
    ceilings = measure_ceilings(torch.device(device), repeats=1)
    assert 1e8 < ceilings.copy < 1e14
    assert all(1e8 < rate < 1e17 for rate in ceilings.matrix.values())
    assert set(ceilings.matrix) == ({"fp32"} if device == "cpu" else {"fp16", "bf16"})
