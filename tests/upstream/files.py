"""Checkpoints and scenes as the reference's trainer leaves them, made of the golden weights."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from r2talker import methods
from r2talker.ops.camera_rays.op import head_from_c2w
from r2talker.upstream.scene import SceneFiles
from tests.golden.regenerate import background, camera, golden, meta, model_weights, occupancy

BOX = (-1.0, -0.5, -1.0, 1.0, 0.5, 1.0)
FRAMES = 8
"""Poses of the scene, all the golden one."""


def state_dict(method: str, *, torso: bool = True) -> "OrderedDict[str, Tensor]":
    """The golden model of upstream's name `method`, keys in its own order."""
    weights, entries = model_weights(method), meta()["models"][method]["state_dict"]
    state: OrderedDict[str, Tensor] = OrderedDict()
    grids = {"encoder": methods.get(ours(method)).position_grid, "encoder_idexp_lm3d": methods.get("r2talker").condition_grid}
    flat = methods.get("radnerf").condition_grid
    for key in entries:
        if "torso" in key and not torso:
            continue
        if key.endswith(".offsets"):
            state[key] = torch.tensor(grids.get(key.removesuffix(".offsets"), flat).offsets, dtype=torch.int32)
        elif key.startswith("aabb_"):
            state[key] = torch.tensor(BOX)
        elif key == "step_counter":
            state[key] = torch.arange(32, dtype=torch.int32).reshape(16, 2)
        else:
            state[key] = torch.from_numpy(weights[key])
    return state


def ours(method: str) -> str:
    """Our name of one of upstream's methods."""
    return next(name for name in methods.available() if methods.get(name).upstream_name == method)


def parameters(state: dict[str, Tensor]) -> list[str]:
    return [key for key, value in state.items() if value.is_floating_point() and not key.startswith(("aabb", "density"))]


def latest(state: dict[str, Tensor], *, average: bool = True) -> dict[str, Any]:
    """The file after an epoch (upstream.md 6.5), results in NumPy's numbers as metrics give them."""
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    content: dict[str, Any] = {
        "epoch": 12,
        "global_step": 34567,
        "stats": {
            "loss": [0.5, 0.25],
            "valid_loss": [0.5],
            "results": [np.float64(31.5), np.float32(0.1)],
            "checkpoints": ["workspace/checkpoints/ngp_ep0012.pth"],
            "best_result": None,
        },
        "mean_count": 23839,
        "mean_density": occupancy().mean_density,
        "mean_density_torso": occupancy().mean_torso,
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": {"base_lrs": [0.005], "last_epoch": 34567, "lr_lambdas": [None]},
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7},
        "model": state,
    }
    if average:
        shadows = [state[key].float() * 1.01 for key in parameters(state)]
        content["ema"] = {"decay": 0.95, "num_updates": 34, "shadow_params": shadows, "collected_params": []}
    return content


def best(state: dict[str, Tensor]) -> dict[str, Any]:
    """The file after an evaluation: no densities, no state of the trainer."""
    content = latest(state, average=False)
    for key in ("optimizer", "lr_scheduler", "scaler"):
        del content[key]
    return content | {"model": OrderedDict((key, value) for key, value in state.items() if key != "density_grid")}


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def golden_scene(root: Path) -> SceneFiles:
    """The golden camera as a transforms file, the golden background, and landmarks of mean 0 and deviation 1."""
    view = camera()
    pose = head_from_c2w(torch.from_numpy(golden("ops")["rays/pose"])).tolist()
    frames = [{"img_id": k, "aud_id": k, "transform_matrix": pose} for k in range(FRAMES)]
    content = {"focal_len": view.fx, "cx": view.cx, "cy": view.cy, "frames": frames}
    (root / "transforms_val.json").write_text(json.dumps(content))
    plate = (background().reshape(view.size, view.size, 3) * 255).round().astype(np.uint8)
    cv2.imwrite(str(root / "bc.png"), plate[..., ::-1])
    np.save(root / "aud_idexp.npy", np.stack([np.ones((68, 3), np.float32), -np.ones((68, 3), np.float32)]))
    return SceneFiles(poses=root / "transforms_val.json", background=root / "bc.png", landmarks=root / "aud_idexp.npy")
