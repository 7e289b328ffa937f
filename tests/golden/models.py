"""Our models carrying the golden weights, and the inputs that go with them as this package's types."""

from functools import cache

import torch
from torch import Tensor

from r2talker import methods
from r2talker.model.head import FrameCode, HeadConfig
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.model.torso import TorsoConfig
from r2talker.model.upstream_names import upstream_name
from r2talker.types import Camera, Rays
from tests.golden.regenerate import METHODS, camera, golden, model_inputs, model_weights, occupancy

NAMES = tuple(name for name in methods.available() if methods.get(name).upstream_name in METHODS)
"""Methods that there are vectors for."""
FEATURE_WIDTH = 44


def new_model(name: str) -> TalkingHead:
    """A model of the reference's shapes, weights as they come."""
    method = methods.get(name)
    config = ModelConfig(HeadConfig(method.position_grid), method.condition_grid, TorsoConfig(), FEATURE_WIDTH)
    return TalkingHead(config, method)


@cache
def golden_model(name: str) -> TalkingHead:
    """The model with the golden weights; shared, so leave it as it is."""
    model = new_model(name)
    weights = model_weights(model.method.upstream_name)
    state = {}
    for key in model.state_dict():
        upstream = upstream_name(key, model.method.keys)
        state[key] = torch.tensor(occupancy().mean_torso) if upstream is None else torch.from_numpy(weights[upstream])
    model.load_state_dict(state)
    return model


def golden_window(name: str) -> Tensor:
    """The condition window, as a batch of one frame."""
    return torch.from_numpy(model_inputs(methods.get(name).upstream_name).window)[None]


def golden_frame(name: str, row: int = 0) -> FrameCode:
    """The code of the golden window with the individual code of `row`; differentiable."""
    head = golden_model(name).head
    eye = torch.from_numpy(golden(methods.get(name).upstream_name)["eye"]).reshape(())
    return FrameCode(head.contract.encode(golden_window(name))[0], eye, head.individual_codes[row])


def golden_rays() -> Rays:
    """The stored rays: a direction that differs by 1e-7 is amplified by random tables."""
    directions = torch.from_numpy(golden("ops")["rays/d"])
    return Rays(torch.from_numpy(golden("ops")["rays/o"]).expand_as(directions).contiguous(), directions)


def golden_camera() -> Camera:
    """The camera at the stored pose."""
    view = camera()
    return Camera(torch.from_numpy(golden("ops")["rays/pose"]), view.fx, view.fy, view.cx, view.cy, view.size, view.size)
