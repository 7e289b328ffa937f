"""What a checkpoint's tensors say about the model they belong to, and what is wrong with them."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from r2talker import methods
from r2talker.compatibility import UPSTREAM
from r2talker.errors import R2TalkerError
from r2talker.model.grid import Grid
from r2talker.model.head import HeadConfig
from r2talker.model.method import Method
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.model.torso import TorsoConfig
from r2talker.model.upstream_names import upstream_name

OPTIONAL = ("aabb_train", "aabb_infer", "step_counter", "density_grid")
"""Buffers that a checkpoint may lack: settings and bookkeeping, and the densities that its bits were made of."""
CAMERA = ("camera_dR", "camera_dT")
"""Corrections of the training poses, of models trained with camera optimisation; kept for the way back, not used."""
FIRST_DENSITY = "sigma_net.net.0.weight"


@dataclass(frozen=True)
class Expected:
    """Shapes by upstream's names, and the grids' offsets."""

    shapes: dict[str, tuple[int, ...]]
    offsets: dict[str, Tensor]


def recognise(path: Path, shapes: dict[str, tuple[int, ...]]) -> tuple[Method, int]:
    """The method that a checkpoint was trained by, and the columns of its audio features; R2TalkerError where none knows it."""
    for name in methods.available():
        width = methods.get(name).recognise(shapes)
        if width is not None:
            return methods.get(name), width
    known = ", ".join(methods.get(name).title for name in methods.available())
    raise R2TalkerError(
        f"{path} belongs to no method that r2talker knows ({known}): its tensors are {', '.join(list(shapes)[:6])}, ..."
    )


def model_config(method: Method, feature_width: int, shapes: dict[str, tuple[int, ...]]) -> ModelConfig:
    """The reference's model with this checkpoint's codes and inputs; sizes that are no choice are the reference's."""
    codes, width = _table(shapes.get("individual_codes"), 10000, 4)
    torso = None
    if any("torso" in key for key in shapes):
        torso_codes, torso_width = _table(shapes.get("individual_codes_torso"), 10000, 8)
        torso = TorsoConfig(codes=torso_codes, code_width=torso_width)
    head = HeadConfig(replace(method.position_grid, kind=UPSTREAM.index, axes=UPSTREAM.axes), codes=codes, code_width=width)
    config = ModelConfig(head, method.condition_grid, torso, feature_width, UPSTREAM.film)
    with_eye = expected_tensors(config, method).shapes[FIRST_DENSITY][1]
    blind = shapes.get(FIRST_DENSITY, ())[1:] == (with_eye - 1,)
    return replace(config, head=replace(head, eye=not blind))


def expected_tensors(config: ModelConfig, method: Method) -> Expected:
    """What a checkpoint of a model holds (upstream.md 4.6)."""
    with torch.device("meta"):
        model = TalkingHead(config, method)
    shapes, offsets = {}, {}
    for key, value in model.state_dict().items():
        name = upstream_name(key, method.keys)
        if name is not None and not (config.torso is None and key.startswith("torso")):
            shapes[name] = tuple(value.shape)
    for key, module in model.named_modules():
        if isinstance(module, Grid):
            name = upstream_name(f"{key}.offsets", method.keys)
            assert name is not None
            offsets[name] = torch.tensor(module.layout.offsets, dtype=torch.int32)
    return Expected(shapes, offsets)


def check_tensors(path: Path, model: dict[str, Tensor], expected: Expected, title: str) -> None:
    """R2TalkerError names every missing, unexpected and misshaped tensor at once."""
    shapes = {key: tuple(value.shape) for key, value in model.items()}
    bookkeeping = {
        "aabb_train": (6,),
        "aabb_infer": (6,),
        "step_counter": (16, 2),
        **{k: tuple(v.shape) for k, v in expected.offsets.items()},
    }
    wanted = {**expected.shapes, **bookkeeping}
    faults = [f"{key} is missing" for key in expected.shapes if key not in shapes and key not in OPTIONAL]
    faults += [f"{key} is unexpected" for key in shapes if key not in wanted and key not in CAMERA]
    faults += [
        f"{key} has shape {list(shapes[key])} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in shapes and shapes[key] != shape
    ]
    faults += [
        f"{key} lays out another grid than the reference's"
        for key, offsets in expected.offsets.items()
        if shapes.get(key) == tuple(offsets.shape) and not torch.equal(model[key].long(), offsets.long())
    ]
    faults += [f"{key} holds NaN or infinity" for key, value in model.items() if not bool(value.isfinite().all())]
    if faults:
        larger = " (a scene of bound > 1, which r2talker does not read)" if _is_larger(shapes) else ""
        raise R2TalkerError(f"{path} does not fit {title} as the reference trains it{larger}: {'; '.join(faults)}")


def _table(shape: tuple[int, ...] | None, rows: int, width: int) -> tuple[int, int]:
    """Rows and columns of a table of codes, the reference's where the file has none."""
    return (shape[0], shape[1]) if shape is not None and len(shape) == 2 else (rows, width)


def _is_larger(shapes: dict[str, tuple[int, ...]]) -> bool:
    return shapes.get("density_bitfield", (0,)) > (128**3 // 8,)
