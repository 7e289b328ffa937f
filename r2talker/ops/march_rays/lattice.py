"""All lattice points of all rays at once.

Skipping empty cells never leaves the lattice t_(k+1) = t_k + dt(t_k), so where a ray can step does not depend on what is
occupied: the lattice is laid out first, cut to the box around the occupied cells, looked up in one go, and each ray keeps its
first `max_steps` hits. For a single cascade.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.ops.march_rays.march import March
from r2talker.ops.occupancy.op import morton_decode
from r2talker.ops.ray_aabb.reference import slabs
from r2talker.types import Samples

# Rays per batch: bounds the lattice to some 16 MB whatever the picture's size.
_BATCH = 1 << 15
# The box is widened by this much, so that rounding cannot cut off a point; scene units.
_MARGIN = 1e-4


def march(m: March) -> Samples:
    """See `r2talker.ops.march_rays.op.march_rays`."""
    with torch.no_grad():
        low, high = _occupied_box(m)
        entry, leave = slabs(m.origins, m.directions, low, high)
        start, stop = m.start(), torch.minimum(m.far, leave)
        candidates = torch.nonzero((start < stop) & (entry < stop)).squeeze(1)
        found = [_march_batch(m, rays, start[rays], entry[rays], stop[rays]) for rays in candidates.split(_BATCH)]
        picked = [torch.cat(parts) for parts in zip(*found, strict=True)]
    return m.samples(*picked)


def _occupied_box(m: March) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Lower and upper corner of the box around the occupied cells, open where it touches the grid's border.

    A byte holds a cube of 2 x 2 x 2 cells, so its place in the bitfield is the Morton code of that cube.
    """
    cubes = morton_decode(torch.nonzero(m.bitfield).squeeze(1))
    edge = m.grid_size // 2
    inside = torch.cat([cubes, cubes.new_full((1, 3), edge)]).amin(0), torch.cat([cubes, cubes.new_full((1, 3), -1)]).amax(0)
    first, last = inside[0].to(m.origins.dtype), inside[1].to(m.origins.dtype) + 1
    side = 4 * m.half / m.grid_size
    low = torch.where(first <= 0, -torch.inf, first * side - m.half - _MARGIN)
    high = torch.where(last >= edge, torch.inf, last * side - m.half + _MARGIN)
    return low, high


def _march_batch(
    m: March,
    rays: Int[Tensor, " batch"],
    start: Float[Tensor, " batch"],
    entry: Float[Tensor, " batch"],
    stop: Float[Tensor, " batch"],
) -> tuple[Int[Tensor, " samples"], Float[Tensor, " samples"], Float[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Ray, t, step and end of every sample, in ray order."""
    t = _lattice(m, start, stop)
    point = torch.nonzero(((t >= entry[:, None]) & (t < stop[:, None])).view(-1)).squeeze(1)
    ray, here = point.div(t.shape[1], rounding_mode="floor"), t.view(-1).index_select(0, point)
    p = m.position(here, rays.index_select(0, ray))
    cell = ((p / m.half + 1) * (0.5 * m.grid_size)).clamp(0, m.grid_size - 1).long()
    hit = m.occupied(cell, 0)
    ray, here = ray[hit], here[hit]
    counts = torch.zeros_like(rays).index_add_(0, ray, torch.ones_like(ray))
    rank = torch.arange(len(ray), device=ray.device) - (counts.cumsum(0) - counts)[ray]
    kept = rank < m.most
    ray, here = ray[kept], here[kept]
    step = m.step(here)
    return rays[ray], here, step, here + step


def _lattice(m: March, start: Float[Tensor, " batch"], stop: Float[Tensor, " batch"]) -> Float[Tensor, "batch points"]:
    """Accumulated step by step, so that t carries the same rounding as a ray that walks."""
    span = float((stop - start).max()) if len(start) else 0.0
    t = start.new_empty(int(span / m.shortest_step) + 2, len(start))
    t[0] = start
    for k in range(1, len(t)):
        torch.add(t[k - 1], m.step(t[k - 1]), out=t[k])
    return t.t().contiguous()
