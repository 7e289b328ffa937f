"""One whole picture: background plate, torso, head."""

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.model.head import FrameCode
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.camera_rays.op import background_coords, generate_rays, pose_vector
from r2talker.ops.render_torso.networks import fits
from r2talker.render.config import RenderSettings
from r2talker.render.networks import torso_networks
from r2talker.render.rays import render_rays
from r2talker.types import Camera, Frame


@torch.no_grad()
def blend_torso(
    model: TalkingHead, camera: Camera, background: Float[Tensor, "height width 3"], settings: RenderSettings, *, code: int = 0
) -> Float[Tensor, "height width 3"]:
    """The torso over the background, evaluated only where its occupancy is above the threshold (upstream.md 5.6)."""
    if model.torso is None:
        return background
    plate = background.reshape(-1, 3)
    coords = background_coords(camera.height, camera.width).to(plate)
    seen = model.torso_occupancy.covers(coords, settings.torso_alpha_threshold)
    net, pose, individual = torso_networks(model.torso), pose_vector(camera.c2w), model.torso.individual_codes[code]
    blended = plate.clone()
    if fits(net):
        from r2talker.ops.render_torso import compiled

        blended[seen] = compiled.blend(net, coords[seen], pose, individual, plate[seen])
    else:
        out = model.torso(coords[seen], pose, individual)
        blended[seen] = torch.lerp(plate[seen], out.rgb, out.alpha)
    return blended.reshape(background.shape)


@torch.no_grad()
def render_frame(
    model: TalkingHead, camera: Camera, frame: FrameCode, background: Float[Tensor, "height width 3"], settings: RenderSettings
) -> Frame:
    """Head over torso over background, seen by `camera`. background: colours in [0, 1] at the camera's size."""
    behind = blend_torso(model, camera, background, settings)
    traced = render_rays(model.head, model.occupancy, generate_rays(camera), frame, behind.reshape(-1, 3), settings)
    shape = (camera.height, camera.width)
    return Frame(traced.rgb.reshape(*shape, 3), traced.opacity.reshape(shape), traced.depth.reshape(shape))
