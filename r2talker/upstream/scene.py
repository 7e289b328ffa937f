"""What a checkpoint does not hold and an avatar needs: camera, poses, background, and the clip's own motion and statistics."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker.data.dataset import Dataset, read_dataset
from r2talker.data.folder import Statistics
from r2talker.data.foreign.layout import find_binary
from r2talker.data.picture_files import decode
from r2talker.data.poses import read_recording
from r2talker.drive.life import Track
from r2talker.errors import R2TalkerError
from r2talker.files import read_json, read_npy
from r2talker.model.method import Method

USUAL_EYE = 0.25
"""Eye value of the reference's tester where a file has none (upstream.md 1.3)."""
FEATURES = {29: "ds", 32: "wav2vec2", 44: "eo", 64: "mel", 1024: "hubert"}
"""Names of audio features by their columns (upstream.md 4.1; the last but one is our own)."""


@dataclass(frozen=True)
class SceneFiles:
    """Where the scene comes from: a dataset folder, or single files.

    poses: transforms_*.json. background: a picture. landmarks: .npy of the training clip's displacements (`aud_idexp.npy`).
    """

    dataset: Path | None = None
    poses: Path | None = None
    background: Path | None = None
    landmarks: Path | None = None

    def __post_init__(self) -> None:
        if (self.dataset is None) == (self.poses is None):
            raise R2TalkerError(
                "an avatar needs the camera and poses of its clip: give --dataset DIR, or --pose transforms_*.json (and --background)"
            )
        if self.dataset is not None and (self.background or self.landmarks):
            raise R2TalkerError(
                "--dataset brings its own background and landmarks; give --background and --landmarks with --pose"
            )


@dataclass(frozen=True)
class Scene:
    """size: pixels. focal: pixels at that size. statistics: of what the method was trained on. source: name of the clip."""

    size: int
    focal: float
    background: UInt8[np.ndarray, "size size 3"]
    track: Track
    statistics: Statistics
    landmark_scale: float
    landmark_base: list[list[float]]
    source: str


def read_scene(files: SceneFiles, method: Method, feature_width: int) -> Scene:
    """Read the scene of an avatar; R2TalkerError names what is missing or does not fit the method."""
    if files.dataset is not None:
        return _of_dataset(files.dataset, method, feature_width)
    return _of_files(files, method)


def _of_dataset(root: Path, method: Method, feature_width: int) -> Scene:
    data = read_dataset(root)
    info, train = data.info, data.train
    landmarks = _trained_landmarks(data, method)
    windows = next((windows for windows in data.audio.values() if windows.shape[2] == feature_width), None)
    if method.drive.kind == "audio" and windows is None:
        found = ", ".join(f"{name} ({feature.width})" for name, feature in info.features.items()) or "none"
        raise R2TalkerError(f"{root} has no audio features of {feature_width} columns, which this model hears; it has: {found}")
    plate = np.ascontiguousarray(decode(data.folder.background, cv2.IMREAD_COLOR)[..., ::-1])
    features = windows[: len(train)] if method.drive.kind == "audio" and windows is not None else None
    track = Track(data.c2w[: len(train)], data.eye[: len(train)], data.displacements[: len(train)], None, features)
    statistics = _statistics(landmarks, data.eye[: len(train)])
    return Scene(info.size, info.focal, plate, track, statistics, info.landmark_scale, info.landmark_base, info.source.file)


def _trained_landmarks(data: Dataset, method: Method) -> Float[Tensor, "frames 68 3"]:
    """Displacements of all frames, held-out ones too: the reference takes its statistics over both (upstream.md 4.1)."""
    folder = data.folder
    if folder.landmark_offsets().exists():
        return torch.from_numpy(read_npy(folder.landmark_offsets()).reshape(-1, 68, 3).astype(np.float32))
    given = all(folder.landmark_offsets(split).exists() for split in ("train", "val")) or find_binary(folder.root) is not None
    if method.drive.kind == "landmarks" and not given:
        raise R2TalkerError(
            f"{folder.root} has no landmark displacements (aud_idexp_train.npy and aud_idexp_val.npy, or trainval_dataset.npy), "
            "which this model was trained on; copy them there"
        )
    return data.displacements


def _of_files(files: SceneFiles, method: Method) -> Scene:
    assert files.poses is not None
    if method.drive.normalise and files.landmarks is None:
        raise R2TalkerError(
            f"{method.title} normalises landmarks by their mean and deviation over the training clip: give --landmarks "
            "aud_idexp.npy of that clip, or --dataset"
        )
    size, focal = _camera(files.poses)
    recording = read_recording(files.poses)
    c2w = recording.c2w
    eye = torch.full((len(c2w),), USUAL_EYE) if recording.eye is None else recording.eye
    landmarks = None if files.landmarks is None else _landmarks(files.landmarks)
    shown = torch.zeros(len(c2w), 68, 3)
    if landmarks is not None:
        shown = landmarks[torch.arange(len(c2w)).clamp(max=len(landmarks) - 1)]
    known = torch.zeros(1, 68, 3) if landmarks is None else landmarks
    plate = np.full((size, size, 3), 255, np.uint8)
    if files.background is not None:
        picture = cv2.imread(str(files.background), cv2.IMREAD_COLOR)
        if picture is None:
            raise R2TalkerError(f"--background {files.background} is no readable picture; give the clip's bc.jpg")
        plate = np.ascontiguousarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1])
    base = [[0.0, 0.0, 0.0]] * 68
    return Scene(size, focal, plate, Track(c2w, eye, shown), _statistics(known, eye), 1.0, base, files.poses.name)


def _camera(path: Path) -> tuple[int, float]:
    """Size and focal length of a transforms_*.json (upstream.md 1.3); R2TalkerError unless pictures are square and centred."""
    values: Any = read_json(path)
    try:
        cx, cy = float(values["cx"]), float(values["cy"])
        height, width = (int(values.get(key, 2 * int(centre))) for key, centre in (("h", cy), ("w", cx)))
        if "camera_angle_x" in values and not {"focal_len", "fl_x"} & set(values):
            focal = width / 2 / math.tan(float(values["camera_angle_x"]) / 2)
        else:
            focal = float(values["focal_len"] if "focal_len" in values else values["fl_x"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise R2TalkerError(
            f"{path} does not say the camera ({error}); expected focal_len, cx and cy of a transforms_*.json"
        ) from error
    if height != width or max(abs(cx - width / 2), abs(cy - height / 2)) > 1:
        raise R2TalkerError(
            f"{path} has pictures of {width} x {height} about {cx:g}, {cy:g}; r2talker needs square ones with the axis in the middle"
        )
    return width, focal


def _landmarks(path: Path) -> Float[Tensor, "frames 68 3"]:
    values = read_npy(path)
    if values.dtype.kind not in "fiu" or values.size == 0 or values.size % 204 or not np.isfinite(values).all():
        raise R2TalkerError(f"{path} holds {values.dtype} {list(values.shape)}; expected finite landmarks (T, 68, 3)")
    return torch.from_numpy(values.astype(np.float32)).reshape(-1, 68, 3)


def _statistics(landmarks: Float[Tensor, "frames 68 3"], eye: Float[Tensor, " frames"]) -> Statistics:
    """Mean and population deviation per coordinate; a single frame has none, and is divided by one."""
    values = landmarks.double()
    deviation = values.std(0, correction=0) if len(values) > 1 else torch.ones(68, 3)
    return Statistics(
        landmark_mean=values.mean(0).tolist(),
        landmark_std=deviation.tolist(),
        landmark_min=values.amin(0).tolist(),
        landmark_max=values.amax(0).tolist(),
        eye_mean=float(eye.mean()),
        eye_min=float(eye.min()),
        eye_max=float(eye.max()),
    )
