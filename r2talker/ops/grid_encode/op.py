"""Public door of the multi-resolution grid encoding."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.grid_encode import bags, reference
from r2talker.ops.grid_encode.layout import GridLayout


def grid_encode(
    x: Float[Tensor, "points dim"],
    table: Float[Tensor, "rows channels"],
    layout: GridLayout,
    *,
    bound: float = 1.0,
    impl: Literal["auto", "reference", "bags"] = "auto",
) -> Float[Tensor, "points features"]:
    """Interpolate every level of a multi-resolution grid at points in [-bound, bound]^dim (upstream.md 3.1).

    x: points in the units of `bound`; a point outside encodes to zeros and passes no gradient to anything.
    table: all levels stacked, `layout.rows` rows of `layout.channels` values, same dtype and device as `x`.
    Returns `layout.features` columns, level-major with the channels inside.

    Gradients: to `table` (corner weights), and to `x` when it requires one (piecewise constant along each axis).
    impl: `reference` (plain gathers, float32 or float64, differentiable twice), `bags` (weighted bags of rows, float32),
    `auto` takes `bags` where it can run.
    Raises ValueError or TypeError when shapes, dtypes or devices do not fit, or when `bags` is asked for and cannot run.
    """
    _check(x, table, layout, bound)
    runs = x.dtype == torch.float32 and bags.supports(layout)
    if impl == "auto":
        impl = "bags" if runs else "reference"
    if impl == "reference":
        return reference.encode(x, table, layout, bound)
    if impl != "bags":
        raise ValueError(f"grid_encode: impl must be 'auto', 'reference' or 'bags', not {impl!r}")
    if not runs:
        raise ValueError(f"grid_encode: impl 'bags' needs float32 and rows that fit int32, got {x.dtype} and {layout}")
    return bags.encode(x, table, layout, bound)


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
