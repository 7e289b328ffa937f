"""Slab test in plain torch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

MISSED = torch.finfo(torch.float32).max


def intersect(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], aabb: Sequence[float], min_near: float
) -> tuple[Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """near = largest entry of the three slabs, far = smallest exit, by reciprocals as upstream takes them."""
    low, high = (torch.tensor(corner, dtype=origins.dtype, device=origins.device) for corner in (aabb[:3], aabb[3:]))
    entry, leave = slabs(origins, directions, low, high)
    missed = leave < entry
    near = entry.clamp_min(min_near).masked_fill(missed, MISSED)
    return near, leave.masked_fill(missed, MISSED)


def slabs(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], low: Float[Tensor, " 3"], high: Float[Tensor, " 3"]
) -> tuple[Float[Tensor, " rays"], Float[Tensor, " rays"]]:
    """Entry and exit of the box [low, high]; entry > exit where it is missed."""
    inverse = 1 / directions
    a, b = (low - origins) * inverse, (high - origins) * inverse
    # A ray inside the plane of a face gives 0 * inf; that slab does not bound it.
    return torch.minimum(a, b).nan_to_num(nan=-MISSED).amax(-1), torch.maximum(a, b).nan_to_num(nan=MISSED).amin(-1)
