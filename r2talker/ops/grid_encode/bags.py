"""Grid encoding as weighted bags of table rows.

A point's value at one level is a weighted sum of the rows at its cell's corners: a bag for `embedding_bag`, whose transpose
(the gradient of the table) is a sparse matrix product on a CPU and an `index_add_` elsewhere. Levels whose index ignores a
coordinate sum over that coordinate's corners, so its weights (which add up to one) and half of the corners drop out.

Levels that hash mix the multiples of primes of all coordinates; their bags have every corner.

Corner rows and weights are computed for a chunk of points at all levels of equal kind at once, small enough to stay in the
cache until the bags are summed, and kept for the backward pass.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32
from scipy.sparse import csc_array
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from r2talker.ops.grid_encode.layout import PRIMES, GridLayout
from r2talker.ops.grid_encode.reference import to_unit_cube

# Points per chunk on a CPU: with 8 levels of 8 corners, rows and weights take 2 MB each.
_CHUNK = 8192
# The primes as int32, whose products wrap as those of uint32 do.
_PRIMES = tuple(prime - (1 << 32 if prime >= 1 << 31 else 0) for prime in PRIMES)
# Below this many points the levels' transposed products are too short to be worth threads.
_THREADS_FROM = 2048


def supports(layout: GridLayout) -> bool:
    """Whether corner rows can be computed in int32: unwrapped where tiled, in tables of a power of two where hashed."""
    levels = range(layout.levels)
    highest = max((sum(layout.strides[k]) * layout.resolutions[k] for k in levels if not layout.hashed(k)), default=0)
    powers = all(layout.sizes[k] & (layout.sizes[k] - 1) == 0 for k in levels if layout.hashed(k))
    return highest < 1 << 31 and powers


def encode(
    x: Float32[Tensor, "points dim"], table: Float32[Tensor, "rows channels"], layout: GridLayout, bound: float
) -> Float32[Tensor, "points features"]:
    """Encode `x`; see `r2talker.ops.grid_encode.op.grid_encode`."""
    keep = torch.is_grad_enabled() and table.requires_grad
    encoded: Tensor = _GridEncode.apply(x, table, layout, bound, keep)
    return encoded


@dataclass(frozen=True)
class _Group:
    """Neighbouring levels whose rows are found alike, as tensors that broadcast over points.

    Tiled levels of a group use the same number of coordinates, each with its stride; hashed levels use all, and have no strides.
    """

    first: int
    last: int
    scales: Float32[Tensor, "levels 1"]
    dims: int
    strides: tuple[Int32[Tensor, "levels 1"], ...]
    corners: Int32[Tensor, "levels 1 corners"]
    # What brings a row back into its level: a bit mask where every wrapping level's size is a power of two, else the sizes.
    masks: Int32[Tensor, "levels 1 1"] | None
    sizes: Int32[Tensor, "levels 1 1"] | None

    @property
    def levels(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class _Bags:
    """Corner rows (counted inside their level) and weights of a group's levels."""

    rows: Int32[Tensor, "levels points corners"]
    weights: Float32[Tensor, "levels points corners"]

    def points(self, part: slice) -> "_Bags":
        return _Bags(self.rows[:, part], self.weights[:, part])


@lru_cache(maxsize=32)
def _groups(layout: GridLayout, device: torch.device) -> tuple[_Group, ...]:
    kinds = [(layout.hashed(level), len(layout.strides[level])) for level in range(layout.levels)]
    starts = [level for level in range(layout.levels) if level == 0 or kinds[level] != kinds[level - 1]]
    ends = [*starts[1:], layout.levels]
    return tuple(_group(layout, first, last, device) for first, last in zip(starts, ends, strict=True))


def _group(layout: GridLayout, first: int, last: int, device: torch.device) -> _Group:
    def put(values: "np.ndarray[Any, Any]", *shape: int) -> Tensor:
        return torch.as_tensor(values.astype(np.int32), device=device).view(*shape)

    scales = torch.tensor(layout.scales[first:last], dtype=torch.float32, device=device)[:, None]
    if layout.hashed(first):
        masks = put(np.array(layout.sizes[first:last]) - 1, -1, 1, 1)
        nothing = torch.empty(0, dtype=torch.int32, device=device)
        return _Group(first, last, scales, layout.input_dim, (), nothing, masks, None)
    strides = np.array(layout.strides[first:last], dtype=np.int64)
    sizes = np.array(layout.sizes[first:last], dtype=np.int64)
    wraps = strides.sum(axis=1) * np.array(layout.resolutions[first:last]) >= sizes
    masked = bool(np.all((sizes & (sizes - 1))[wraps] == 0))
    bits = np.arange(1 << strides.shape[1])[None, :] >> np.arange(strides.shape[1])[:, None] & 1
    return _Group(
        first=first,
        last=last,
        scales=scales,
        dims=strides.shape[1],
        strides=tuple(put(column, -1, 1) for column in strides.T),
        corners=put(strides @ bits, last - first, 1, -1),
        masks=put(np.where(wraps, sizes - 1, -1), -1, 1, 1) if masked and wraps.any() else None,
        sizes=put(sizes, -1, 1, 1) if not masked else None,
    )


def _empty_bags(group: _Group, points: int, device: torch.device) -> _Bags:
    shape = (group.levels, points, 1 << group.dims)
    return _Bags(torch.empty(shape, dtype=torch.int32, device=device), torch.empty(shape, device=device))


def _locate(group: _Group, u: Float32[Tensor, "dim points"], rows: Int32[Tensor, "levels points corners"]) -> list[Tensor]:
    """Write the corner rows and return the fractions [levels, points] of the coordinates that the index uses."""
    half = torch.full((), 0.5, device=u.device)
    cells, fractions = [], []
    for d in range(group.dims):
        # addcmul rounds once where the hardware multiplies and adds in one step, as upstream does.
        position = torch.addcmul(half, u[d], group.scales)
        cell = position.floor()
        fractions.append(position.sub_(cell))
        cells.append(cell.int())
    if group.strides:
        first_corner = cells[0]
        for along, stride in zip(cells[1:], group.strides[1:], strict=True):
            first_corner = torch.addcmul(first_corner, along, stride)
        torch.add(first_corner[:, :, None], group.corners, out=rows)
    else:
        _mix(cells, rows)
    if group.masks is not None:
        rows.bitwise_and_(group.masks)
    if group.sizes is not None:
        rows.remainder_(group.sizes)
    return fractions


def _mix(cells: list[Tensor], rows: Int32[Tensor, "levels points corners"]) -> None:
    """XOR of the corners' coordinates times one prime each, wrapping at 32 bits (upstream.md 3.1)."""
    mixed: list[Tensor] = []
    for cell, prime in zip(cells, _PRIMES, strict=False):
        lower = cell * prime
        upper = lower + prime
        mixed = [m ^ factor for factor in (lower, upper) for m in mixed] if mixed else [lower, upper]
    torch.stack(mixed, dim=-1, out=rows)


def _corner_weights(fractions: list[Tensor], derivative: int | None = None) -> list[Tensor]:
    """Products over the coordinates of (1 - f, f), or of (-1, 1) along `derivative`; bit d of the corner picks d's factor."""
    weights: list[Tensor] = []
    for d, fraction in enumerate(fractions):
        upper = torch.ones_like(fraction) if d == derivative else fraction
        lower = -upper if d == derivative else 1 - fraction
        weights = [w * factor for factor in (lower, upper) for w in weights] if weights else [lower, upper]
    return weights


def _sum_bags(
    bags: _Bags, table: Float32[Tensor, "rows channels"], layout: GridLayout, group: _Group
) -> Iterator[tuple[int, Float32[Tensor, "points channels"]]]:
    """Each level's number and its sums of table rows."""
    for k, level in enumerate(range(group.first, group.last)):
        part = table[layout.offsets[level] : layout.offsets[level + 1]]
        yield level, embedding_bag(bags.rows[k], part, mode="sum", per_sample_weights=bags.weights[k])


def _chunks(points: int, device: torch.device) -> list[slice]:
    size = _CHUNK if device.type == "cpu" else max(points, 1)
    return [slice(start, min(start + size, points)) for start in range(0, points, size)]


class _GridEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, layout: GridLayout, bound: float, keep: bool) -> Tensor:
        u, outside = _unit_coordinates(x, bound)
        table = table.contiguous()
        encoded = torch.empty(x.shape[0], layout.levels, layout.channels, device=x.device)
        kept: list[Tensor] = []
        for group in _groups(layout, x.device):
            chunks = _chunks(x.shape[0], x.device)
            every = _empty_bags(group, x.shape[0] if keep else max((c.stop - c.start for c in chunks), default=0), x.device)
            for chunk in chunks:
                bags = every.points(chunk if keep else slice(0, chunk.stop - chunk.start))
                torch.stack(_corner_weights(_locate(group, u[:, chunk], bags.rows)), dim=-1, out=bags.weights)
                for level, sums in _sum_bags(bags, table, layout, group):
                    encoded[chunk, level] = sums
            kept += [every.rows, every.weights] if keep else []
        encoded = encoded.view(x.shape[0], layout.features)
        ctx.save_for_backward(u, outside, table, *kept)
        ctx.layout, ctx.bound = layout, bound
        return encoded if outside is None else encoded.masked_fill_(outside[:, None], 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        u, outside, table, *kept = ctx.saved_tensors
        layout: GridLayout = ctx.layout
        if outside is not None:
            grad = grad.masked_fill(outside[:, None], 0.0)
        by_level = grad.reshape(-1, layout.levels, layout.channels).transpose(0, 1).contiguous()
        grad_x = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_x = _grad_coordinates(u, table, layout, by_level).t() / (2 * ctx.bound)
        if ctx.needs_input_grad[1]:
            groups = _groups(layout, grad.device)
            bags = [_Bags(rows, weights) for rows, weights in zip(kept[::2], kept[1::2], strict=True)]
            spread = _spread_cpu if grad.device.type == "cpu" else _spread
            grad_table = spread(groups, bags, by_level, layout)
        return grad_x, grad_table, None, None, None


def _unit_coordinates(x: Tensor, bound: float) -> tuple[Float32[Tensor, "dim points"], Bool[Tensor, " points"] | None]:
    """Coordinates in [0, 1] and which points lie outside; None when it is cheap to know that none does."""
    u, inside = to_unit_cube(x, bound)
    everywhere = x.device.type == "cpu" and bool(inside.all())
    return u.t().contiguous(), None if everywhere else ~inside


def _grad_coordinates(
    u: Float32[Tensor, "dim points"],
    table: Float32[Tensor, "rows channels"],
    layout: GridLayout,
    grad: Float32[Tensor, "levels points channels"],
) -> Float32[Tensor, "dim points"]:
    """Gradient with respect to unit coordinates: bags weighted with the derivatives of the corner weights."""
    result = torch.zeros_like(u)
    for group in _groups(layout, u.device):
        for chunk in _chunks(u.shape[1], u.device):
            bags = _empty_bags(group, chunk.stop - chunk.start, u.device)
            fractions = _locate(group, u[:, chunk], bags.rows)
            for d in range(group.dims):
                torch.stack(_corner_weights(fractions, d), dim=-1, out=bags.weights)
                for level, slopes in _sum_bags(bags, table, layout, group):
                    result[d, chunk] += (slopes * grad[level, chunk]).sum(dim=1) * layout.scales[level]
    return result


def _spread_cpu(
    groups: tuple[_Group, ...],
    bags: list[_Bags],
    grad: Float32[Tensor, "levels points channels"],
    layout: GridLayout,
) -> Float32[Tensor, "rows channels"]:
    """The bags' transpose: each level is a sparse matrix whose columns are the points' bags, times the gradient."""
    points = grad.shape[1]
    result = torch.empty(layout.rows, layout.channels)

    def spread_level(group: _Group, of: _Bags, level: int) -> None:
        corners = 1 << group.dims
        columns = np.arange(0, points * corners + 1, corners, dtype=np.int32 if points * corners < 1 << 31 else np.int64)
        data = of.weights[level - group.first].reshape(-1).numpy()
        rows = of.rows[level - group.first].reshape(-1).numpy()
        matrix = csc_array((data, rows, columns), shape=(layout.sizes[level], points))
        # The product of a sparse array of 32-bit floats and a matrix of such stays in 32 bits and lets go of the interpreter.
        result[layout.offsets[level] : layout.offsets[level + 1]] = torch.from_numpy(matrix @ grad[level].numpy())

    jobs = [(group, of, level) for group, of in zip(groups, bags, strict=True) for level in range(group.first, group.last)]
    if points < _THREADS_FROM or torch.get_num_threads() == 1:
        for job in jobs:
            spread_level(*job)
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(lambda job: spread_level(*job), jobs))
    return result


def _spread(
    groups: tuple[_Group, ...],
    bags: list[_Bags],
    grad: Float32[Tensor, "levels points channels"],
    layout: GridLayout,
) -> Float32[Tensor, "rows channels"]:
    """The bags' transpose where `index_add_` is fast."""
    result = torch.zeros(layout.rows, layout.channels, device=grad.device)
    for group, of in zip(groups, bags, strict=True):
        for k, level in enumerate(range(group.first, group.last)):
            values = of.weights[k][:, :, None] * grad[level][:, None, :]
            part = result[layout.offsets[level] : layout.offsets[level + 1]]
            part.index_add_(0, of.rows[k].view(-1), values.view(-1, layout.channels))
    return result
