"""Public door of camera geometry (upstream.md section 2)."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.types import Camera, Rays

SCENE_SCALE = 4.0
"""NGP units per metre of the head frame."""
DEGREE = math.pi / 180
"""Radians."""


def generate_rays(camera: Camera, pixels: Int[Tensor, " rays"] | None = None) -> Rays:
    """Rays through pixel centres; `pixels` are flat row-major numbers, by default the whole picture in order (upstream.md 2.3).

    The rays lie on the device of `pixels`, or else of `camera.c2w`. Directions are rounded as the reference rounds them: networks
    that look up an ambient coordinate in a fine grid amplify a difference of 1e-7 to one that can be seen.
    """
    device = camera.c2w.device if pixels is None else pixels.device
    c2w = camera.c2w.to(device)
    if pixels is None:
        pixels = torch.arange(camera.height * camera.width, device=device)
    rows, columns = pixels.div(camera.width, rounding_mode="floor"), pixels % camera.width
    x = (columns + 0.5 - camera.cx) / camera.fx
    y = (rows + 0.5 - camera.cy) / camera.fy
    # Some libraries' roots in single precision are off by a last bit.
    length = ((x * x + 1) + y * y).double().sqrt().to(x)
    right, down, forward = ((part / length).to(c2w) for part in (x, y, torch.ones_like(x)))
    directions = right * c2w[:3, :1]
    for axis, part in ((1, down), (2, forward)):
        # A fused multiply-add: the product is exact in double precision.
        directions = (part.double() * c2w[:3, axis, None].double()).add_(directions).to(c2w.dtype)
    return Rays(c2w[:3, 3].expand(len(pixels), 3), directions.T.contiguous())


def moved_cameras(c2w: Float[Tensor, "*batch 4 4"], motions: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
    """Cameras moved about the head: exp(motion) c2w, the exponential map of SE(3); differentiable in both.

    motions: a turn about the head frame's origin, whose axis is in NGP space and whose length is in degrees, and a shift in NGP
    units, as the two halves of a twist (Lynch and Park 2017, "Modern Robotics", 3.3.3). Zero moves nothing, to the last bit.
    """
    x, y, z = (motions[..., :3] * DEGREE).unbind(-1)
    twists = motions.new_zeros(*motions.shape[:-1], 4, 4)
    for row, column, part in ((2, 1, x), (0, 2, y), (1, 0, z)):
        twists[..., row, column] = part
        twists[..., column, row] = -part
    twists[..., :3, 3] = motions[..., 3:]
    return torch.linalg.matrix_exp(twists.double()).to(c2w) @ c2w


def motion_slopes(
    rays: Rays, by_origin: Float[Tensor, "rays 3"], by_direction: Float[Tensor, "rays 3"]
) -> Float[Tensor, "rays 6"]:
    """What a small motion of the camera (see `moved_cameras`) changes about a value of each ray.

    by_origin, by_direction: derivatives of the value with respect to the ray's origin and direction. A turn by the vector w moves
    them by w x o and w x d, and by_origin . (w x o) = w . (o x by_origin).
    """
    turn = torch.linalg.cross(rays.origins, by_origin) + torch.linalg.cross(rays.directions, by_direction)
    return torch.cat([turn * DEGREE, by_origin], dim=-1)


def c2w_from_head(matrices: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """AD-NeRF matrix (right, up, backward; head frame) to NGP space (right, down, forward), scaled by 4 (upstream.md 2.2)."""
    order = [1, 2, 0]
    result = matrices.clone()
    result[..., :3, :] = matrices[..., order, :]
    result[..., :3, 1:3] *= -1
    result[..., :3, 3] *= SCENE_SCALE
    return result


def head_from_c2w(c2w: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of `c2w_from_head`."""
    order = [2, 0, 1]
    result = c2w.clone()
    result[..., :3, :] = c2w[..., order, :]
    result[..., :3, 1:3] *= -1
    result[..., :3, 3] /= SCENE_SCALE
    return result


def pose_vector(c2w: Float[Tensor, "4 4"]) -> Float[Tensor, " 6"]:
    """Euler angles e with R = Rx(e0) Ry(e1) Rz(e2), and the position (upstream.md 2.4; the arcsine is clamped)."""
    r = c2w[:3, :3]
    angles = [torch.atan2(-r[1, 2], r[2, 2]), torch.asin(r[0, 2].clamp(-1, 1)), torch.atan2(-r[0, 1], r[0, 0])]
    return torch.cat([torch.stack(angles), c2w[:3, 3]])


def background_coords(height: int, width: int) -> Float[Tensor, "pixels 2"]:
    """(row, column) of every pixel in [-1, 1], corners at the outermost pixels, row-major (upstream.md 2.5)."""
    rows = torch.arange(height) / max(height - 1, 1) * 2 - 1
    columns = torch.arange(width) / max(width - 1, 1) * 2 - 1
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
