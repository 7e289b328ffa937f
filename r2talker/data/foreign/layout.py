"""Where the tools of this family keep things, and which frame is which (upstream.md 1, with its quirks of 1.6)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from r2talker.data.folder import DatasetFolder
from r2talker.data.track_params import FILE, read_track_params
from r2talker.errors import R2TalkerError
from r2talker.files import read_json

BINARY = "trainval_dataset.npy"
"""GeneFace's file beside the folder of pictures, or in `binary/videos/<ID>` for `processed/videos/<ID>`."""

_AUDIO = {
    "eo": ("aud_eo.npy", "aud_esperanto.npy"),
    "ds": ("aud_ds.npy", "aud_deepspeech.npy"),
    "hubert": ("aud_hu.npy",),
}
_UNNAMED = "aud.npy"
_UNNAMED_WIDTHS = {29: "ds", 32: "wav2vec2", 44: "eo"}


@dataclass(frozen=True)
class Frames:
    """Poses of the frames that the tools tracked. numbers: their pictures. poses: camera-to-world, head frame. eye: percent of the
    picture, None where the files do not say. train: how many belong to the training split; they come first."""

    numbers: list[int]
    poses: Float[np.ndarray, "frames 4 4"]
    eye: list[float | None]
    train: int
    focal: float
    size: int


def is_foreign(root: Path) -> bool:
    """Whether `root` looks like a folder of those tools: poses, and no sign of our own ingest."""
    known = (DatasetFolder(root).transforms("train"), root / FILE)
    return any(path.exists() for path in known) and not (root / ".steps").exists()


def read_frames(root: Path) -> Frames:
    """Both splits of `transforms_*.json`, or `track_params.pt` where they were not made; R2TalkerError names what does not fit."""
    folder = DatasetFolder(root)
    if not folder.transforms("train").exists():
        return _read_tracking(folder)
    splits: dict[str, Any] = {}
    entries: dict[str, list[Any]] = {}
    for split in ("train", "val"):
        path = folder.transforms(split)
        if split == "val" and not path.exists():
            splits[split], entries[split] = splits["train"], []
            continue
        splits[split] = read_json(path)
        try:
            entries[split] = sorted(splits[split]["frames"], key=lambda frame: int(frame["img_id"]))
        except (KeyError, TypeError, ValueError) as error:
            raise R2TalkerError(
                f"{path} is incomplete ({error}); expected `frames` with `img_id` and `transform_matrix`"
            ) from error
    both = entries["train"] + entries["val"]
    try:
        numbers = _true_numbers(root, [int(frame["img_id"]) for frame in both])
        poses = np.array([frame["transform_matrix"] for frame in both], dtype=float).reshape(-1, 4, 4)
        eye = [float(frame["eye_ratio"]) if "eye_ratio" in frame else None for frame in both]
    except (KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(f"{root} has incomplete poses ({error}); expected `transform_matrix` of 4 x 4") from error
    if not both or len(set(numbers)) != len(numbers):
        raise R2TalkerError(f"{root} has no poses, or several for one picture; make its transforms_*.json again")
    size = _picture_size(folder, numbers[0])
    focal = _focal(splits["train"], size, folder.transforms("train"))
    return Frames(numbers, poses, eye, len(entries["train"]), focal, size)


def find_binary(root: Path) -> Path | None:
    """GeneFace's `trainval_dataset.npy` of a folder."""
    candidates = [root / BINARY]
    parts = root.resolve().parts
    if len(parts) > 3 and parts[-3] == "processed":
        candidates.append(Path(*parts[:-3], "binary", *parts[-2:], BINARY))
    return next((path for path in candidates if path.exists()), None)


def find_audio_features(root: Path) -> dict[str, Path]:
    """Files with windows [T, 16, K] by the kind of their features; `aud.npy` is told by its width."""
    found = {}
    for kind, names in _AUDIO.items():
        path = next((root / name for name in names if (root / name).exists()), None)
        if path is not None:
            found[kind] = path
    unnamed = root / _UNNAMED
    if unnamed.exists():
        shape = _npy_shape(unnamed)
        if len(shape) == 3 and shape[-1] in _UNNAMED_WIDTHS:
            found.setdefault(_UNNAMED_WIDTHS[shape[-1]], unnamed)
    return found


def _read_tracking(folder: DatasetFolder) -> Frames:
    """What the tools' export would have made of the tracker's file; its rows are the pictures with landmarks."""
    params, numbers = read_track_params(folder.root / FILE), _landmark_numbers(folder.root)
    rows = len(params.euler)
    if len(numbers) != rows:
        raise R2TalkerError(
            f"{folder.root / FILE} has {rows} poses for {len(numbers)} pictures with landmarks; track the head again"
        )
    size = _picture_size(folder, numbers[0])
    return Frames(numbers, params.transforms(), [None] * rows, int(rows * 10 / 11), params.focal, size)


def _landmark_numbers(root: Path) -> list[int]:
    """Pictures that have landmarks, in order."""
    return sorted(int(path.stem) for path in (root / "ori_imgs").glob("*.lms") if path.stem.isdecimal())


def _true_numbers(root: Path, numbers: list[int]) -> list[int]:
    """The pictures that the rows belong to: trackers drop pictures without landmarks, but their exporters count on (1.6)."""
    landmarks = _landmark_numbers(root)
    if sorted(numbers) == list(range(len(numbers))) and len(landmarks) == len(numbers) and landmarks[-1] >= len(numbers):
        return [landmarks[number] for number in numbers]
    return numbers


def _picture_size(folder: DatasetFolder, number: int) -> int:
    picture = cv2.imread(str(folder.frame(number)))
    if picture is None:
        raise R2TalkerError(f"cannot read the picture {folder.frame(number)}; a dataset needs its ori_imgs")
    height, width = picture.shape[:2]
    if height != width:
        raise R2TalkerError(
            f"{folder.root} has pictures of {width} x {height}; r2talker needs square ones: ingest the clip itself"
        )
    return int(height)


def _focal(values: Mapping[str, Any], size: int, path: Path) -> float:
    """Focal length in pixels under any of its names (upstream.md 1.3)."""
    try:
        centre = (float(values.get("cx", size / 2)), float(values.get("cy", size / 2)))
        for name in ("focal_len", "fl_x"):
            if name in values:
                focal = float(values[name])
                break
        else:
            focal = size / 2 / math.tan(float(values["camera_angle_x"]) / 2)
    except (KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(
            f"{path} does not say the focal length ({error}); expected focal_len, fl_x or camera_angle_x"
        ) from error
    if max(abs(value - size / 2) for value in centre) > 1:
        raise R2TalkerError(
            f"{path} has its optical axis at {centre} in pictures of {size} x {size}; r2talker needs it in the middle"
        )
    return focal


def _npy_shape(path: Path) -> tuple[int, ...]:
    try:
        return tuple(np.load(path, mmap_mode="r", allow_pickle=False).shape)
    except (OSError, ValueError, EOFError):
        return ()
