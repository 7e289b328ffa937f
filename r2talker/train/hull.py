"""Where the head can be at all: the space that projects into the head's mask in nearly every picture (a visual hull)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from r2talker.data.dataset import Dataset, Pictures
from r2talker.types import Camera

VIEWS = 24
AGREEMENT = 0.85
"""Share of views that must agree: single masks are wrong, and hair moves."""


def head_hull(
    dataset: Dataset, pictures: Pictures, points: Float[Tensor, "points 3"], aabb: Sequence[float]
) -> Bool[Tensor, " points"]:
    """Which points of NGP space lie in the rendered box and project into the grown head mask in most of VIEWS spread training frames."""
    box = points.new_tensor(aabb)
    inside = ((points >= box[:3]) & (points <= box[3:])).all(-1)
    points = points[inside]
    frames = dataset.train[:: max(1, len(dataset.train) // VIEWS)]
    votes = torch.zeros(len(points), device=points.device)
    for frame in frames:
        mask = _grown(pictures.head[pictures.index[frame]], max(1, pictures.size // 40))
        votes += _inside(dataset.camera(frame, pictures.size), mask, points)
    possible = torch.zeros_like(inside)
    possible[inside] = votes >= AGREEMENT * len(frames)
    return possible


def _grown(mask: Bool[Tensor, "height width"], pixels: int) -> Bool[Tensor, "height width"]:
    return max_pool2d(mask[None].float(), 2 * pixels + 1, stride=1, padding=pixels)[0] > 0


def _inside(camera: Camera, mask: Bool[Tensor, "height width"], points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    c2w = camera.c2w.to(points)
    x, y, z = ((points - c2w[:3, 3]) @ c2w[:3, :3]).unbind(-1)
    column = (x / z * camera.fx + camera.cx).floor().long()
    row = (y / z * camera.fy + camera.cy).floor().long()
    # What lies beside the picture is judged by its border.
    seen = mask[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
    return (seen & (z > 0)).float()
