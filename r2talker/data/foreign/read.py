"""Opens a folder of the AD-NeRF family as a dataset; nothing in it is changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from r2talker.data.folder import DatasetFolder, DatasetInfo, Feature, Source, Statistics
from r2talker.data.foreign.landmarks import Shape, place_landmarks
from r2talker.data.foreign.layout import BINARY, Frames, find_audio_features, find_binary, read_frames
from r2talker.data.foreign.pickles import read_object_npy
from r2talker.data.foreign.pictures import lacks_torsos
from r2talker.data.points import eye_values, read_points
from r2talker.data.sound import read_pcm
from r2talker.drive.log_mel import LogMel, audio_windows
from r2talker.errors import R2TalkerError
from r2talker.files import read_npy

MEL_WIDTH = 64
_SECONDS_PER_FRAME = 1 / 25


@dataclass(frozen=True)
class ForeignDataset:
    """What `data.dataset.Dataset` is made of. poses: camera-to-world, head frame, one per frame. known: which frames the folder
    really has; the others hold nothing and must not be used. notes: what the folder lacks and what is done about it."""

    info: DatasetInfo
    poses: Float[np.ndarray, "frames 4 4"]
    eye: Float[np.ndarray, " frames"]
    displacements: Float[np.ndarray, "frames 68 3"]
    pixels: Float[np.ndarray, "frames 68 2"]
    audio: dict[str, Float[Tensor, "frames 16 width"]]
    known: Bool[np.ndarray, " frames"]
    notes: tuple[str, ...]


def read_foreign(root: Path) -> ForeignDataset:
    """Read poses, landmarks and sound; frame k is picture k, also where the tools left pictures out.

    Displacements come from `aud_idexp*.npy`, else from GeneFace's `trainval_dataset.npy`, else from the 2D landmarks. Raises
    R2TalkerError that names what is missing or does not fit.
    """
    folder, tracked = DatasetFolder(root), read_frames(root)
    count = max(tracked.numbers) + 1
    rows, train_rows = np.array(tracked.numbers), np.arange(len(tracked.numbers)) < tracked.train
    points = np.stack([read_points(folder.landmarks(number)) for number in tracked.numbers])
    given = _given_displacements(folder, tracked)
    shape = place_landmarks(tracked.poses, points, train_rows, tracked.focal, tracked.size, given)
    eye = np.array([value if value is not None else np.nan for value in tracked.eye])
    eye = np.where(np.isnan(eye), eye_values(points, tracked.size), eye)

    def spread(values: np.ndarray) -> np.ndarray:
        """Rows to their pictures' numbers; the rest stays zero."""
        whole = np.zeros((count, *values.shape[1:]), values.dtype)
        whole[rows] = values
        return whole

    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[rows] = tracked.poses
    audio, features = _audio(folder, count)
    train_frames = int(rows[train_rows].max()) + 1 if train_rows.any() else 0
    info = _describe(root, tracked, shape, eye, count, train_frames, features)
    known = np.isin(np.arange(count), rows)
    notes = _notes(root, read_off=given is None, has_sound=info.source.has_sound)
    return ForeignDataset(info, poses, spread(eye), spread(shape.displacements), spread(points), audio, known, notes)


def _notes(root: Path, *, read_off: bool, has_sound: bool) -> tuple[str, ...]:
    """One sentence for everything that had to be derived, with what would be better."""
    notes = []
    if lacks_torsos(root):
        notes.append(
            f"{root} has no torso_imgs: neck and torso are cut out of the pictures by the parsing and end where the head begins, so "
            "seams may show when the head turns; ingest the clip itself for a continued neck"
        )
    if read_off:
        notes.append(
            f"{root} has no 3D landmarks (aud_idexp_train.npy and aud_idexp_val.npy, or {BINARY}): they are read off the .lms files, "
            "across the line of sight only"
        )
    if not has_sound:
        notes.append(f"{root} has no aud.wav: no landmark generator can be trained; put the clip's sound there, 16 kHz 16-bit")
    return tuple(notes)


def _given_displacements(folder: DatasetFolder, tracked: Frames) -> Float[np.ndarray, "frames 68 3"] | None:
    """GeneFace's displacements for every tracked row, or None where the folder has none."""
    total = len(tracked.numbers)
    paths = [folder.landmark_offsets(split) for split in ("train", "val")]
    if all(path.exists() for path in paths):
        parts = [read_npy(path).reshape(-1, 68, 3) for path in paths]
        if [len(part) for part in parts] != [tracked.train, total - tracked.train]:
            raise R2TalkerError(
                f"{folder.root} has {len(parts[0])} + {len(parts[1])} landmark displacements for {tracked.train} + "
                f"{total - tracked.train} poses; make aud_idexp_train.npy and aud_idexp_val.npy again, or remove them"
            )
        return np.concatenate(parts)
    binary = find_binary(folder.root)
    return None if binary is None else _binary_displacements(binary, tracked.numbers)


def _binary_displacements(path: Path, numbers: list[int]) -> Float[np.ndarray, "frames 68 3"]:
    content = read_object_npy(path)
    try:
        samples: list[Any] = [*content["train_samples"], *content["val_samples"]]
        by_number = {int(sample["idx"]): np.asarray(sample["idexp_lm3d"], float).reshape(68, 3) for sample in samples}
        return np.stack([by_number[number] for number in numbers])
    except (KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(f"{path} lacks the landmarks of a picture ({error}); make it again, or remove it") from error


def _audio(folder: DatasetFolder, frames: int) -> tuple[dict[str, Tensor], dict[str, Feature]]:
    """Windows for every frame, and what they are; log-mel windows are made of the sound."""
    windows, features = {}, {}
    for kind, path in find_audio_features(folder.root).items():
        rows = read_npy(path)
        if rows.ndim != 3 or rows.shape[1] != 16 or not len(rows):
            raise R2TalkerError(f"{path} has shape {list(rows.shape)}; expected windows [T, 16, K]")
        windows[kind] = torch.from_numpy(rows.astype(np.float32))[torch.arange(frames).clamp(max=len(rows) - 1)]
        features[kind] = Feature(path.name, 50.0, rows.shape[2])
    if folder.audio.exists():
        with torch.inference_mode():
            rows = LogMel(MEL_WIDTH)(read_pcm(folder.audio))
            windows["mel"] = audio_windows(rows, frames, padding=LogMel.silence).clone()
        features["mel"] = Feature(folder.audio.name, LogMel.rate, MEL_WIDTH)
    return windows, features


def _describe(
    root: Path, tracked: Frames, shape: Shape, eye: np.ndarray, frames: int, train_frames: int, features: dict[str, Feature]
) -> DatasetInfo:
    train = shape.displacements[: tracked.train]
    video = next(iter(sorted(root.glob("*.mp4"))), None)
    size, seconds = tracked.size, frames * _SECONDS_PER_FRAME
    has_sound = "mel" in features
    return DatasetInfo(
        created_by="tools of the AD-NeRF family",
        source=Source(video.name if video else root.name, size, size, 25.0, seconds, has_sound),
        size=size,
        frames=frames,
        train_frames=train_frames,
        focal=tracked.focal,
        landmark_scale=shape.scale,
        landmark_base=shape.base.tolist(),
        statistics=Statistics(
            landmark_mean=train.mean(0).tolist(),
            landmark_std=train.std(0).tolist(),
            landmark_min=train.min(0).tolist(),
            landmark_max=train.max(0).tolist(),
            eye_mean=float(eye[: tracked.train].mean()),
            eye_min=float(eye[: tracked.train].min()),
            eye_max=float(eye[: tracked.train].max()),
        ),
        features=features,
        # Coordinates beyond 1 leave the landmark grid and count as zero there (upstream.md 10, defect 13).
        tracking={
            "frames_without_face": float(frames - len(tracked.numbers)),
            "landmarks_beyond_1": round(float((np.abs(train) > 1).mean()), 4),
        },
    )
