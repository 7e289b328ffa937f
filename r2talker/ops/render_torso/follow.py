"""Where the neck stands in the picture: a torso that follows it is looked up beside it, not beside the picture's corners."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NECK = (-0.24, 0.0, 0.0)
"""The point of the head that torsos follow, NGP space: 6 cm below the head frame's origin, between the jaw's joints. Of the points in
the head's middle plane it is near the one that fits tracked torsos of two clips best (docs/training-measured.md)."""


@dataclass(frozen=True)
class Follow:
    """The neck's place in the picture less its usual one, in background coordinates (upstream.md 2.5).

    scale: coordinates per tangent of the angle to the optical axis, 2 focal / side. row, column: the usual place.
    """

    scale: float
    row: float
    column: float


def neck_tangents(pose: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 2"]:
    """Down and right tangents at which a camera sees NECK; pose: Euler angles and position of the camera (upstream.md 2.4)."""
    a, b, c, x, y, z = pose.unbind(-1)
    x, y, z = NECK[0] - x, NECK[1] - y, NECK[2] - z
    # The transposed rotation: first that about x is undone, then y, then z.
    y, z = a.cos() * y + a.sin() * z, a.cos() * z - a.sin() * y
    x, z = b.cos() * x - b.sin() * z, b.sin() * x + b.cos() * z
    x, y = c.cos() * x + c.sin() * y, c.cos() * y - c.sin() * x
    return torch.stack([y, x], dim=-1) / z.clamp_min(1e-3)[..., None]


def neck_shift(pose: Float[Tensor, "*batch 6"], follow: Follow) -> Float[Tensor, "*batch 2"]:
    """By how much the neck is off its usual place, (row, column)."""
    down, right = neck_tangents(pose).unbind(-1)
    return torch.stack([follow.scale * down - follow.row, follow.scale * right - follow.column], dim=-1)
