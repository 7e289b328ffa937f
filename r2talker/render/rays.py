"""Rays through the head: compositing with gradients for training, with early termination for pictures."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.model.head import FrameCode, Head
from r2talker.model.occupancy import OccupancyGrid
from r2talker.ops.composite.op import composite
from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.render.config import RenderSettings
from r2talker.types import Rays, Samples


@dataclass(frozen=True)
class TracedRays:
    """rgb [N, 3] over the background, opacity [N], unweighted ambient sum [N] (zero without an ambient coordinate).

    depth: [N], mean ray parameter weighted by opacity, relative to near and far, 0 where the box is missed.
    """

    rgb: Float[Tensor, "rays 3"]
    opacity: Float[Tensor, " rays"]
    ambient: Float[Tensor, " rays"]
    depth: Float[Tensor, " rays"]


def trace_rays(
    head: Head,
    occupancy: OccupancyGrid,
    rays: Rays,
    frame: FrameCode,
    background: Float[Tensor, "rays 3"],
    settings: RenderSettings,
    *,
    noise: Float[Tensor, " rays"] | None = None,
) -> TracedRays:
    """Differentiable rendering of all samples (upstream.md 5.3, 5.4, 5.6). noise: [N] in [0, 1), offset of the first step."""
    near, far, samples = _march(occupancy, rays, settings, noise)
    radiance = head(samples.positions, samples.directions, frame)
    ambient = None if radiance.ambient is None else radiance.ambient.abs().sum(-1)
    result = composite(
        radiance.sigma,
        radiance.rgb,
        samples.delta,
        samples.t_end,
        samples.offsets,
        samples.counts,
        ray_index=samples.ray_index,
        ambient=ambient,
        threshold=settings.transmittance_threshold,
    )
    rgb = (result.image + (1 - result.weights_sum)[:, None] * background).clamp(0, 1)
    return TracedRays(rgb, result.weights_sum, result.ambient_sum, _relative_depth(result.depth, near, far))


@torch.no_grad()
def render_rays(
    head: Head,
    occupancy: OccupancyGrid,
    rays: Rays,
    frame: FrameCode,
    background: Float[Tensor, "rays 3"],
    settings: RenderSettings,
) -> TracedRays:
    """Rendering in rounds, each of which drops the rays that are finished (upstream.md 5.5).

    The number of samples per round grows as rays finish, as in the reference, but never past `max_steps` in total.
    """
    near, far, samples = _march(occupancy, rays, settings, None)
    total = len(rays.origins)
    opacity = background.new_zeros(total)
    depth, rgb = background.new_zeros(total), background.new_zeros(total, 3)
    alive = torch.arange(total, device=background.device)
    taken = 0
    while taken < settings.max_steps and len(alive):
        width = min(max(1, min(total // len(alive), 8)), settings.max_steps - taken)
        wanted = samples.counts[alive] - taken
        alive, wanted = alive[wanted > 0], wanted[wanted > 0].clamp(max=width)
        weights, sample = _weigh(head, samples, frame, alive, wanted, taken, opacity[alive], settings)
        opacity[alive] += weights.weight.sum(-1)
        depth[alive] += (weights.weight * weights.t_end).sum(-1)
        rgb[alive] += torch.einsum("rs,rsc->rc", weights.weight, weights.rgb)
        alive = alive[(wanted == width) & (1 - opacity[alive] >= settings.transmittance_threshold)]
        taken += width
    image = (rgb + (1 - opacity)[:, None] * background).clamp(0, 1)
    return TracedRays(image, opacity, torch.zeros_like(opacity), _relative_depth(depth, near, far))
