"""The head's radiance and its compositing in plain torch, the composition that the fused pass stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from r2talker.ops.composite.op import composite
from r2talker.ops.grid_encode.op import grid_encode
from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.ops.render_head.networks import HeadNetworks
from r2talker.ops.sh_encode.op import sh_encode
from r2talker.types import Rays


@dataclass(frozen=True)
class Marching:
    """How rays are walked: see `r2talker.render.config.RenderSettings`. extra: samples per ray beyond `max_steps`."""

    aabb: Sequence[float]
    max_steps: int
    dt_gamma: float
    min_near: float
    transmittance_threshold: float
    extra: int = 0


@dataclass(frozen=True)
class HeadPicture:
    """rgb [N, 3] over the background, not clamped; opacity [N]; depth [N]: sum of weight * t. living: [N], after how many samples a
    ray still went on, where that is counted."""

    rgb: Float[Tensor, "rays 3"]
    opacity: Float[Tensor, " rays"]
    depth: Float[Tensor, " rays"]
    living: Int[Tensor, " rays"] | None = None


def radiance(
    net: HeadNetworks,
    positions: Float[Tensor, "samples 3"],
    directions: Float[Tensor, "samples 3"],
    code: Float[Tensor, " code"],
    eye: Float[Tensor, ""],
    individual: Float[Tensor, " width"],
) -> tuple[Float[Tensor, " samples"], Float[Tensor, "samples 3"]]:
    """sigma [M] and rgb [M, 3] in [0, 1] of samples (upstream.md 4.3, 4.4)."""
    features = grid_encode(positions, net.table, net.layout)
    if net.ambient is not None:
        heard = torch.cat([features, code.expand(len(features), -1)], dim=1)
        hidden = torch.relu(torch.relu(heard @ net.ambient.first.T) @ net.ambient.second.T)
        features = torch.cat(
            [features, grid_encode(torch.tanh(hidden @ net.ambient.out.T), net.ambient.table, net.ambient.layout)], 1
        )
    if net.eye:
        features = torch.cat([features, eye.to(features).expand(len(features), 1)], dim=1)
    hidden = features
    for layer, weight in enumerate((net.first, net.second)):
        hidden = hidden @ weight.T
        if net.film:
            shift, scale = code.reshape(2, 2, -1)[layer]
            hidden = hidden * (1 + scale) + shift
        hidden = torch.relu(hidden)
    out = hidden @ net.third.T
    color = torch.cat([sh_encode(directions), out[:, 1:], individual.expand(len(out), -1)], dim=1)
    return out[:, 0].exp(), torch.sigmoid(torch.relu(color @ net.color.T) @ net.rgb.T)


def render(
    net: HeadNetworks,
    bitfield: UInt8[Tensor, " bytes"],
    rays: Rays,
    marching: Marching,
    background: Float[Tensor, "rays 3"],
    code: Float[Tensor, " code"],
    eye: Float[Tensor, ""],
    individual: Float[Tensor, " width"],
) -> HeadPicture:
    """Every sample of every ray, composited."""
    bounds = intersect_aabb(rays.origins, rays.directions, marching.aabb, min_near=marching.min_near)
    samples = march_rays(
        rays.origins, rays.directions, bounds.near, bounds.far, bitfield,
        max_steps=marching.max_steps, dt_gamma=marching.dt_gamma, extra=marching.extra,
    )  # fmt: skip
    sigma, rgb = radiance(net, samples.positions, samples.directions, code, eye, individual)
    result = composite(
        sigma, rgb, samples.delta, samples.t_end, samples.offsets, samples.counts,
        ray_index=samples.ray_index, threshold=marching.transmittance_threshold,
    )  # fmt: skip
    picture = result.image + (1 - result.weights_sum)[:, None] * background
    return HeadPicture(picture, result.weights_sum, result.depth)
