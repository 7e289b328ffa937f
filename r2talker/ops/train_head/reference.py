"""The loss of one slot's rays in plain torch, whose gradients are those of the fused passes (upstream.md 5.4, 6.2)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from r2talker.ops.composite.op import composite
from r2talker.ops.grid_encode.op import grid_encode
from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.ops.render_head.networks import HeadNetworks
from r2talker.ops.render_head.reference import Marching, radiance
from r2talker.types import Rays

OPACITY_LEAST = 1e-5


@dataclass(frozen=True)
class DrawnRays:
    """Rays of one frame: where each takes its first step, what it should show, what stands behind the head, whether it misses the face."""

    rays: Rays
    start: Float[Tensor, " rays"]
    truth: Float[Tensor, "rays 3"]
    behind: Float[Tensor, "rays 3"]
    outside_face: Bool[Tensor, " rays"]


@dataclass(frozen=True)
class RayLosses:
    """Per ray: squared error (mean over channels), opacity entropy in bits, ambient sum outside the face."""

    error: Float[Tensor, " rays"]
    entropy: Float[Tensor, " rays"]
    ambient: Float[Tensor, " rays"]


def lose(
    net: HeadNetworks,
    bitfield: UInt8[Tensor, " bytes"],
    drawn: DrawnRays,
    marching: Marching,
    code: Float[Tensor, " code"],
    eye: Float[Tensor, ""],
    individual: Float[Tensor, " width"],
) -> RayLosses:
    """Losses of the drawn rays, differentiable in networks, tables and codes."""
    rays = drawn.rays
    far = intersect_aabb(rays.origins, rays.directions, marching.aabb, min_near=marching.min_near).far
    samples = march_rays(
        rays.origins, rays.directions, drawn.start, far, bitfield, max_steps=marching.max_steps, dt_gamma=marching.dt_gamma
    )
    sigma, rgb = radiance(net, samples.positions, samples.directions, code, eye, individual)
    result = composite(
        sigma, rgb, samples.delta, samples.t_end, samples.offsets, samples.counts,
        ray_index=samples.ray_index, ambient=_ambient(net, samples.positions, code),
        threshold=marching.transmittance_threshold,
    )  # fmt: skip
    picture = (result.image + (1 - result.weights_sum)[:, None] * drawn.behind).clamp(0, 1)
    opacity = result.weights_sum.clamp(OPACITY_LEAST, 1 - OPACITY_LEAST)
    entropy = -opacity * opacity.log2() - (1 - opacity) * (1 - opacity).log2()
    return RayLosses(((picture - drawn.truth) ** 2).mean(1), entropy, result.ambient_sum * drawn.outside_face)


def level_windows(levels: int, coarse: int, unlock_steps: int, step: int | Int[Tensor, " 1"]) -> Float[Tensor, " levels"]:
    """Factors of a grid's levels while they come in one after the other (Park et al. 2021, "Nerfies", equation 8).

    The first `coarse` levels are there from the start, all of them from step `unlock_steps` on; on the device of `step`.
    """
    device = step.device if isinstance(step, Tensor) else None
    if not unlock_steps:
        return torch.ones(levels, device=device)
    ramp = (coarse + (levels - coarse) * step / unlock_steps - torch.arange(levels, device=device)).clamp(0, 1)
    return 0.5 - 0.5 * torch.cos(torch.pi * ramp)


def windowed(table: Float[Tensor, "rows channels"], sizes: Int[Tensor, " levels"], window: Tensor) -> Tensor:
    """The table with every level times its window: a feature times a window is a feature of that table."""
    return table * window.to(table).repeat_interleave(sizes.to(table.device))[:, None]


def _ambient(net: HeadNetworks, positions: Float[Tensor, "samples 3"], code: Float[Tensor, " code"]) -> Tensor | None:
    """|a_0| + |a_1| of every sample's ambient coordinate."""
    if net.ambient is None:
        return None
    features = grid_encode(positions, net.table, net.layout)
    heard = torch.cat([features, code.expand(len(features), -1)], 1)
    hidden = torch.relu(torch.relu(heard @ net.ambient.first.T) @ net.ambient.second.T)
    return torch.tanh(hidden @ net.ambient.out.T).abs().sum(-1)
