"""Occupancy grids are stored as [cascades, G^3] in Morton order: x in bit 0, y in bit 1, z in bit 2 of every triple."""

from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

_BITS = 10


def morton_encode(coords: Int[Tensor, "*cells 3"]) -> Int[Tensor, "*cells"]:
    """Interleave three coordinates in 0 ... 1023 (upstream.md 5.7); int64."""
    spread = _spread_table(coords.device)
    x, y, z = spread.index_select(0, coords.reshape(-1).long()).view(coords.shape).unbind(-1)
    return x | y << 1 | z << 2


def morton_decode(index: Int[Tensor, "*cells"]) -> Int[Tensor, "*cells 3"]:
    """The inverse of `morton_encode`; int64."""
    index = index.long()
    axes = [sum(((index >> 3 * bit + axis & 1) << bit for bit in range(_BITS)), torch.zeros_like(index)) for axis in range(3)]
    return torch.stack(axes, dim=-1)


@lru_cache(maxsize=8)
def _spread_table(device: torch.device) -> Int[Tensor, " 1024"]:
    values = torch.arange(1 << _BITS, device=device)
    return sum(((values >> bit & 1) << 3 * bit for bit in range(_BITS)), torch.zeros_like(values))


def pack_bits(grid: Float[Tensor, "cascades cells"], threshold: float | Float[Tensor, ""]) -> UInt8[Tensor, " bytes"]:
    """Bit i of byte k says whether cell 8k + i, cascades one after the other, exceeds `threshold` (upstream.md 5.7)."""
    if grid.numel() % 8:
        raise ValueError(f"pack_bits: the number of cells must be a multiple of 8, got {grid.numel()}")
    occupied = (grid > threshold).reshape(-1, 8).to(torch.uint8)
    return (occupied << torch.arange(8, dtype=torch.uint8, device=grid.device)).sum(dim=1, dtype=torch.uint8)


def unpack_bits(bitfield: UInt8[Tensor, " bytes"]) -> Bool[Tensor, " cells"]:
    """Whether each cell is occupied, in the order of the bitfield."""
    return (bitfield[:, None] >> torch.arange(8, dtype=torch.uint8, device=bitfield.device) & 1).bool().reshape(-1)


def dilate(grid: Float[Tensor, "cascades cells"]) -> Float[Tensor, "cascades cells"]:
    """Every cell takes the maximum of itself and its six face neighbours inside the grid (upstream.md 5.8)."""
    side = round(grid.shape[1] ** (1 / 3))
    if side**3 != grid.shape[1]:
        raise ValueError(f"dilate: a cascade must hold G^3 cells, got {grid.shape[1]}")
    morton = _raster_to_morton(side, grid.device)
    raster = grid[:, morton].reshape(-1, side, side, side)
    spread = raster.clone()
    for axis in (1, 2, 3):
        below, above = raster.narrow(axis, 0, side - 1), raster.narrow(axis, 1, side - 1)
        lower, upper = spread.narrow(axis, 0, side - 1), spread.narrow(axis, 1, side - 1)
        torch.maximum(upper, below, out=upper)
        torch.maximum(lower, above, out=lower)
    result = torch.empty_like(grid)
    result[:, morton] = spread.reshape(grid.shape)
    return result


def cell_centres(grid_size: int, *, device: torch.device | str | None = None) -> Float[Tensor, "cells 3"]:
    """2 c / (G - 1) - 1 per axis for every cell in Morton order: the grid's corners at -1 and 1 (upstream.md 5.8).

    A cascade of half size B spans centres of this times B - B / G.
    """
    coords = morton_decode(torch.arange(grid_size**3, device=device))
    return 2 * coords.float() / (grid_size - 1) - 1


@lru_cache(maxsize=4)
def _raster_to_morton(side: int, device: torch.device) -> Int[Tensor, " cells"]:
    axis = torch.arange(side, device=device)
    return morton_encode(torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)).reshape(-1)
