"""What compiled kernels are built from: dense layers of sample blocks, threads."""

import numpy as np
import pytest
import torch

from r2talker.ops.jit import SAMPLES, compiled, dense
from r2talker.ops.threads import share_out
from tests.tolerances import assert_close

ROWS = {2: (0,) * 2, 4: (0,) * 4, 8: (0,) * 8}


@compiled
def layer(weights, bias, x, y, floor, rows):  # type: ignore[no-untyped-def]
    dense(weights, bias, x, y, floor, rows)


@pytest.mark.parametrize("depth", [0, 1, 7, 64])
@pytest.mark.parametrize("at_once", ROWS)
def test_dense_is_a_matrix_product(at_once: int, depth: int) -> None:
    rng = np.random.default_rng(depth)
    height = 3 * at_once
    weights, bias, x = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((height, depth), (height, SAMPLES), (depth, SAMPLES))
    )
    for floor in (-np.inf, 0.0):
        y = np.full((height, SAMPLES), np.nan, np.float32)
        layer(weights, bias, x, y, np.float32(floor), ROWS[at_once])
        assert_close(y, np.maximum(bias + weights.astype(np.float64) @ x, floor), "dense")


def test_code_is_kept_on_disk() -> None:
    assert layer._cache.cache_path  # type: ignore[attr-defined]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("total", [0, 1, 63, 1000])
def test_every_part_is_worked_once(total: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    worked = np.zeros(total, np.int64)
    parts: list[int] = []

    def work(start: int, stop: int) -> None:
        worked[start:stop] += 1
        parts.append(stop - start)

    share_out(work, total, grain=100)
    assert (worked == 1).all()
    assert len(parts) == max(1, min(threads, total // 100))


def test_an_error_in_a_part_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def work(start: int, stop: int) -> None:
        if start:
            raise ValueError("second part")

    with pytest.raises(ValueError, match="second part"):
        share_out(work, 10, grain=1)
