"""Public door of the multi-resolution grid encoding."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.grid_encode import bags, cuda, reference
from r2talker.ops.grid_encode.layout import GridLayout


def grid_encode(
    x: Float[Tensor, "points dim"],
    table: Float[Tensor, "rows channels"],
    layout: GridLayout,
    *,
    bound: float = 1.0,
    impl: Literal["auto", "reference", "bags", "compiled", "cuda"] = "auto",
) -> Float[Tensor, "points features"]:
    """Interpolate every level of a multi-resolution grid at points in [-bound, bound]^dim (upstream.md 3.1).

    x: points in the units of `bound`; a point outside encodes to zeros and passes no gradient to anything.
    table: all levels stacked, `layout.rows` rows of `layout.channels` values, same dtype and device as `x`.
    Returns `layout.features` columns, level-major with the channels inside.

    Gradients: to `table` (corner weights), and to `x` when it requires one (piecewise constant along each axis).
    impl: `reference` (plain gathers, float32 or float64, differentiable twice), `bags` (weighted bags of rows, float32),
    `compiled` (machine code, float32 on a CPU, usual layouts), `cuda` (kernels, float32); `auto` takes the last of them that can run.
    `cuda` adds gradients in any order and cannot run where torch is asked for deterministic algorithms.
    Raises ValueError or TypeError when shapes, dtypes or devices do not fit, or when an `impl` is asked for and cannot run.
    """
    _check(x, table, layout, bound)
    if layout.axes:
        x = x[:, list(layout.axis_order)]
    if impl == "auto":
        impl = next(name for name in ("cuda", "compiled", "bags", "reference") if _runs(name, x, layout))
    if impl not in ("reference", "bags", "compiled", "cuda"):
        raise ValueError(f"grid_encode: impl must be 'auto', 'reference', 'bags', 'compiled' or 'cuda', not {impl!r}")
    if not _runs(impl, x, layout):
        raise ValueError(f"grid_encode: impl {impl!r} cannot run {x.dtype} on {x.device} with {layout}; take 'reference'")
    if impl == "reference":
        return reference.encode(x, table, layout, bound)
    if impl == "bags":
        return bags.encode(x, table, layout, bound)
    if impl == "cuda":
        return cuda.encode(x, table, layout, bound)
    from r2talker.ops.grid_encode import compiled

    return compiled.encode(x, table, layout, bound)


def _runs(impl: str, x: Tensor, layout: GridLayout) -> bool:
    if impl == "reference":
        return True
    if impl == "cuda":
        return x.dtype == torch.float32 and x.device.type == "cuda" and cuda.supports(layout, x.device) and _any_order()
    if impl == "compiled":
        return x.dtype == torch.float32 and x.device.type == "cpu" and layout.compiles
    return x.dtype == torch.float32 and bags.supports(layout)


def _any_order() -> bool:
    """Whether gradients may be added in any order, or none are wanted."""
    return not (torch.are_deterministic_algorithms_enabled() and torch.is_grad_enabled())


def _check(x: Tensor, table: Tensor, layout: GridLayout, bound: float) -> None:
    if x.ndim != 2 or x.shape[1] != layout.input_dim:
        raise ValueError(f"grid_encode: x must be [points, {layout.input_dim}], got {list(x.shape)}")
    if table.shape != (layout.rows, layout.channels):
        raise ValueError(f"grid_encode: table must be [{layout.rows}, {layout.channels}], got {list(table.shape)}")
    if x.dtype != table.dtype or x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"grid_encode: x and table must both be float32 or float64, got {x.dtype} and {table.dtype}")
    if x.device != table.device:
        raise ValueError(f"grid_encode: x is on {x.device} but the table is on {table.device}; move one of them")
    if not bound > 0:
        raise ValueError(f"grid_encode: bound must be positive, got {bound}")
