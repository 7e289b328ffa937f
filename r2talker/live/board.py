"""The torso while the camera orbits. It was learned as a picture, not as a body: it stands like a board through the middle of the
head, faces the tracked camera, and is seen by the camera that orbits. Seen too much from the side it fades, because a board shows.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from r2talker.model.talking_head import TalkingHead
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.render.config import RenderSettings
from r2talker.render.frame import blend_torso
from r2talker.types import Camera

FULL, GONE = 0.6, 0.3
"""Cosines of the angle between both cameras (53 and 73 degrees) from which the torso is whole, and up to which it is not there."""


def blend_board(
    model: TalkingHead, tracked: Camera, seen: Camera, background: Float[Tensor, "height width 3"], settings: RenderSettings
) -> Float[Tensor, "height width 3"]:
    """The torso as `tracked` sees it, drawn as a board that `seen` looks at, over a background that stays. Both have one size;
    where they are one camera, the torso is the picture that it is.
    """
    if seen is tracked:
        return blend_torso(model, tracked, background, settings)
    facing = float(tracked.c2w[:3, 2] @ seen.c2w[:3, 2])
    share = min(max((facing - GONE) / (FULL - GONE), 0.0), 1.0)
    if share == 0.0 or model.torso is None:
        return background
    # Over black and over white: what differs is what shines through.
    black = blend_torso(model, tracked, torch.zeros_like(background), settings)
    white = blend_torso(model, tracked, torch.ones_like(background), settings)
    alpha = (1 - (white - black).mean(-1, keepdim=True)).clamp(0, 1)
    warped = _warp(torch.cat([black, alpha], -1), tracked, seen)
    colour, alpha = share * warped[..., :3], share * warped[..., 3:]
    return (colour + (1 - alpha) * background).clamp(0, 1)


def _warp(picture: Float[Tensor, "height width 4"], tracked: Camera, seen: Camera) -> Float[Tensor, "height width 4"]:
    """The picture of `tracked` on the plane through the origin that faces it, as `seen` sees it; nothing where it ends."""
    device = picture.device
    pose = tracked.c2w.to(device)
    normal, centre = pose[:3, 2], pose[:3, 3]
    rays = generate_rays(replace(seen, c2w=seen.c2w.to(device)))
    along = -(rays.origins @ normal) / (rays.directions @ normal).clamp_min(1e-6)
    local = (rays.origins + along[:, None] * rays.directions - centre) @ pose[:3, :3]
    x = local[:, 0] / local[:, 2] * tracked.fx + tracked.cx
    y = local[:, 1] / local[:, 2] * tracked.fy + tracked.cy
    place = torch.stack([2 * x / tracked.width - 1, 2 * y / tracked.height - 1], -1)
    # A ray that does not meet the board from the front meets nothing.
    place = torch.where((along > 0)[:, None] & (local[:, 2:] > 0), place, 2.0).reshape(1, seen.height, seen.width, 2)
    taken = grid_sample(picture.permute(2, 0, 1)[None], place.to(picture), align_corners=False, padding_mode="zeros")
    return taken[0].permute(1, 2, 0)
