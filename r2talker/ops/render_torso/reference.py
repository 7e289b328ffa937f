"""The torso in plain torch, the composition that the fused pass stands for."""

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.freq_encode.op import freq_encode
from r2talker.ops.grid_encode.op import grid_encode
from r2talker.ops.render_torso.follow import beside_body, usual_stance
from r2talker.ops.render_torso.networks import TorsoNetworks

POSITION_OCTAVES, POSE_OCTAVES = 10, 4


def blend(
    net: TorsoNetworks,
    coords: Float[Tensor, "points 2"],
    pose: Float[Tensor, "6"],
    individual: Float[Tensor, " width"],
    plate: Float[Tensor, "points 3"],
) -> Float[Tensor, "points 3"]:
    """The torso over `plate` at picture coordinates (row, column) in [-1, 1]."""
    x = (coords if net.follow is None else beside_body(coords, usual_stance(pose, net.follow), net.follow)) * net.shrink
    constant = torch.cat([freq_encode(pose[None], POSE_OCTAVES), individual[None]], dim=1).expand(len(x), -1)
    h = torch.cat([freq_encode(x, POSITION_OCTAVES), constant], dim=1)
    hidden = torch.relu(torch.relu(h @ net.deform_first.T) @ net.deform_second.T)
    moved = (x + hidden @ net.deform_out.T).clamp(-1, 1)
    hidden = torch.cat([grid_encode(moved, net.table, net.layout), h], dim=1)
    hidden = torch.relu(torch.relu(hidden @ net.color_first.T) @ net.color_second.T)
    out = torch.sigmoid(hidden @ net.color_out.T)
    return torch.lerp(plate, out[:, 1:], out[:, :1])
