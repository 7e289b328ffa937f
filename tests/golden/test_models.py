"""All methods against the golden vectors: every stored array, every gradient, every entry of the state_dict."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker import methods
from r2talker.model.upstream_names import upstream_name
from r2talker.ops.camera_rays.op import background_coords, pose_vector
from r2talker.render.config import RenderSettings
from r2talker.render.frame import blend_torso
from r2talker.render.rays import render_rays, trace_rays
from r2talker.train.losses import binary_entropy, squared_error
from tests.golden.models import NAMES, golden_camera, golden_frame, golden_model, golden_rays, golden_window, new_model
from tests.golden.regenerate import METHODS, background, golden, meta, model_inputs, probe
from tests.tolerances import assert_close

SETTINGS = RenderSettings()
EYE, TRAINING_ROW, ENTROPY = 0.25, 3, 1e-4
NOT_OURS = ("aabb_train", "aabb_infer", "step_counter")
"""Upstream buffers that hold settings or bookkeeping of its trainer."""
BY_KIND = {"sigma", "color", "geo_feat", "image_head", "depth_head", "image_head_fp16", "train_image"}
"""Arrays whose bound differs between methods with and without an ambient coordinate."""
ENTRIES = {
    **dict.fromkeys(("window", "x", "d", "eye", "train_target"), "exact"),
    "background": "golden picture",
    "torso_coords": "golden rays",
    "pose6": "golden rays",
}


def stored(name: str) -> Any:
    return golden(methods.get(name).upstream_name)


def reference(name: str) -> Any:
    return meta()["models"][methods.get(name).upstream_name]


def kind(name: str) -> str:
    return "ambient" if any(key.startswith("ambient_net") for key in reference(name)["state_dict"]) else "film"


@torch.no_grad()
def queried(name: str) -> dict[str, Tensor | np.ndarray]:
    """What the networks say about single points and one window."""
    model, inputs, frame = golden_model(name), model_inputs(methods.get(name).upstream_name), golden_frame(name)
    x, d = torch.from_numpy(inputs.x), torch.from_numpy(inputs.d)
    radiance, density = model.head(x, d, frame), model.head.density(x, frame)
    coords, pose = background_coords(64, 64)[::17], pose_vector(golden_camera().c2w)
    torso = model.torso(coords, pose, model.torso.individual_codes[0])
    # The vectors hold FiLM's grid features; the style networks behind them show in sigma.
    film = kind(name) == "film"
    return {
        "window": inputs.window,
        "x": inputs.x,
        "d": inputs.d,
        "eye": np.full((1, 1), EYE, np.float32),
        "train_target": inputs.train_target,
        "background": background(),
        "encoded": model.head.conditioning.landmark_grid(golden_window(name).reshape(-1, 3)) if film else frame.condition,
        "sigma": radiance.sigma,
        "color": radiance.rgb,
        # No ambient coordinate is stored as zeros.
        "ambient": torch.zeros(len(x), 2) if radiance.ambient is None else radiance.ambient,
        "geo_feat": density.geometry,
        "torso_coords": coords,
        "pose6": pose,
        "torso_alpha": torso.alpha,
        "torso_color": torso.rgb,
        "torso_dx": torso.deformation,
    }


@torch.no_grad()
def rendered(name: str) -> dict[str, Tensor]:
    """Pictures through the loop for pictures, over the plate and over the torso."""
    model, frame, plate = golden_model(name), golden_frame(name), torch.from_numpy(stored(name)["background"])
    head = render_rays(model.head, model.occupancy, golden_rays(), frame, plate, SETTINGS)
    behind = blend_torso(model, golden_camera(), plate.reshape(64, 64, 3), SETTINGS).reshape(-1, 3)
    full = render_rays(model.head, model.occupancy, golden_rays(), frame, behind, SETTINGS)
    return {"image_head": head.rgb, "depth_head": head.depth, "image_head_fp16": head.rgb, "image_full": full.rgb}


@cache
def trained(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
    """The training picture and its loss, and the loss's gradient of every parameter by upstream's name."""
    model, plate = golden_model(name), torch.from_numpy(stored(name)["background"])
    traced = trace_rays(model.head, model.occupancy, golden_rays(), golden_frame(name, TRAINING_ROW), plate, SETTINGS)
    target = torch.from_numpy(stored(name)["train_target"])
    loss = squared_error(traced.rgb, target) + ENTROPY * binary_entropy(traced.opacity)
    keys, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    names = (upstream_name(key, model.method.keys) for key in keys)
    return {"train_image": traced.rgb.detach(), "train_loss": loss.detach()}, dict(zip(names, gradients, strict=True))


@cache
def computed(name: str) -> dict[str, Tensor | np.ndarray]:
    return queried(name) | rendered(name) | trained(name)[0]


@pytest.mark.parametrize(
    ("name", "array"), [(name, array) for name in NAMES for array in golden(methods.get(name).upstream_name)]
)
def test_array(name: str, array: str) -> None:
    """Runs over the files' own lists, so an array that nothing computes is an error."""
    expected = stored(name)[array]
    entry = ENTRIES.get(array, f"golden {array}") + (f", {kind(name)}" if array in BY_KIND else "")
    assert_close(np.asarray(computed(name)[array]).reshape(expected.shape), expected, entry)


def test_every_method_of_the_vectors_is_compared() -> None:
    assert {methods.get(name).upstream_name for name in NAMES} == set(METHODS) == set(meta()["models"])


def test_an_ambient_coordinate_is_stored_exactly_for_methods_that_have_one() -> None:
    for name in NAMES:
        has_one = golden_model(name).head(torch.zeros(1, 3), torch.ones(1, 3), golden_frame(name)).ambient is not None
        assert has_one == (kind(name) == "ambient") == bool(np.any(stored(name)["ambient"]))


@pytest.mark.parametrize("name", NAMES)
def test_state_dict(name: str) -> None:
    model, expected = new_model(name), reference(name)["state_dict"]
    ours = {upstream_name(key, model.method.keys): value for key, value in model.state_dict().items()}
    assert [key for key in model.state_dict() if upstream_name(key, model.method.keys) is None] == ["torso_occupancy.mean"]
    del ours[None]
    offsets = {key for key in expected if key.endswith(".offsets")}
    assert set(ours) == set(expected) - offsets - set(NOT_OURS)
    found = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in ours.items()}
    assert found == {key: expected[key] for key in found}
    head, torso = model.head, model.torso
    layouts = [model.config.condition_grid, head.position_grid.layout, torso.grid.layout]
    assert [len(layout.offsets) for layout in layouts] == [expected[key][0][0] for key in sorted(offsets)]


def group(name: str, parameter: str) -> str:
    """The row of the README's table of tolerances that a gradient belongs to."""
    if kind(name) == "film":
        return "film"
    if "attentionConvNet" in parameter:
        return "cancelling"
    condition = parameter.startswith(("ambient_net", "audio_", "encoder_ambient"))
    return "condition" if condition else "nets"


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, key) for name in NAMES for key in reference(name)["grad_norm_and_probe"]]
)
def test_gradient(name: str, parameter: str) -> None:
    norm, along_probe = reference(name)["grad_norm_and_probe"][parameter]
    gradient = trained(name)[1][parameter].double().numpy()
    row = group(name, parameter)
    if row == "cancelling":
        # Order of magnitude only, and no direction: the README's rule for sums that cancel almost entirely.
        assert_close(np.log10(np.linalg.norm(gradient)), np.log10(norm), "golden norm, cancelling")
        return
    assert_close(np.linalg.norm(gradient), norm, f"golden norm, {row}")
    dot = (gradient * probe(methods.get(name).upstream_name, parameter)).sum()
    assert_close(dot / norm, along_probe / norm, f"golden probe, {row}")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_gets_a_gradient(name: str) -> None:
    gradients = trained(name)[1]
    reached = {key for key, gradient in gradients.items() if gradient is not None and gradient.count_nonzero()}
    assert reached == set(reference(name)["grad_norm_and_probe"])
    rows = torch.nonzero(gradients["individual_codes"].abs().sum(1)).flatten()
    assert rows.tolist() == [TRAINING_ROW]
