"""Grid encoding as machine code for the CPU: a point's corners are found, read and summed in registers, level by level.

The backward pass finds the corners again instead of keeping them; each thread owns whole levels of the table's gradient.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from r2talker.ops.grid_encode.layout import PRIMES, GridLayout
from r2talker.ops.jit import clear_row, compiled, spread_rows, weighted_rows
from r2talker.ops.threads import share_out

# Points per part: fewer are not worth a second thread. A block is encoded level by level, so that a level's table stays cached.
_GRAIN, _BLOCK = 1024, 8192


class Levels(NamedTuple):
    """Per level: cells per unit, row step of the second and third coordinate, bits of a row, first row, kind, length."""

    scales: "np.ndarray[Any, Any]"
    steps: "np.ndarray[Any, Any]"
    masks: "np.ndarray[Any, Any]"
    offsets: "np.ndarray[Any, Any]"
    hashed: "np.ndarray[Any, Any]"
    dims: "np.ndarray[Any, Any]"


@lru_cache(maxsize=32)
def layout_levels(layout: GridLayout) -> Levels:
    """What the kernels need to know of a layout that compiles."""
    levels = range(layout.levels)
    steps = [PRIMES[1:3] if layout.hashed(k) else (*layout.strides[k][1:], 0)[:2] for k in levels]
    return Levels(
        scales=np.array(layout.scales, np.float64),
        steps=np.array(steps, np.uint32),
        masks=np.array([layout.row_mask(k) for k in levels], np.uint32),
        offsets=np.array(layout.offsets, np.uint64),
        hashed=np.array([layout.hashed(k) for k in levels]),
        dims=np.array([layout.input_dim if layout.hashed(k) else len(layout.strides[k]) for k in levels], np.int64),
    )


def encode(
    x: Float32[Tensor, "points dim"], table: Float32[Tensor, "rows channels"], layout: GridLayout, bound: float
) -> Float32[Tensor, "points features"]:
    """Encode `x`; see `r2talker.ops.grid_encode.op.grid_encode`."""
    encoded: Tensor = _GridEncode.apply(x, table, layout, bound)
    return encoded


class _GridEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, layout: GridLayout, bound: float) -> Tensor:
        x, table = x.detach().contiguous(), table.detach().contiguous()
        encoded = torch.empty(len(x), layout.features)
        points, rows, out = x.numpy(), table.numpy(), encoded.numpy()
        levels, width = layout_levels(layout), (0,) * layout.channels

        def part(start: int, stop: int) -> None:
            encode_points(points, np.float32(bound), rows, levels, out, start, stop, width)

        share_out(part, len(x), grain=_GRAIN)
        ctx.save_for_backward(x, table)
        ctx.layout, ctx.bound = layout, bound
        return encoded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, table = ctx.saved_tensors
        layout: GridLayout = ctx.layout
        points, rows, upstream = x.numpy(), table.numpy(), grad.reshape(-1, layout.channels).contiguous().numpy()
        bound, levels, width = np.float32(ctx.bound), layout_levels(layout), (0,) * layout.channels
        grad_x = grad_table = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x)
            slopes = grad_x.numpy()
            share_out(lambda a, b: _slope(points, bound, rows, levels, upstream, slopes, a, b, width), len(x), grain=_GRAIN)
        if ctx.needs_input_grad[1]:
            grad_table = torch.empty(layout.rows, layout.channels)
            into = grad_table.numpy()
            share_out(lambda a, b: _spread(points, bound, into, levels, upstream, a, b, width), layout.levels, grain=1)
        return grad_x, grad_table, None, None


@compiled
def _unit_cube(
    points: Any, bound: Any, start: int, stop: int
) -> Any:  # [-bound, bound] to [0, 1]; x is -1 where outside or NaN
    unit = np.empty((stop - start, 3), np.float32)
    for i in range(stop - start):
        inside = True
        for d in range(points.shape[1]):
            u = (points[start + i, d] + bound) / (np.float32(2) * bound)
            inside = inside and u >= 0 and u <= 1
            unit[i, d] = u
        if not inside:
            unit[i, 0] = -1
    return unit


@compiled
def _along(u: Any, scale: Any) -> Any:  # lower corner and fraction; rounded once, as upstream's fused multiply-add
    position = np.float32(np.float64(u) * scale + 0.5)
    cell = np.uint32(position)
    return cell, position - np.float32(cell)


@compiled
def _join(a: Any, b: Any, hashed: Any) -> Any:
    return np.uint32(a ^ b) if hashed else np.uint32(a + b)


@compiled
def _corners2(x: Any, y: Any, step: Any, mask: Any, offset: Any) -> Any:
    one = np.float32(1)
    (cx, fx), (cy, fy) = x, y
    x0, x1 = cx, np.uint32(cx + np.uint32(1))
    y0 = np.uint32(cy * step)
    y1 = np.uint32(y0 + step)
    rows = (
        offset + np.uint64(np.uint32(x0 + y0) & mask),
        offset + np.uint64(np.uint32(x1 + y0) & mask),
        offset + np.uint64(np.uint32(x0 + y1) & mask),
        offset + np.uint64(np.uint32(x1 + y1) & mask),
    )
    return rows, ((one - fx) * (one - fy), fx * (one - fy), (one - fx) * fy, fx * fy)


@compiled
def _corners3(x: Any, y: Any, z: Any, steps: Any, mask: Any, offset: Any, hashed: Any) -> Any:
    one = np.float32(1)
    (cx, fx), (cy, fy), (cz, fz) = x, y, z
    x0, x1 = cx, np.uint32(cx + np.uint32(1))
    y0, z0 = np.uint32(cy * steps[0]), np.uint32(cz * steps[1])
    y1, z1 = np.uint32(y0 + steps[0]), np.uint32(z0 + steps[1])
    a, b, c, d = _join(x0, y0, hashed), _join(x1, y0, hashed), _join(x0, y1, hashed), _join(x1, y1, hashed)
    rows = (
        offset + np.uint64(_join(a, z0, hashed) & mask),
        offset + np.uint64(_join(b, z0, hashed) & mask),
        offset + np.uint64(_join(c, z0, hashed) & mask),
        offset + np.uint64(_join(d, z0, hashed) & mask),
        offset + np.uint64(_join(a, z1, hashed) & mask),
        offset + np.uint64(_join(b, z1, hashed) & mask),
        offset + np.uint64(_join(c, z1, hashed) & mask),
        offset + np.uint64(_join(d, z1, hashed) & mask),
    )
    gx, gy, gz = one - fx, one - fy, one - fz
    p, q, r, s = gx * gy, fx * gy, gx * fy, fx * fy
    return rows, (p * gz, q * gz, r * gz, s * gz, p * fz, q * fz, r * fz, s * fz)


@compiled
def encode_points(points: Any, bound: Any, table: Any, levels: Any, out: Any, start: int, stop: int, width: Any) -> None:
    """out[start:stop] = encoded points[start:stop]; width: a tuple as long as a row has channels."""
    count = np.uint64(len(levels.scales))
    for first in range(start, stop, _BLOCK):
        unit = _unit_cube(points, bound, first, min(first + _BLOCK, stop))
        for level in range(len(levels.scales)):
            scale, mask, offset = levels.scales[level], levels.masks[level], levels.offsets[level]
            step, second = levels.steps[level, 0], levels.steps[level, 1]
            dims, hashed = levels.dims[level], levels.hashed[level]
            for i in range(len(unit)):
                place = np.uint64(first + i) * count + np.uint64(level)
                if unit[i, 0] < 0:
                    clear_row(out, place, width)
                    continue
                x, y = _along(unit[i, 0], scale), _along(unit[i, 1], scale)
                if dims == 2:
                    rows, weights = _corners2(x, y, step, mask, offset)
                    weighted_rows(table, rows, weights, out, place, width)
                else:
                    corners, shares = _corners3(x, y, _along(unit[i, 2], scale), (step, second), mask, offset, hashed)
                    weighted_rows(table, corners, shares, out, place, width)


@compiled
def _spread(points: Any, bound: Any, into: Any, levels: Any, grad: Any, start: int, stop: int, width: Any) -> None:
    count = np.uint64(len(levels.scales))
    unit = _unit_cube(points, bound, 0, len(points))
    for level in range(start, stop):
        scale, mask, offset = levels.scales[level], levels.masks[level], levels.offsets[level]
        step, second = levels.steps[level, 0], levels.steps[level, 1]
        dims, hashed = levels.dims[level], levels.hashed[level]
        into[levels.offsets[level] : levels.offsets[level + 1]] = 0
        for i in range(len(unit)):
            if unit[i, 0] < 0:
                continue
            place = np.uint64(i) * count + np.uint64(level)
            x, y = _along(unit[i, 0], scale), _along(unit[i, 1], scale)
            if dims == 2:
                rows, weights = _corners2(x, y, step, mask, offset)
                spread_rows(into, rows, weights, grad, place, width)
            else:
                corners, shares = _corners3(x, y, _along(unit[i, 2], scale), (step, second), mask, offset, hashed)
                spread_rows(into, corners, shares, grad, place, width)


@compiled
def _pull(table: Any, row: Any, grad: Any, place: Any, width: Any) -> Any:  # <table row, gradient>
    total = np.float32(0)
    for c in range(len(width)):
        total += table[row, c] * grad[place, c]
    return total


@compiled
def _slope(points: Any, bound: Any, table: Any, levels: Any, grad: Any, out: Any, start: int, stop: int, width: Any) -> None:
    one, count = np.float32(1), np.uint64(len(levels.scales))
    unit = _unit_cube(points, bound, start, stop)
    for i in range(len(unit)):
        sx, sy, sz = np.float32(0), np.float32(0), np.float32(0)
        for level in range(0 if unit[i, 0] < 0 else len(levels.scales)):
            scale, mask, offset = levels.scales[level], levels.masks[level], levels.offsets[level]
            k = np.uint64(start + i) * count + np.uint64(level)
            step, second = levels.steps[level, 0], levels.steps[level, 1]
            x, y = _along(unit[i, 0], scale), _along(unit[i, 1], scale)
            fx, fy, per_unit = x[1], y[1], np.float32(scale)
            gx, gy = one - fx, one - fy
            if levels.dims[level] == 2:
                r, _ = _corners2(x, y, step, mask, offset)
                a, b = _pull(table, r[0], grad, k, width), _pull(table, r[1], grad, k, width)
                c, d = _pull(table, r[2], grad, k, width), _pull(table, r[3], grad, k, width)
                sx += per_unit * ((b - a) * gy + (d - c) * fy)
                sy += per_unit * ((c - a) * gx + (d - b) * fx)
            else:
                z = _along(unit[i, 2], scale)
                q, _ = _corners3(x, y, z, (step, second), mask, offset, levels.hashed[level])
                a, b = _pull(table, q[0], grad, k, width), _pull(table, q[1], grad, k, width)
                c, d = _pull(table, q[2], grad, k, width), _pull(table, q[3], grad, k, width)
                e, f = _pull(table, q[4], grad, k, width), _pull(table, q[5], grad, k, width)
                g, h = _pull(table, q[6], grad, k, width), _pull(table, q[7], grad, k, width)
                fz, gz = z[1], one - z[1]
                sx += per_unit * (((b - a) * gy + (d - c) * fy) * gz + ((f - e) * gy + (h - g) * fy) * fz)
                sy += per_unit * (((c - a) * gx + (d - b) * fx) * gz + ((g - e) * gx + (h - f) * fx) * fz)
                sz += per_unit * (((e - a) * gx + (f - b) * fx) * gy + ((g - c) * gx + (h - d) * fx) * fy)
        out[start + i, 0], out[start + i, 1] = sx / (np.float32(2) * bound), sy / (np.float32(2) * bound)
        if points.shape[1] == 3:
            out[start + i, 2] = sz / (np.float32(2) * bound)
