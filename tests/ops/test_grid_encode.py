"""Grid encoding: golden vectors, the fast form against the reference, gradients, laws."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.grid_encode.op import grid_encode
from tests.golden.regenerate import golden, grid_inputs, meta
from tests.tolerances import assert_close

GRIDS = sorted(meta()["grids"])
SMALL = {
    "2d": GridLayout(2, 2, base=4, finest=16, levels=3, log2_table=5),
    "3d": GridLayout(3, 2, base=4, finest=32, levels=4, log2_table=8),
    "odd sizes": GridLayout(3, 3, base=5, finest=7, levels=2, log2_table=12),
    "hash": GridLayout(3, 2, base=4, finest=32, levels=4, log2_table=8, kind="hash"),
}
TINY = {
    "2d": GridLayout(2, 2, base=2, finest=8, levels=3, log2_table=5),
    "3d": GridLayout(3, 1, base=2, finest=6, levels=2, log2_table=5),
    "hash": GridLayout(3, 2, base=2, finest=6, levels=2, log2_table=5, kind="hash"),
}
SIZES = (0, 1, 63, 1000)
IMPLS = ("reference", "bags", "compiled")
FAST = ("bags", "compiled")


def layout_of(name: str) -> GridLayout:
    grid = meta()["grids"][name]
    return GridLayout(
        input_dim=grid["input_dim"],
        channels=grid["level_dim"],
        base=grid["base_resolution"],
        finest=grid["desired_resolution"],
        levels=grid["num_levels"],
        log2_table=grid["log2_hashmap_size"],
        kind=grid["gridtype"],
    )


def run(layout: GridLayout, x: Tensor, table: Tensor, cotangent: Tensor, impl: str) -> tuple[Tensor, Tensor, Tensor]:
    x, table = x.clone().requires_grad_(), table.clone().requires_grad_()
    y = grid_encode(x, table, layout, impl=impl)  # type: ignore[arg-type]
    return (y.detach(), *torch.autograd.grad(y, (x, table), cotangent))


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fills fresh memory with NaN, so that results that are not written show."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", GRIDS)
def test_layout_is_upstreams(name: str) -> None:
    layout, grid = layout_of(name), meta()["grids"][name]
    assert list(layout.offsets) == grid["offsets"]
    assert layout.growth == grid["per_level_scale"]
    assert layout.rows == sum(layout.sizes)


def test_levels_without_third_coordinate() -> None:
    assert [len(strides) for strides in GridLayout(3, 4, base=32).strides] == [3] * 8 + [2] * 8
    assert [len(strides) for strides in GridLayout(3, 2, base=16).strides] == [3] * 9 + [2] * 7


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", GRIDS)
def test_golden(name: str, impl: str) -> None:
    layout, inputs, stored = layout_of(name), grid_inputs(name), golden("ops")
    np.testing.assert_array_equal(inputs.x, stored[f"grid/{name}/x"])
    y, dx, dtable = run(layout, *map(torch.from_numpy, (inputs.x, inputs.table, inputs.grad)), impl)
    fused = torch.addcmul(torch.tensor(0.5), torch.tensor(1 / 3), torch.tensor(1481.00378)).item()
    once = float(np.float32(np.float64(np.float32(1 / 3)) * np.float64(np.float32(1481.00378)) + 0.5))
    exact = impl != "bags" or fused == once
    assert_close(y, stored[f"grid/{name}/y"], "golden grid" if exact else "golden grid, rounded twice")
    rows = np.abs(stored[f"grid/{name}/grad_x"]).max(axis=1, keepdims=True) + 1e-30
    if exact:
        assert_close(dx.numpy() / rows, stored[f"grid/{name}/grad_x"] / rows, "golden grid_x")
    levels = list(zip(layout.offsets[:-1], layout.offsets[1:], strict=True))
    table = dtable.double().numpy()
    squared = [(table[a:b] ** 2).sum() for a, b in levels]
    dot = [(table[a:b] * inputs.probe[a:b]).sum() for a, b in levels]
    assert_close(squared, stored[f"grid/{name}/grad_embedding_sq_per_level"], "golden grid table, squared")
    assert_close(dot, stored[f"grid/{name}/grad_embedding_dot_probe_per_level"], "golden grid table, probe")


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("points", SIZES)
@pytest.mark.parametrize(
    ("impl", "name"), [(impl, name) for impl in FAST for name in SMALL if impl == "bags" or SMALL[name].compiles]
)
def test_fast_forms_equal_reference(impl: str, name: str, points: int) -> None:
    compare_forms(SMALL[name], points, impl)


@pytest.mark.parametrize("impl", FAST)
@pytest.mark.parametrize(("points", "threads"), [(9000, 1), (20000, 2)])
def test_fast_forms_equal_reference_across_chunks(
    points: int, threads: int, impl: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    compare_forms(SMALL["3d"], points, impl)


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_compiled_widths(channels: int) -> None:
    compare_forms(replace(SMALL["3d"], channels=channels), 100, "compiled")


def test_what_compiles() -> None:
    assert {name for name in SMALL if SMALL[name].compiles} == {"2d", "3d", "hash"}
    assert all(layout_of(name).compiles for name in GRIDS)
    with pytest.raises(ValueError, match="'compiled' cannot run"):
        grid_encode(torch.zeros(1, 3), torch.zeros(SMALL["odd sizes"].rows, 3), SMALL["odd sizes"], impl="compiled")


def compare_forms(layout: GridLayout, points: int, impl: str) -> None:
    rng = torch.Generator().manual_seed(points)
    x = torch.rand(points, layout.input_dim, generator=rng) * 2.1 - 1.05
    table = torch.randn(layout.rows, layout.channels, generator=rng)
    cotangent = torch.randn(points, layout.features, generator=rng)
    fast, slow = (run(layout, x, table, cotangent, form) for form in (impl, "reference"))
    assert_close(fast[0], slow[0], "grid bags")
    largest = slow[1].abs().max() if points else 1.0
    assert_close(fast[1] / largest, slow[1] / largest, "grid bags slope")
    assert_close(fast[2], slow[2], "grid bags gradient")


def test_no_gradient_asked_for_gives_the_same_values() -> None:
    layout = SMALL["3d"]
    x, table = torch.rand(50, 3), torch.randn(layout.rows, 2)
    with torch.no_grad():
        assert_close(grid_encode(x, table, layout), grid_encode(x, table.requires_grad_(), layout), "exact")


@pytest.mark.parametrize("name", sorted(TINY))
def test_reference_gradients(name: str) -> None:
    layout = TINY[name]
    rng = torch.Generator().manual_seed(1)
    x = (torch.rand(5, layout.input_dim, generator=rng, dtype=torch.float64) * 1.9 - 0.95).requires_grad_()
    table = torch.randn(layout.rows, layout.channels, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, table: grid_encode(x, table, layout, impl="reference"), (x, table))


@pytest.mark.parametrize("impl", IMPLS)
def test_corners_return_table_rows(impl: str) -> None:
    layout = GridLayout(3, 2, base=32)
    table = torch.randn(layout.rows, 2, generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[1, 1, 1], [3, 7, 30], [31, 31, 31]])
    x = 2 * (cells - 0.5) / layout.scales[0] - 1
    rows = table[cells @ torch.tensor(layout.strides[0])]
    assert_close(grid_encode(x, table, layout, impl=impl)[:, :2], rows, "grid corner")  # type: ignore[arg-type]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("bad", [1.0001, -1.0001, math.inf, math.nan])
def test_points_outside_are_zero_and_pass_no_gradient(impl: str, bad: float) -> None:
    layout = SMALL["3d"]
    x = torch.tensor([[0.1, bad, 0.2], [0.1, 0.3, 0.2]])
    y, dx, dtable = run(layout, x, torch.ones(layout.rows, 2), torch.ones(2, layout.features), impl)
    assert (y[0] == 0).all()
    assert (dx[0] == 0).all()
    assert (y[1] != 0).all()
    assert_close(dtable.sum(), float(layout.features), "grid bags gradient")


@pytest.mark.parametrize("impl", IMPLS)
def test_bound_scales_points(impl: str) -> None:
    layout = SMALL["3d"]
    x, table = torch.rand(40, 3) * 2 - 1, torch.randn(layout.rows, 2)
    wide = grid_encode(4 * x, table, layout, bound=4.0, impl=impl)  # type: ignore[arg-type]
    assert_close(wide, grid_encode(x, table, layout, impl=impl), "grid bags")  # type: ignore[arg-type]


@pytest.mark.parametrize("impl", FAST)
def test_double_is_refused_by_fast_forms_and_served_by_auto(impl: str) -> None:
    layout = SMALL["hash"]
    x, table = torch.rand(4, 3, dtype=torch.float64), torch.randn(layout.rows, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="float64"):
        grid_encode(x, table, layout, impl=impl)  # type: ignore[arg-type]
    assert grid_encode(x, table, layout).dtype == torch.float64


def test_wrong_input_is_named() -> None:
    layout = SMALL["3d"]
    table = torch.zeros(layout.rows, 2)
    with pytest.raises(ValueError, match=r"x must be \[points, 3\]"):
        grid_encode(torch.zeros(4, 2), table, layout)
    with pytest.raises(ValueError, match="table must be"):
        grid_encode(torch.zeros(4, 3), table[1:], layout)
    with pytest.raises(TypeError, match="float32 or float64"):
        grid_encode(torch.zeros(4, 3).half(), table.half(), layout)
    with pytest.raises(ValueError, match="kind"):
        GridLayout(3, 2, base=4, kind="cubic")  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["pos_r2talker", "ambient_radnerf"])
def test_gpu_equals_cpu(name: str) -> None:
    layout, inputs = layout_of(name), grid_inputs(name)
    tensors = [torch.from_numpy(values) for values in (inputs.x, inputs.table, inputs.grad)]
    y, _, dtable = run(layout, *tensors, "bags")
    y_gpu, _, dtable_gpu = run(layout, *(values.cuda() for values in tensors), "bags")
    assert_close(y_gpu, y, "gpu")
    assert_close(dtable_gpu, dtable, "gpu")
