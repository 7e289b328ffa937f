"""Every ray walks on its own, one step of all rays at a time, as the specification tells it (upstream.md 5.3)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.ops.march_rays.march import March
from r2talker.types import Samples


def march(m: March) -> Samples:
    """See `r2talker.ops.march_rays.op.march_rays`."""
    with torch.no_grad():
        taken = _walk(m)
        ray = taken[0].argsort(stable=True)
        picked = [values[ray] for values in taken]
    return m.samples(*picked)


def _walk(m: March) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ray, t, step and end of every sample, in the order in which they were found."""
    t, count = m.start().clone(), torch.zeros_like(m.near, dtype=torch.long)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    ray = torch.nonzero((t < m.far) & (count < m.most)).squeeze(1)
    while len(ray):
        now = t[ray]
        step = m.step(now)
        p = m.position(now, ray)
        cascade = _cascade(m, p, step)
        half = (2.0**cascade).clamp(max=m.bound).to(p.dtype)[:, None]
        cell = (0.5 * (p / half + 1) * m.grid_size).clamp(0, m.grid_size - 1).long()
        hit = m.occupied(cell, cascade)
        after = now + step
        found.append((ray[hit], now[hit], step[hit], after[hit]))
        count[ray[hit]] += 1
        t[ray] = torch.where(hit, after, _leave_cell(m, now, _exit(m, now, p, cell, half, ray)))
        ray = ray[(t[ray] < m.far[ray]) & (count[ray] < m.most)]
    empty = t[:0]
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True)) if found else (count[:0], empty, empty, empty)  # type: ignore[return-value]


def _cascade(m: March, p: Float[Tensor, "rays 3"], step: Float[Tensor, " rays"]) -> Int[Tensor, " rays"]:
    by_place = torch.frexp(p.abs().amax(dim=1)).exponent
    by_step = torch.frexp(step * (m.grid_size / 2)).exponent
    return torch.maximum(by_place, by_step).clamp(0, m.cascades - 1).long()


def _exit(
    m: March,
    t: Float[Tensor, " rays"],
    p: Float[Tensor, "rays 3"],
    cell: Int[Tensor, "rays 3"],
    half: Float[Tensor, "rays 1"],
    ray: Int[Tensor, " rays"],
) -> Float[Tensor, " rays"]:
    """Where the rays leave their cells."""
    d = m.directions[ray]
    sign = torch.where(torch.signbit(d), -1.0, 1.0).to(p.dtype)
    face = ((cell + 0.5 + 0.5 * sign) / m.grid_size * 2 - 1) * half
    x, y, z = ((face - p) / d).unbind(1)
    return t + torch.fmin(torch.fmin(x, y), z).clamp(min=0)


def _leave_cell(m: March, t: Float[Tensor, " rays"], target: Float[Tensor, " rays"]) -> Float[Tensor, " rays"]:
    """At least one step, then more until the target is reached: t stays on the ray's lattice."""
    t = t + m.step(t)
    while bool((behind := t < target).any()):
        t = torch.where(behind, t + m.step(t), t)
    return t
