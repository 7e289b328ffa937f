"""Public door of the ray/box intersection."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.ray_aabb import reference


@dataclass(frozen=True)
class NearFar:
    """Ray parameters [N] where each ray enters and leaves; both the largest float32 where it misses."""

    near: Float[Tensor, " rays"]
    far: Float[Tensor, " rays"]


@torch.no_grad()
def intersect_aabb(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], aabb: Sequence[float], *, min_near: float = 0.05
) -> NearFar:
    """Slab test against the box (three minima, three maxima), not differentiated (upstream.md 5.1).

    near is raised to `min_near`; a far below it simply yields no samples. Raises ValueError on misshaped input.
    """
    if origins.ndim != 2 or origins.shape[1] != 3 or origins.shape != directions.shape or len(aabb) != 6:
        raise ValueError(
            f"intersect_aabb: origins and directions must both be [rays, 3] and aabb six numbers, got {list(origins.shape)}, "
            f"{list(directions.shape)} and {len(aabb)}"
        )
    return NearFar(*reference.intersect(origins, directions, aabb, min_near))
