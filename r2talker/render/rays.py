"""Rays through the head: compositing with gradients for training, with early termination for pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.model.head import FrameCode, Head, Radiance
from r2talker.model.occupancy import GRID_SIZE, OccupancyGrid
from r2talker.ops.composite.op import RayState, accumulate, composite
from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.ray_aabb.op import NearFar, intersect_aabb
from r2talker.ops.render_head.fold import fits
from r2talker.ops.render_head.reference import Marching
from r2talker.render.config import RenderSettings
from r2talker.render.networks import networks
from r2talker.types import Rays, Samples

MOST_STEPS_PER_ROUND = 8


@dataclass(frozen=True)
class TracedRays:
    """rgb [N, 3] over the background; opacity [N]; ambient [N]: unweighted sum of |a_0| + |a_1|, zero without an ambient coordinate.

    depth: [N], opacity-weighted ray parameter relative to near and far, 0 where the box is missed. distance: [N], the same before that.
    """

    rgb: Float[Tensor, "rays 3"]
    opacity: Float[Tensor, " rays"]
    ambient: Float[Tensor, " rays"]
    depth: Float[Tensor, " rays"]
    distance: Float[Tensor, " rays"]


def trace_rays(
    head: Callable[..., Radiance],
    occupancy: OccupancyGrid,
    rays: Rays,
    frame: FrameCode,
    background: Float[Tensor, "rays 3"],
    settings: RenderSettings,
    *,
    noise: Float[Tensor, " rays"] | None = None,
) -> TracedRays:
    """Differentiable rendering of all samples (upstream.md 5.3, 5.4, 5.6). noise: [N] in [0, 1), offset of the first step.

    head: a `Head`, or what evaluates one: called as that is.
    """
    bounds = intersect_aabb(rays.origins, rays.directions, settings.aabb, min_near=settings.min_near)
    samples = _march(occupancy, rays, bounds, settings, noise)
    radiance = head(samples.positions, samples.directions, frame)
    result = composite(
        radiance.sigma,
        radiance.rgb,
        samples.delta,
        samples.t_end,
        samples.offsets,
        samples.counts,
        ray_index=samples.ray_index,
        ambient=None if radiance.ambient is None else radiance.ambient.abs().sum(-1),
        threshold=settings.transmittance_threshold,
    )
    rgb = (result.image + (1 - result.weights_sum)[:, None] * background).clamp(0, 1)
    return TracedRays(rgb, result.weights_sum, result.ambient_sum, _relative_depth(result.depth, bounds), result.depth)


@torch.no_grad()
def render_rays(
    head: Head,
    occupancy: OccupancyGrid,
    rays: Rays,
    frame: FrameCode,
    background: Float[Tensor, "rays 3"],
    settings: RenderSettings,
    *,
    impl: Literal["auto", "rounds", "compiled"] = "auto",
) -> TracedRays:
    """Rendering in rounds, each of which drops the rays that are finished (upstream.md 5.5).

    The number of samples per round grows as rays finish, as in the reference; past `max_steps` in total only by the budget `rounds`.
    impl: `rounds` (plain torch), `compiled` (machine code on a CPU, for heads without an ambient coordinate); `auto` picks.
    Raises ValueError when `compiled` is asked for and cannot run.
    """
    # Tests render fields that are no networks.
    if impl == "compiled" or (impl == "auto" and isinstance(head, Head) and fits(networks(head))):
        return _render_compiled(head, occupancy, rays, frame, background, settings)
    bounds = intersect_aabb(rays.origins, rays.directions, settings.aabb, min_near=settings.min_near)
    samples = _march(occupancy, rays, bounds, settings, None, extra=_extra(settings))
    total = len(rays.origins)
    opacity, depth, rgb = background.new_zeros(total), background.new_zeros(total), background.new_zeros(total, 3)
    living = torch.nonzero(samples.counts).flatten()
    taken = 0
    while taken < settings.max_steps and len(living):
        width = _round_width(total, len(living), taken)
        if settings.budget == "exact":
            width = min(width, settings.max_steps - taken)
        state = RayState(opacity[living], depth[living], rgb[living], torch.ones_like(living, dtype=torch.bool))
        state = _round(head, samples, frame, living, taken, width, state, settings)
        opacity[living], depth[living], rgb[living] = state.weights_sum, state.depth, state.image
        living = living[state.alive]
        taken += width
    image = (rgb + (1 - opacity)[:, None] * background).clamp(0, 1)
    return TracedRays(image, opacity, torch.zeros_like(opacity), _relative_depth(depth, bounds), depth)


def _extra(settings: RenderSettings) -> int:
    """Samples that a ray may need beyond `max_steps`."""
    return MOST_STEPS_PER_ROUND - 1 if settings.budget == "rounds" else 0


def _round_width(total: int, living: int, taken: int) -> int:
    """Samples of the next round (upstream.md 5.5); in the first one all rays count as living, also those without samples."""
    return min(max(1, total // (living if taken else total)), MOST_STEPS_PER_ROUND)


def rounds_budget(living: Int[Tensor, " rays"], max_steps: int) -> int:
    """Samples per ray that the reference's rounds come to. living: after how many samples each ray still goes on."""
    taken, going = 0, len(living)
    while taken < max_steps and going:
        taken += _round_width(len(living), going, taken)
        going = int((living >= taken).sum())
    return taken


def marching_rules(settings: RenderSettings, *, extra: int = 0) -> Marching:
    """The part of the settings that the head's machine code and kernels follow."""
    return Marching(
        settings.aabb, settings.max_steps, settings.growth, settings.min_near, settings.transmittance_threshold, extra
    )


def _render_compiled(
    head: Head,
    occupancy: OccupancyGrid,
    rays: Rays,
    frame: FrameCode,
    background: Float[Tensor, "rays 3"],
    settings: RenderSettings,
) -> TracedRays:
    from r2talker.ops.render_head import compiled

    net, codes = networks(head), (frame.condition, head.eye_input(frame.eye), frame.individual)
    extra = _extra(settings)
    picture = compiled.render(net, occupancy.bitfield, rays, marching_rules(settings, extra=extra), background, *codes)
    rgb, opacity, depth = picture.rgb, picture.opacity, picture.depth
    if extra and len(rays.origins):
        # The budget follows from how long all rays go on; those that went further are drawn again.
        assert picture.living is not None
        budget = rounds_budget(picture.living, settings.max_steps)
        late = torch.nonzero(picture.living >= budget).flatten()
        some = Rays(rays.origins[late], rays.directions[late])
        rules = marching_rules(settings, extra=max(budget - settings.max_steps, 0))
        again = compiled.render(net, occupancy.bitfield, some, rules, background[late], *codes)
        rgb[late], opacity[late], depth[late] = again.rgb, again.opacity, again.depth
    bounds = intersect_aabb(rays.origins, rays.directions, settings.aabb, min_near=settings.min_near)
    nothing = torch.zeros_like(opacity)
    return TracedRays(rgb.clamp(0, 1), opacity, nothing, _relative_depth(depth, bounds), depth)


def _march(
    occupancy: OccupancyGrid,
    rays: Rays,
    bounds: NearFar,
    settings: RenderSettings,
    noise: Float[Tensor, " rays"] | None,
    *,
    extra: int = 0,
) -> Samples:
    return march_rays(
        rays.origins,
        rays.directions,
        bounds.near,
        bounds.far,
        occupancy.bitfield,
        max_steps=settings.max_steps,
        extra=extra,
        dt_gamma=settings.growth,
        grid_size=GRID_SIZE,
        noise=noise,
    )


def _round(
    head: Head,
    samples: Samples,
    frame: FrameCode,
    living: Int[Tensor, " living"],
    taken: int,
    width: int,
    state: RayState,
    settings: RenderSettings,
) -> RayState:
    """Evaluate and add samples taken ... taken + width - 1 of the living rays."""
    step = torch.arange(taken, taken + width, device=living.device)
    valid = step < samples.counts[living][:, None]
    index = (samples.offsets[living][:, None] + step)[valid]
    radiance = head(samples.positions[index], samples.directions[index], frame)

    def spread(values: Tensor) -> Tensor:
        table = values.new_zeros(*valid.shape, *values.shape[1:])
        table[valid] = values
        return table

    sigma, rgb = spread(radiance.sigma), spread(radiance.rgb)
    delta, t_end = spread(samples.delta[index]), spread(samples.t_end[index])
    return accumulate(state, sigma, rgb, delta, t_end, valid, settings.transmittance_threshold)


def _relative_depth(depth: Float[Tensor, " rays"], bounds: NearFar) -> Float[Tensor, " rays"]:
    """(depth - near) / (far - near), at least 0; finite where the box is missed (upstream.md 5.6 and defect 19)."""
    span = bounds.far - bounds.near
    return torch.where(span > 0, (depth - bounds.near).clamp_min(0) / span.clamp_min(1e-6), torch.zeros_like(depth))
