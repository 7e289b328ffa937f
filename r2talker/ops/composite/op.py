"""Public doors of compositing: all samples of all rays for training, one round of samples for pictures."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from r2talker.ops.composite.reference import add_up, weigh


@dataclass(frozen=True)
class Composited:
    """What each ray gathered. depth: sum of weight * t_end, no gradient. ambient_sum: unweighted, up to the stop."""

    image: Float[Tensor, "rays 3"]
    weights_sum: Float[Tensor, " rays"]
    depth: Float[Tensor, " rays"]
    ambient_sum: Float[Tensor, " rays"]


def composite(
    sigma: Float[Tensor, " samples"],
    rgb: Float[Tensor, "samples 3"],
    delta: Float[Tensor, " samples"],
    t_end: Float[Tensor, " samples"],
    offsets: Int[Tensor, " rays"],
    counts: Int[Tensor, " rays"],
    *,
    ray_index: Int[Tensor, " samples"] | None = None,
    ambient: Float[Tensor, " samples"] | None = None,
    threshold: float = 1e-4,
    impl: Literal["auto", "reference", "compiled"] = "auto",
) -> Composited:
    """Emission and absorption along each ray; a ray stops after the sample that takes its transmittance below `threshold`.

    sigma: density per scene unit; delta, t_end: scene units; ambient: |a_0| + |a_1| of each sample (None: sums are zero).
    The samples of a ray are consecutive (`Samples`); ray_index spares working it out. Computed in float32 (float64 for
    float64). Gradients reach sigma, rgb and ambient of samples up to the stop; none passes through depth (upstream.md 5.4).
    impl: `reference` (plain torch), `compiled` (machine code, float32 on a CPU, no gradient to delta); `auto` picks.
    Raises ValueError when shapes do not fit, or when `compiled` is asked for and cannot run.
    """
    samples, rays = len(sigma), len(counts)
    shapes = {
        "rgb": (rgb, (samples, 3)),
        "delta": (delta, (samples,)),
        "t_end": (t_end, (samples,)),
        "offsets": (offsets, (rays,)),
    }
    for name, (values, shape) in shapes.items():
        if values.shape != shape:
            raise ValueError(f"composite: {name} must be {list(shape)}, got {list(values.shape)}")
    tensors = [value for value in (sigma, rgb, delta, t_end, ambient) if value is not None]
    runs = all(value.dtype == torch.float32 and value.device.type == "cpu" for value in tensors) and not delta.requires_grad
    if impl == "compiled" and not runs:
        raise ValueError(f"composite: impl 'compiled' needs float32 on a CPU, got {sigma.dtype} on {sigma.device}")
    if impl == "compiled" or (impl == "auto" and runs):
        from r2talker.ops.composite import compiled

        return Composited(*compiled.gather(sigma, rgb, ambient, delta, t_end, offsets, counts, threshold))
    if ray_index is None:
        ray_index = torch.repeat_interleave(counts, output_size=samples)
    sigma, rgb = (values if values.dtype == torch.float64 else values.float() for values in (sigma, rgb))
    weights, processed = weigh(sigma, delta, ray_index, offsets, counts, threshold)
    return Composited(
        image=add_up(weights[:, None] * rgb, ray_index, rays),
        weights_sum=add_up(weights, ray_index, rays),
        depth=add_up(weights.detach() * t_end, ray_index, rays),
        ambient_sum=weights.new_zeros(rays) if ambient is None else add_up(processed * ambient, ray_index, rays),
    )


@dataclass(frozen=True)
class RayState:
    """What rays have gathered so far, and whether they go on."""

    weights_sum: Float[Tensor, " rays"]
    depth: Float[Tensor, " rays"]
    image: Float[Tensor, "rays 3"]
    alive: Bool[Tensor, " rays"]


@torch.no_grad()
def accumulate(
    state: RayState,
    sigma: Float[Tensor, "rays steps"],
    rgb: Float[Tensor, "rays steps 3"],
    delta: Float[Tensor, "rays steps"],
    t_end: Float[Tensor, "rays steps"],
    valid: Bool[Tensor, "rays steps"],
    threshold: float = 1e-4,
) -> RayState:
    """One round of the inference loop (upstream.md 5.5): every living ray adds its next samples, front to back.

    The transmittance before a sample is 1 - weights_sum; the ray ends after the sample that starts below `threshold`, and
    also when one of its `steps` samples is not valid.
    """
    weights_sum, depth, image, alive = state.weights_sum, state.depth, state.image, state.alive
    for k in range(sigma.shape[1]):
        takes = alive & valid[:, k]
        transmittance = 1 - weights_sum
        weight = torch.where(takes, -torch.expm1(-sigma[:, k] * delta[:, k]) * transmittance, 0.0)
        weights_sum = weights_sum + weight
        depth = depth + torch.where(takes, weight * t_end[:, k], 0.0)
        image = image + torch.where(takes[:, None], weight[:, None] * rgb[:, k], 0.0)
        alive = takes & (transmittance >= threshold)
    return RayState(weights_sum, depth, image, alive)
