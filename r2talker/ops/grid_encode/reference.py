"""Grid encoding, one gather per corner of each cell; gradients are left to autograd."""

from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from r2talker.ops.grid_encode.layout import PRIMES, GridLayout

_UINT32 = 0xFFFFFFFF


def encode(
    x: Float[Tensor, "points dim"], table: Float[Tensor, "rows channels"], layout: GridLayout, bound: float
) -> Float[Tensor, "points features"]:
    """Encode `x` in the precision of `x`; see `r2talker.ops.grid_encode.op.grid_encode`."""
    u, inside = to_unit_cube(x, bound)
    columns = [_encode_level(u, table, layout, level) for level in range(layout.levels)]
    return torch.where(inside[:, None], torch.cat(columns, dim=1), torch.zeros((), dtype=table.dtype, device=table.device))


def to_unit_cube(x: Float[Tensor, "points dim"], bound: float) -> tuple[Float[Tensor, "points dim"], Bool[Tensor, " points"]]:
    """Map [-bound, bound] to [0, 1]; points outside (or NaN) are moved to the corner 0 and reported."""
    u = (x + bound) / (2 * bound)
    inside = ((u >= 0) & (u <= 1)).all(dim=1)
    return torch.where(inside[:, None], u, torch.zeros((), dtype=u.dtype, device=u.device)), inside


def _encode_level(
    u: Float[Tensor, "points dim"], table: Float[Tensor, "rows channels"], layout: GridLayout, level: int
) -> Float[Tensor, "points channels"]:
    # Upstream rounds once (fused multiply-add); in double the product is exact, so one rounding remains.
    position = (u.double() * layout.scales[level] + 0.5).to(u.dtype)
    cell = position.detach().floor()
    fraction = position - cell
    cell = cell.long()
    result = torch.zeros(u.shape[0], layout.channels, dtype=table.dtype, device=table.device)
    for corner in product((0, 1), repeat=layout.input_dim):
        step = torch.tensor(corner, device=u.device)
        weight = torch.where(step.bool(), fraction, 1 - fraction).prod(dim=1, keepdim=True)
        result = result + weight * table[layout.offsets[level] + _row(cell + step, layout, level)]
    return result


def _row(corner: Int[Tensor, "points dim"], layout: GridLayout, level: int) -> Int[Tensor, " points"]:
    """Row of a lattice corner inside its level; all arithmetic is modulo 2^32 as upstream's."""
    row = torch.zeros_like(corner[:, 0])
    if layout.hashed(level):
        for d in range(layout.input_dim):
            row = row ^ (corner[:, d] * PRIMES[d] & _UINT32)
    else:
        for d, stride in enumerate(layout.strides[level]):
            row = row + corner[:, d] * stride & _UINT32
    return row % layout.sizes[level]
