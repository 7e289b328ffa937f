"""Step `description`: poses of both splits, statistics of the training split, and `dataset.json`, which ends ingest."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

import r2talker
from r2talker.data.folder import DatasetInfo, Feature, Source, Statistics, write_info
from r2talker.files import read_json, read_npy, write_json
from r2talker.ingest.expression import read_base
from r2talker.ingest.features import NAME
from r2talker.ingest.step import Step, StepResult, Workspace
from r2talker.ingest.tracking import read_track


def describe(workspace: Workspace) -> StepResult:
    """Write `transforms_train.json`, `transforms_val.json` and, last, `dataset.json`."""
    workspace.progress.begin("description", 1)
    folder, frames, train = workspace.folder, workspace.frames, workspace.train_frames
    eyes = np.array(read_json(workspace.product("eye_values.json")))
    c2w = read_track(workspace).c2w()
    write_json(folder.transforms("train"), _transforms(workspace, c2w, eyes, range(train)))
    write_json(folder.transforms("val"), _transforms(workspace, c2w, eyes, range(train, frames)))
    clip = workspace.readings("frames")["clip"]
    excluded = workspace.readings("exclusion")["frames"]
    kept = np.setdiff1d(np.arange(train), excluded)
    landmarks = read_npy(folder.landmark_offsets("train"))[kept]
    info = DatasetInfo(
        created_by=f"r2talker {r2talker.__version__}",
        source=Source(file=workspace.video.name, **{**clip, "has_sound": workspace.readings("audio")["has_sound"]}),
        size=workspace.config.size,
        frames=frames,
        train_frames=train,
        focal=workspace.config.focal_pixels,
        landmark_scale=workspace.readings("expression")["landmark_scale"],
        landmark_base=read_base(workspace).round(6).tolist(),
        statistics=Statistics(
            landmark_mean=landmarks.mean(0).round(6).tolist(),
            landmark_std=landmarks.std(0).round(6).tolist(),
            landmark_min=landmarks.min(0).round(6).tolist(),
            landmark_max=landmarks.max(0).round(6).tolist(),
            eye_mean=float(eyes[kept].mean()),
            eye_min=float(eyes[kept].min()),
            eye_max=float(eyes[kept].max()),
        ),
        features={NAME: Feature(**workspace.readings("features"))},
        tracking=_quality(workspace),
        settings=asdict(workspace.config),
        excluded=excluded,
    )
    write_info(folder, info)
    return StepResult(f"{folder.root}: {frames} pictures, {train} of them to train on")


def _transforms(workspace: Workspace, c2w: np.ndarray, eyes: np.ndarray, frames: range) -> dict[str, object]:
    size = workspace.config.size
    return {
        "focal_len": workspace.config.focal_pixels,
        "cx": size / 2,
        "cy": size / 2,
        "h": size,
        "w": size,
        "frames": [
            {
                "img_id": index,
                "aud_id": index,
                "eye_ratio": float(eyes[index]),
                "transform_matrix": c2w[index].round(8).tolist(),
            }
            for index in frames
        ],
    }


def _quality(workspace: Workspace) -> dict[str, float]:
    """Readings of the steps that tell how good the dataset is."""
    quality = {**workspace.readings("tracking")}
    quality["interpolated_frames"] = len(workspace.readings("landmarks")["interpolated"])
    quality["pose_leak"] = workspace.readings("expression")["pose_leak"]
    quality["mouth_opening_range_mm"] = workspace.readings("expression")["mouth_opening_range_mm"]
    for name in ("gaze_across_range", "gaze_up_range"):
        quality[name] = workspace.readings("eyes")[name]
    quality["background_seen"] = workspace.readings("background")["seen_share"]
    drift = workspace.readings("masks")["camera_drift_px"]
    if drift is not None:
        quality["camera_drift_px"] = drift
    steadied = workspace.readings("frames")["steadied_px"]
    if steadied is not None:
        quality["camera_steadied_px"] = steadied
    return {name: float(value) for name, value in quality.items()}


def _made(workspace: Workspace) -> list[Path]:
    folder = workspace.folder
    return [folder.info, folder.transforms("train"), folder.transforms("val")]


STEP = Step(
    "description",
    4,
    (
        "frames",
        "audio",
        "landmarks",
        "masks",
        "background",
        "tracking",
        "expression",
        "images",
        "eyes",
        "features",
        "exclusion",
        "sync",
    ),
    ("size", "focal", "seconds", "torso_png", "feature_width", "model_dir", "fix_sync", "exclude"),
    describe,
    _made,
)
