"""Compositing as machine code for the CPU: one walk along each ray, and one back for the gradients."""

from math import exp, expm1
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from r2talker.ops.jit import compiled
from r2talker.ops.threads import share_out

# Rays per part: fewer are not worth a second thread.
_GRAIN = 1024


def gather(
    sigma: Float[Tensor, " samples"],
    rgb: Float[Tensor, "samples 3"],
    ambient: Float[Tensor, " samples"] | None,
    delta: Float[Tensor, " samples"],
    t_end: Float[Tensor, " samples"],
    offsets: Int[Tensor, " rays"],
    counts: Int[Tensor, " rays"],
    threshold: float,
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, " rays"], Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """Image, sum of weights, depth and sum of `ambient` of each ray; see `r2talker.ops.composite.op.composite`."""
    return _Gather.apply(sigma, rgb, ambient, delta, t_end, offsets, counts, threshold)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sigma: Tensor, rgb: Tensor, ambient: Tensor | None, delta: Tensor, t_end: Tensor, offsets: Tensor,
        counts: Tensor, threshold: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        rays, heard = len(counts), torch.zeros(0) if ambient is None else ambient
        inputs = [value.detach().contiguous() for value in (sigma, rgb, heard, delta, t_end, offsets, counts)]
        passed, image = torch.empty(len(sigma)), torch.empty(rays, 3)
        weights_sum, depth, ambient_sum = torch.empty(rays), torch.empty(rays), torch.empty(rays)
        given = tuple(value.numpy() for value in inputs)
        out = tuple(value.numpy() for value in (passed, image, weights_sum, depth, ambient_sum))
        share_out(lambda a, b: _forward(given, np.float32(threshold), out, a, b), rays, grain=_GRAIN)
        ctx.save_for_backward(*inputs, passed)
        ctx.mark_non_differentiable(depth)
        return image, weights_sum, depth, ambient_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, image: Tensor, weights_sum: Tensor, depth: Tensor, ambient_sum: Tensor) -> tuple[Any, ...]:
        sigma, rgb, heard, delta, _, offsets, counts, passed = ctx.saved_tensors
        given = tuple(value.numpy() for value in (sigma, rgb, delta, offsets, counts, passed))
        upstream = tuple(value.contiguous().numpy() for value in (image, weights_sum, ambient_sum))
        d_sigma, d_rgb, d_heard = torch.zeros_like(sigma), torch.zeros_like(rgb), torch.zeros_like(heard)
        out = (d_sigma.numpy(), d_rgb.numpy(), d_heard.numpy())
        share_out(lambda a, b: _backward(given, upstream, out, a, b), len(counts), grain=_GRAIN)
        return d_sigma, d_rgb, d_heard if ctx.needs_input_grad[2] else None, None, None, None, None, None


@compiled
def _forward(given: Any, threshold: Any, out: Any, start: int, stop: int) -> None:
    sigma, rgb, heard, delta, t_end, offsets, counts = given
    passed, image, weights_sum, depths, ambient_sum = out
    for ray in range(start, stop):
        red, green, blue = np.float32(0), np.float32(0), np.float32(0)
        total, depth, ambient, before = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(offsets[ray], offsets[ray] + counts[ray]):
            transmittance = exp(-before)
            # -1 marks a sample behind the stop.
            passed[k] = transmittance if transmittance >= threshold else np.float32(-1)
            if passed[k] < 0:
                continue
            optical = sigma[k] * delta[k]
            weight = -expm1(-optical) * transmittance
            red += weight * rgb[k, 0]
            green += weight * rgb[k, 1]
            blue += weight * rgb[k, 2]
            total += weight
            depth += weight * t_end[k]
            if len(heard):
                ambient += heard[k]
            before += optical
        image[ray, 0], image[ray, 1], image[ray, 2] = red, green, blue
        weights_sum[ray], depths[ray], ambient_sum[ray] = total, depth, ambient


@compiled
def _backward(given: Any, upstream: Any, out: Any, start: int, stop: int) -> None:
    sigma, rgb, delta, offsets, counts, passed = given
    d_image, d_total, d_ambient = upstream
    d_sigma, d_rgb, d_heard = out
    for ray in range(start, stop):
        # What the samples behind k take of the light: sum of gain * weight.
        behind = np.float32(0)
        for k in range(offsets[ray] + counts[ray] - 1, offsets[ray] - 1, -1):
            if passed[k] < 0:
                continue
            optical = sigma[k] * delta[k]
            weight = -expm1(-optical) * passed[k]
            gain = d_total[ray]
            for c in range(3):
                gain += d_image[ray, c] * rgb[k, c]
                d_rgb[k, c] = weight * d_image[ray, c]
            d_sigma[k] = delta[k] * (gain * exp(-optical) * passed[k] - behind)
            behind += gain * weight
            if len(d_heard):
                d_heard[k] = d_ambient[ray]
