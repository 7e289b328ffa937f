"""A model's tensors under upstream's names and back."""

import torch
from torch import Tensor

from r2talker.model.occupancy import DENSITY_THRESHOLD
from r2talker.model.talking_head import TalkingHead
from r2talker.model.upstream_names import upstream_name
from r2talker.ops.occupancy.op import unpack_bits
from r2talker.upstream.shapes import expected_tensors

STEPS_COUNTED = (16, 2)


def to_upstream(model: TalkingHead, aabb: tuple[float, ...]) -> dict[str, Tensor]:
    """A complete state_dict of the reference: our tensors, the grids' offsets, boxes and an empty step counter (upstream.md 4.6)."""
    expected = expected_tensors(model.config, model.method)
    tensors = {}
    for key, value in model.state_dict().items():
        name = upstream_name(key, model.method.keys)
        if name in expected.shapes:
            tensors[name] = value.detach().cpu()
    box = torch.tensor(aabb, dtype=torch.float32)
    counter = torch.zeros(STEPS_COUNTED, dtype=torch.int32)
    return {**tensors, **expected.offsets, "aabb_train": box, "aabb_infer": box.clone(), "step_counter": counter}


def load_upstream(model: TalkingHead, tensors: dict[str, Tensor], mean_density_torso: float | None) -> None:
    """Fill a model with checked tensors of upstream's names, converted to the model's types.

    Densities that a file lacks are made of the bits; the torso's mean (a number beside the state_dict) of its grid.
    """
    state = {}
    for key, value in model.state_dict().items():
        name = upstream_name(key, model.method.keys)
        state[key] = tensors[name].to(value.dtype) if name in tensors else value
    if "density_grid" not in tensors:
        occupied = unpack_bits(tensors["density_bitfield"].to(torch.uint8))
        state["occupancy.density"] = (occupied.float() * (2 * DENSITY_THRESHOLD)).reshape(1, -1)
    mean = state["torso_occupancy.alpha"].mean() if mean_density_torso is None else torch.tensor(float(mean_density_torso))
    state["torso_occupancy.mean"] = mean.float()
    model.load_state_dict(state)
