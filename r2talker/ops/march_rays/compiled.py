"""Every ray walks its lattice in machine code; for a single cascade on a CPU.

As in `lattice`, a step through an empty cell leads to the lattice's next point, and only the box around the occupied cells is
walked with look-ups.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from r2talker.ops.jit import compiled
from r2talker.ops.march_rays.march import March
from r2talker.ops.threads import share_out
from r2talker.types import Samples

# Rays per part: fewer are not worth a second thread.
_GRAIN = 256
# The box is widened by this much, so that rounding cannot cut off a point; scene units.
_MARGIN = 1e-4


class Walked(NamedTuple):
    """Where every ray steps: the first `counts[n]` of `found[n]` are the t of ray n's samples. numbers: see `step_length`."""

    found: "np.ndarray[Any, Any]"
    counts: "np.ndarray[Any, Any]"
    numbers: tuple[np.float32, ...]


def walk(m: March) -> Walked:
    """The samples of every ray, as a table of t."""
    rays = len(m.near)
    origins, directions = m.origins.detach().contiguous().numpy(), m.directions.detach().contiguous().numpy()
    start, far, bits = m.start().detach().contiguous().numpy(), m.far.contiguous().numpy(), m.bitfield.contiguous().numpy()
    numbers = tuple(np.float32(v) for v in (m.dt_gamma, m.shortest_step, m.longest_step, m.bound, m.half))
    box = _occupied_box(bits.view(np.uint64), m.grid_size, m.half, _MARGIN)
    found, counts = np.empty((rays, m.most), np.float32), np.zeros(rays, np.int64)

    def part(first: int, last: int) -> None:
        _walk(origins, directions, start, far, bits, numbers, m.grid_size, box, found, counts, first, last)

    share_out(part, rays, grain=_GRAIN)
    return Walked(found, counts, numbers)


def march(m: March) -> Samples:
    """See `r2talker.ops.march_rays.op.march_rays`."""
    found, counts, numbers = walk(m)
    origins, directions = m.origins.detach().contiguous().numpy(), m.directions.detach().contiguous().numpy()
    offsets, total = np.cumsum(counts) - counts, int(counts.sum())
    ray, t, delta, t_end = torch.empty(total, dtype=torch.long), torch.empty(total), torch.empty(total), torch.empty(total)
    positions, spread = torch.empty(total, 3), torch.empty(total, 3)
    columns = tuple(values.numpy() for values in (ray, t, positions, spread, delta, t_end))

    def part(first: int, last: int) -> None:
        _list_samples(origins, directions, numbers, found, counts, offsets, columns, first, last)

    share_out(part, len(counts), grain=_GRAIN)
    if m.origins.requires_grad or m.directions.requires_grad:
        return m.samples(ray, t, delta, t_end)
    return Samples(positions, spread, delta, t_end, ray, torch.from_numpy(offsets), torch.from_numpy(counts))


@compiled
def _compact(value: Any) -> Any:  # every third bit
    value &= 0x09249249
    value = (value | value >> 2) & 0x030C30C3
    value = (value | value >> 4) & 0x0300F00F
    value = (value | value >> 8) & 0x030000FF
    return (value | value >> 16) & 0x3FF


@compiled
def _dilute(value: Any) -> Any:  # bits to every third place (upstream.md 5.7)
    value = (value | value << 16) & 0x030000FF
    value = (value | value << 8) & 0x0300F00F
    value = (value | value << 4) & 0x030C30C3
    return (value | value << 2) & 0x09249249


@compiled
def _occupied_box(words: Any, side: int, half: float, margin: float) -> Any:
    """Lower and upper corner of the box around the occupied blocks of 4^3 cells, open where it touches the grid's border."""
    low, high = np.full(3, side, np.int64), np.full(3, -1, np.int64)
    for index in range(len(words)):
        if words[index]:
            for axis in range(3):
                place = _compact(index >> axis)
                low[axis], high[axis] = min(low[axis], place), max(high[axis], place)
    block = 8 * half / side
    box = np.empty((2, 3), np.float32)
    for axis in range(3):
        box[0, axis] = -np.inf if low[axis] <= 0 else low[axis] * block - half - margin
        box[1, axis] = np.inf if high[axis] + 1 >= side // 4 else (high[axis] + 1) * block - half + margin
    return box


@compiled
def _span(origins: Any, directions: Any, ray: int, box: Any) -> Any:  # entry and exit of the box
    entry, leave = np.float32(-np.inf), np.float32(np.inf)
    for axis in range(3):
        a = (box[0, axis] - origins[ray, axis]) / directions[ray, axis]
        b = (box[1, axis] - origins[ray, axis]) / directions[ray, axis]
        # NaN, a ray in the plane of a face, bounds nothing: comparisons with it are false.
        if min(a, b) > entry:
            entry = min(a, b)
        if max(a, b) < leave:
            leave = max(a, b)
    return entry, leave


@compiled
def step_length(t: Any, numbers: Any) -> Any:
    """Length of the step that starts at t; numbers: growth with t, shortest, longest, the scene's bound, the grid's half side."""
    return min(max(t * numbers[0], numbers[1]), numbers[2])


@compiled
def coordinate(origins: Any, directions: Any, ray: int, axis: int, t: Any, bound: Any) -> Any:
    """The point of a ray at t along one axis, clamped to the bound."""
    return min(max(origins[ray, axis] + t * directions[ray, axis], -bound), bound)


@compiled
def _cell(p: Any, half: Any, side: int) -> Any:
    scaled = (p / half + np.float32(1)) * np.float32(0.5 * side)
    return np.int64(min(max(scaled, np.float32(0)), np.float32(side - 1)))


@compiled
def _walk(
    origins: Any, directions: Any, start: Any, far: Any, bits: Any, numbers: Any, side: int, box: Any,
    found: Any, counts: Any, first: int, last: int,
) -> None:  # fmt: skip
    bound, half = numbers[3], numbers[4]
    for ray in range(first, last):
        entry, leave = _span(origins, directions, ray, box)
        t, stop, count = start[ray], min(far[ray], leave), 0
        if not entry < stop:
            continue
        while t < stop and count < found.shape[1]:
            if t >= entry:
                x = _cell(coordinate(origins, directions, ray, 0, t, bound), half, side)
                y = _cell(coordinate(origins, directions, ray, 1, t, bound), half, side)
                z = _cell(coordinate(origins, directions, ray, 2, t, bound), half, side)
                cell = _dilute(x) | _dilute(y) << 1 | _dilute(z) << 2
                if bits[cell >> 3] >> (cell & 7) & 1:
                    found[ray, count] = t
                    count += 1
            t += step_length(t, numbers)
        counts[ray] = count


@compiled
def _list_samples(
    origins: Any, directions: Any, numbers: Any, found: Any, counts: Any, offsets: Any, columns: Any, first: int, last: int
) -> None:
    rays, ts, positions, spread, delta, t_end = columns
    for ray in range(first, last):
        for k in range(counts[ray]):
            place, t = offsets[ray] + k, found[ray, k]
            rays[place], ts[place], delta[place] = ray, t, step_length(t, numbers)
            t_end[place] = t + delta[place]
            for axis in range(3):
                positions[place, axis] = coordinate(origins, directions, ray, axis, t, numbers[3])
                spread[place, axis] = directions[ray, axis]
