"""A checkpoint of the reference becomes an avatar."""

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

import r2talker
from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder, AvatarInfo
from r2talker.compatibility import UPSTREAM
from r2talker.errors import R2TalkerError
from r2talker.model.method import Method
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.render.config import RenderSettings
from r2talker.upstream.checkpoint import Checkpoint, read_checkpoint
from r2talker.upstream.record import make_record, write_record
from r2talker.upstream.scene import FEATURES, Scene, SceneFiles, read_scene
from r2talker.upstream.shapes import check_tensors, expected_tensors, model_config, recognise
from r2talker.upstream.tensors import load_upstream, to_upstream

Weights = Literal["auto", "average", "raw"]


@dataclass(frozen=True)
class ImportReport:
    """What was imported. weights: `average` or `raw`."""

    method: Method
    config: ModelConfig
    weights: str


def import_checkpoint(path: Path, avatar: Path, files: SceneFiles, *, weights: Weights = "auto") -> ImportReport:
    """Write an avatar folder of a checkpoint and the scene that belongs to it (docs/from-upstream.md).

    weights: the moving average, the raw weights as they were last trained, or the average where the file has one.
    R2TalkerError when the file is damaged, belongs to no known method, lacks something, or the folder holds an avatar already.
    """
    folder = AvatarFolder(avatar)
    if avatar.exists() and (not avatar.is_dir() or folder.info.exists()):
        raise R2TalkerError(f"{avatar} exists already; choose another name for the avatar")
    checkpoint = read_checkpoint(path, needs_average=weights != "raw")
    method, feature_width = recognise(path, checkpoint.shapes)
    config = model_config(method, feature_width, checkpoint.shapes)
    check_tensors(path, checkpoint.model, expected_tensors(config, method), method.title)
    chosen = _choose(path, checkpoint, weights)
    scene = read_scene(files, method, feature_width)
    model = TalkingHead(config, method)
    mean = checkpoint.numbers.get("mean_density_torso")
    load_upstream(model, checkpoint.model | chosen, None if mean is None else float(mean))
    settings = _settings(checkpoint)
    token = uuid.uuid4().hex
    provenance = {
        "clip": {"file": scene.source},
        "upstream": {
            "checkpoint": path.name,
            "weights": "average" if chosen else "raw",
            "record": token,
            **{name: value for name, value in checkpoint.numbers.items() if name in ("epoch", "global_step")},
        },
    }
    info = _describe(method, config, scene, settings, provenance)
    # The record goes first: a folder with avatar.json is complete.
    write_record(folder.upstream, make_record(checkpoint, to_upstream(model, settings.aabb), token))
    Avatar(info, model.eval().requires_grad_(False), scene.track, scene.background).save(avatar)
    return ImportReport(method, config, "average" if chosen else "raw")


def _choose(path: Path, checkpoint: Checkpoint, weights: Weights) -> dict[str, Tensor]:
    """Tensors that take the place of the raw ones."""
    if weights == "raw" or (weights == "auto" and checkpoint.average is None):
        return {}
    if checkpoint.average is None:
        raise R2TalkerError(f"{path} has no moving average (`ema`); import with --weights raw")
    return checkpoint.average.tensors


def _settings(checkpoint: Checkpoint) -> RenderSettings:
    """The reference's defaults, in the box that the file says."""
    settings = RenderSettings(step=UPSTREAM.step, budget=UPSTREAM.budget)
    box: Any = tuple(checkpoint.model["aabb_infer"].tolist()) if "aabb_infer" in checkpoint.model else settings.aabb
    return replace(settings, aabb=box)


def _describe(
    method: Method, config: ModelConfig, scene: Scene, settings: RenderSettings, provenance: dict[str, Any]
) -> AvatarInfo:
    audio = method.drive.kind == "audio"
    return AvatarInfo(
        created_by=f"r2talker {r2talker.__version__}",
        method=method.name,
        size=scene.size,
        focal=scene.focal,
        model=config,
        render=settings,
        landmark_scale=scene.landmark_scale,
        landmark_base=scene.landmark_base,
        statistics=scene.statistics,
        feature=FEATURES.get(config.feature_width, f"{config.feature_width} columns") if audio else "",
        window_edge=UPSTREAM.window_edge,
        provenance=provenance,
    )
