"""Compositing on a table of rays by samples; gradients are left to autograd."""

from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor


def weigh(
    sigma: Float[Tensor, " samples"],
    delta: Float[Tensor, " samples"],
    ray: Int[Tensor, " samples"],
    offsets: Int[Tensor, " rays"],
    counts: Int[Tensor, " rays"],
    threshold: float,
) -> tuple[Float[Tensor, " samples"], Float[Tensor, " samples"]]:
    """Weight of every sample, and 1 where the ray had not stopped before it, else 0 (upstream.md 5.4).

    The transmittance is the exponential of the summed optical depth, which is the product of the (1 - alpha).
    """
    place = torch.arange(len(sigma), device=sigma.device) - offsets[ray]
    width = int(counts.max()) if len(counts) else 0
    optical = sigma.new_zeros(len(counts), width + 1).index_put((ray, place + 1), sigma * delta)
    # The first column is empty, so a running sum up to column k holds what lies before sample k.
    before = _running_sums(optical[:, :width]) if width else optical
    transmittance = torch.exp(-before[ray, place])
    processed = (transmittance.detach() >= threshold).to(sigma.dtype)
    alpha = -torch.expm1(-sigma * delta)
    return alpha * transmittance * processed, processed


def _running_sums(values: Float[Tensor, "rays steps"]) -> Float[Tensor, "rays steps"]:
    """Along each row; where deterministic algorithms are asked for, one column after the other, for want of such a `cumsum` on GPUs."""
    if torch.are_deterministic_algorithms_enabled():
        return torch.stack(list(accumulate(values.unbind(1))), dim=1)
    return values.cumsum(dim=1)


def add_up(
    values: Float[Tensor, "samples *channels"], ray: Int[Tensor, " samples"], rays: int
) -> Float[Tensor, "rays *channels"]:
    """Sums over the samples of each ray."""
    return values.new_zeros(rays, *values.shape[1:]).index_add(0, ray, values)
