"""Other sights of a head than its tracked picture: by a camera that was moved, and of depth, normals or coverage instead of colours."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.camera_rays.op import generate_rays
from r2talker.render.rays import TracedRays
from r2talker.types import Camera

SOLID = 0.5
"""Opacity from which a pixel has a depth and a normal."""


@dataclass(frozen=True)
class Sight:
    """What is shown, and how far the camera is from the tracked one.

    yaw, pitch: degrees by which it orbits the head. pan_x, pan_y: pixels of a picture of side 1. zoom: steps of 1.1.
    """

    kind: Literal["image", "depth", "normal", "alpha"] = "image"
    yaw: float = 0.0
    pitch: float = 0.0
    pan_x: float = 0.0
    pan_y: float = 0.0
    zoom: float = 0.0

    @property
    def moved(self) -> bool:
        """Whether the camera is another than the tracked one."""
        return replace(self, kind="image") != Sight()


def orbit(c2w: Float[Tensor, "4 4"], sight: Sight) -> Float[Tensor, "4 4"]:
    """The camera turned about the head by yaw (about the head's up axis) and pitch (about the camera's right), nearer, and panned.

    As in the reference's viewer: distance times 1.1 ^ -zoom, panning in the camera's plane (upstream.md 6.10).
    """
    moved = c2w.clone()
    up = _turn(c2w.new_tensor([1.0, 0.0, 0.0]), math.radians(sight.yaw))
    moved[:3] = up @ moved[:3]
    side = _turn(moved[:3, 0], math.radians(sight.pitch))
    moved[:3] = side @ moved[:3]
    moved[:3, 3] *= 1.1**-sight.zoom
    distance = moved[:3, 3].norm()
    moved[:3, 3] -= (sight.pan_x * moved[:3, 0] + sight.pan_y * moved[:3, 1]) * distance * 0.25
    return moved


def _turn(axis: Float[Tensor, " 3"], angle: float) -> Float[Tensor, "3 3"]:
    """Rotation about a unit axis (Rodrigues)."""
    x, y, z = axis.tolist()
    cross = axis.new_tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    eye = torch.eye(3, dtype=axis.dtype, device=axis.device)
    return eye + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def show(traced: TracedRays, camera: Camera, kind: str) -> Float[Tensor, "height width 3"]:
    """The kind of picture of what all rays of a camera met; colours in [0, 1]."""
    shape = (camera.height, camera.width)
    rgb, alpha = traced.rgb.reshape(*shape, 3), traced.opacity.reshape(shape)
    if kind == "image":
        return rgb
    if kind == "alpha":
        return alpha.clamp(0, 1)[..., None].expand(-1, -1, 3)
    solid, distance = alpha > SOLID, (traced.distance / traced.opacity.clamp_min(SOLID)).reshape(shape)
    if kind == "normal":
        return _normals(distance, solid, camera)
    seen = distance[solid]
    if len(seen) == 0:
        return torch.zeros_like(rgb)
    # Percentiles, because single rays that graze the head lie far behind it.
    near, far = torch.quantile(seen[:: len(seen) // 100_000 + 1], seen.new_tensor([0.01, 0.99]))
    shade = 1 - 0.85 * ((distance - near) / (far - near).clamp_min(1e-6)).clamp(0, 1)
    return torch.where(solid, shade, 0.0)[..., None].expand(-1, -1, 3)


def _smoothed(depth: Tensor, solid: Tensor) -> Tensor:
    """Mean over the solid pixels among 5 x 5: slopes of single rays are mostly noise."""
    weight = solid.to(depth)[None, None]
    total = torch.nn.functional.avg_pool2d(depth[None, None] * weight, 5, stride=1, padding=2)
    return (total / torch.nn.functional.avg_pool2d(weight, 5, stride=1, padding=2).clamp_min(1e-6))[0, 0]


def _normals(distance: Tensor, solid: Tensor, camera: Camera) -> Float[Tensor, "side side 3"]:
    """Normals of the surface at a distance, as colours around grey: red to the right, green upwards, blue towards the camera."""
    rays = generate_rays(camera)
    along = _smoothed(distance, solid).reshape(-1, 1)
    points = (rays.origins + along * rays.directions).reshape(*distance.shape, 3)
    down, right = torch.gradient(points, dim=(0, 1))
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1) @ camera.c2w[:3, :3].to(points)
    coloured = normal * normal.new_tensor([1.0, -1.0, -1.0]) * 0.5 + 0.5
    return torch.where(solid[..., None], coloured.nan_to_num(0.5).clamp(0, 1), 0.0)
