"""Where the body stands in the picture, as far as the neck tells: a torso that follows it is looked up beside it, not beside the
picture's corners."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NECK = (-0.24, 0.0, 0.0)
"""The point of the head that torsos follow, NGP space: 6 cm below the head frame's origin, between the jaw's joints. Of the points in
the head's middle plane it is near the one that fits tracked torsos of two clips best (docs/training-measured.md)."""


@dataclass(frozen=True)
class Follow:
    """What a torso does when the neck moves, in background coordinates (upstream.md 2.5).

    scale: coordinates per tangent of the angle to the optical axis, 2 focal / side. row, column: the neck's usual place, about which the
    torso leans. gain: its shift per shift of the neck, [[row by row, row by column], [column by row, column by column]] in one row; heads
    nod more than bodies go along. lean: its angle in radians, from down to right, per shift of the neck by rows and by columns.
    """

    scale: float
    row: float
    column: float
    gain: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    lean: tuple[float, float] = (0.0, 0.0)


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


def usual_stance(pose: Float[Tensor, "*batch 6"], follow: Follow) -> Float[Tensor, "*batch 3"]:
    """Where the body stands at a pose: how far off its usual place (row, column), and how far it leans (radians)."""
    row, column = neck_shift(pose, follow).unbind(-1)
    a, b, c, d = follow.gain
    down, right = follow.lean
    return torch.stack([a * row + b * column, c * row + d * column, down * row + right * column], dim=-1)


def beside_body(xy: Float[Tensor, "points 2"], stance: Float[Tensor, "3"], follow: Follow) -> Float[Tensor, "points 2"]:
    """Background coordinates as a body that stands so would have them where it usually stands."""
    row, column, angle = stance.unbind(-1)
    down, right = xy[:, 0] - row - follow.row, xy[:, 1] - column - follow.column
    a, b = angle.cos(), angle.sin()
    return torch.stack([a * down + b * right + follow.row, a * right - b * down + follow.column], dim=-1)
