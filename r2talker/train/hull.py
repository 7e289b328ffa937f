"""Where the head can be at all: the space that projects into the head's mask in nearly every picture (a visual hull)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from r2talker.data.dataset import Dataset, Pictures
from r2talker.types import Camera

VIEWS = 24
AGREEMENT = 0.85
"""Share of views that must agree: single masks are wrong, and hair moves."""


def head_hull(dataset: Dataset, pictures: Pictures, points: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
    """Which points of NGP space project into the grown head mask, or out of the picture, in most of VIEWS spread training frames."""
    frames = dataset.train[:: max(1, len(dataset.train) // VIEWS)]
    votes = torch.zeros(len(points), device=points.device)
    for frame in frames:
        mask = _grown(pictures.head[pictures.index[frame]], max(1, pictures.size // 40))
        votes += _inside(dataset.camera(frame, pictures.size), mask, points)
    return votes >= AGREEMENT * len(frames)


def _grown(mask: Bool[Tensor, "height width"], pixels: int) -> Bool[Tensor, "height width"]:
    return max_pool2d(mask[None].float(), 2 * pixels + 1, stride=1, padding=pixels)[0] > 0


def _inside(camera: Camera, mask: Bool[Tensor, "height width"], points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    c2w = camera.c2w.to(points)
    x, y, z = ((points - c2w[:3, 3]) @ c2w[:3, :3]).unbind(-1)
    column = (x / z * camera.fx + camera.cx).floor().long()
    row = (y / z * camera.fy + camera.cy).floor().long()
    # Below the picture is the neck, not the head; beside and above it nobody can say.
    outside = (column < 0) | (column >= camera.width) | (row < 0)
    seen = mask[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)] & (row < camera.height)
    return ((seen | outside) & (z > 0)).float()
