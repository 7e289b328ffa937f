"""Reading a finished dataset folder: poses, conditions and pictures (upstream.md sections 1 and 2)."""

import os
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from r2talker.data.folder import DatasetFolder, DatasetInfo, read_info
from r2talker.data.foreign.layout import is_foreign
from r2talker.data.foreign.pictures import read_torso, read_truth
from r2talker.data.foreign.read import ForeignDataset, read_foreign
from r2talker.data.picture_files import decode
from r2talker.data.points import read_points
from r2talker.errors import R2TalkerError
from r2talker.files import read_json, read_npy
from r2talker.ops.camera_rays.op import c2w_from_head
from r2talker.types import Camera

HEAD_BGR = (255, 0, 0)


@dataclass(frozen=True)
class Dataset:
    """Everything of a dataset but its pictures; frame numbers run over the training split, then the held-out one.

    c2w: [F, 4, 4] NGP space. eye: [F] percent of the picture (upstream.md 2.7). displacements: [F, 68, 3], the
    `aud_idexp` arrays. pixels: [F, 68, 2] landmarks (x, y) in pixels at `info.size`. audio: [F, 16, K] feature windows by name.
    numbers: the folder's number of what each frame shows: its own, or its stand-in's where it is excluded or has no face.
    notes: sentences for people about what the folder of another tool lacks.
    """

    folder: DatasetFolder
    info: DatasetInfo
    c2w: Float[Tensor, "frames 4 4"]
    eye: Float[Tensor, " frames"]
    displacements: Float[Tensor, "frames 68 3"]
    pixels: Float[Tensor, "frames 68 2"]
    audio: dict[str, Float[Tensor, "frames 16 width"]]
    numbers: list[int]
    notes: tuple[str, ...] = ()

    def with_cameras_on(self, device: torch.device) -> "Dataset":
        """The same dataset with poses of its own on `device`, so that rays are made there."""
        return replace(self, c2w=self.c2w.to(device, copy=True))

    @property
    def rest(self) -> Float[Tensor, "68 3"]:
        """The person's rest landmarks in the head frame, metres."""
        return torch.tensor(self.info.landmark_base)

    @property
    def train(self) -> range:
        """Frames of the training split."""
        return range(self.info.train_frames)

    @property
    def kept(self) -> list[int]:
        """Training frames that show their own content, and always the first: rendered pictures take its individual code."""
        return [frame for frame in self.train if frame == 0 or self.numbers[frame] == frame]

    @property
    def held_out(self) -> range:
        """Frames of the held-out split, contiguous after the training split."""
        return range(self.info.train_frames, self.info.frames)

    def camera(self, frame: int, size: int | None = None) -> Camera:
        """The view of one frame, by default at the dataset's size."""
        full, half = self.info.size, self.info.size / 2
        camera = Camera(self.c2w[frame], self.info.focal, self.info.focal, half, half, full, full)
        return camera if size is None else camera.resized(size, size)


@dataclass(frozen=True)
class Pictures:
    """Pictures of the chosen frames at one size, 8 bits, RGB; `index[frame]` is the row of a frame.

    truth: over the clean background. torso: RGBA of torso and inpainted neck. head: pixels parsed as head. background: clean plate.
    """

    index: dict[int, int]
    truth: UInt8[Tensor, "frames height width 3"]
    torso: UInt8[Tensor, "frames height width 4"]
    head: Bool[Tensor, "frames height width"]
    background: UInt8[Tensor, "height width 3"]

    @property
    def size(self) -> int:
        return self.background.shape[0]

    def to(self, device: torch.device) -> "Pictures":
        """The same pictures on another device."""
        moved = (tensor.to(device) for tensor in (self.truth, self.torso, self.head, self.background))
        return Pictures(self.index, *moved)


def read_dataset(root: Path) -> Dataset:
    """Read poses, conditions and statistics, also of folders that other tools made; R2TalkerError names what does not fit.

    A frame that is excluded, or that the tools left out, shows its nearest usable neighbour of the same split in all respects, so
    that frames keep their place in time and nobody who uses the dataset ever sees its content.
    """
    folder = DatasetFolder(root)
    if not folder.info.exists() and is_foreign(root):
        return _adopt(folder, read_foreign(root))
    info = read_info(folder)
    c2w, eye = _read_transforms(folder)
    displacements = read_npy(folder.landmark_offsets())
    audio = {name: _fit(read_npy(root / feature.file), info.frames) for name, feature in info.features.items()}
    if len(c2w) != info.frames or displacements.shape != (info.frames, 68, 3):
        raise R2TalkerError(
            f"{root} is inconsistent: {len(c2w)} poses and landmarks of shape {displacements.shape} for {info.frames} frames; "
            "ingest the clip again"
        )
    pixels = np.stack([read_points(folder.landmarks(frame)) for frame in range(info.frames)])
    dataset = Dataset(
        folder=folder,
        info=info,
        c2w=c2w,
        eye=eye,
        displacements=torch.from_numpy(displacements.astype(np.float32)),
        pixels=torch.from_numpy(pixels),
        audio=audio,
        numbers=list(range(info.frames)),
    )
    return _with_stand_ins(dataset, set(range(info.frames)) - set(info.excluded))


def stand_ins(frames: int, train_frames: int, usable: Set[int]) -> list[int]:
    """For every frame the nearest usable one of its split, the earlier of two; of the other split where its own has none.

    Raises R2TalkerError when no frame is usable.
    """
    if not usable:
        raise R2TalkerError("every frame of the dataset is excluded; take some back with `r2talker ingest --exclude none`")
    chosen: list[int] = []
    for split in (range(train_frames), range(train_frames, frames)):
        own = sorted(usable & set(split)) or sorted(usable)
        chosen += [frame if frame in usable else min(own, key=lambda other: abs(other - frame)) for frame in split]
    return chosen


def read_pictures(dataset: Dataset, frames: Sequence[int], *, size: int | None = None) -> Pictures:
    """Decode the pictures of `frames` on all cores, reduced to `size` x `size` by area averaging when given."""
    folder = dataset.folder

    def read(frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number = dataset.numbers[frame]
        truth = _resized(read_truth(folder, number), size)[..., ::-1]
        torso = _resized(_premultiplied(read_torso(folder, number)), size)
        parsing = decode(folder.parsing(number), cv2.IMREAD_COLOR)
        head = _resized((parsing == np.array(HEAD_BGR, np.uint8)).all(-1).astype(np.uint8) * 255, size) > 127
        return truth, _straight(torso), head

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        truth, torso, head = (np.stack(column) for column in zip(*pool.map(read, frames), strict=True))
    plate = _resized(decode(folder.background, cv2.IMREAD_COLOR), size)[..., ::-1]
    return Pictures(
        index={frame: row for row, frame in enumerate(frames)},
        truth=torch.from_numpy(truth),
        torso=torch.from_numpy(torso),
        head=torch.from_numpy(head),
        background=torch.from_numpy(np.ascontiguousarray(plate)),
    )


def torso_over_background(
    torso: UInt8[Tensor, "*pixels 4"], background: UInt8[Tensor, "*pixels 3"]
) -> Float[Tensor, "*pixels 3"]:
    """Colours in [0, 1] of the torso picture over the background plate: what stands behind the head."""
    alpha = torso[..., 3:].float() / 255
    return (torso[..., :3].float() * alpha + background.float() * (1 - alpha)) / 255


def _adopt(folder: DatasetFolder, found: ForeignDataset) -> Dataset:
    """A folder of other tools in our terms."""
    dataset = Dataset(
        folder=folder,
        info=found.info,
        c2w=c2w_from_head(torch.from_numpy(found.poses.astype(np.float32))),
        eye=torch.from_numpy(found.eye.astype(np.float32)),
        displacements=torch.from_numpy(found.displacements.astype(np.float32)),
        pixels=torch.from_numpy(found.pixels.astype(np.float32)),
        audio=found.audio,
        numbers=list(range(found.info.frames)),
        notes=found.notes,
    )
    return _with_stand_ins(dataset, set(np.flatnonzero(found.known).tolist()))


def _with_stand_ins(dataset: Dataset, usable: Set[int]) -> Dataset:
    numbers = stand_ins(dataset.info.frames, dataset.info.train_frames, usable)
    return replace(
        dataset,
        c2w=dataset.c2w[numbers],
        eye=dataset.eye[numbers],
        displacements=dataset.displacements[numbers],
        pixels=dataset.pixels[numbers],
        audio={name: windows[numbers] for name, windows in dataset.audio.items()},
        numbers=numbers,
    )


def _read_transforms(folder: DatasetFolder) -> tuple[Float[Tensor, "frames 4 4"], Float[Tensor, " frames"]]:
    """Camera poses in NGP space and eye values of both splits."""
    matrices, eyes = [], []
    for split in ("train", "val"):
        path = folder.transforms(split)
        try:
            frames = read_json(path)["frames"]
            matrices.append(
                torch.tensor([frame["transform_matrix"] for frame in frames], dtype=torch.float32).reshape(-1, 4, 4)
            )
            eyes.append(torch.tensor([frame["eye_ratio"] for frame in frames], dtype=torch.float32))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise R2TalkerError(f"{path} is incomplete ({error}); ingest the clip again") from error
    return c2w_from_head(torch.cat(matrices)), torch.cat(eyes)


def _resized(picture: np.ndarray, size: int | None) -> np.ndarray:
    if size is None or picture.shape[0] == size:
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def _premultiplied(bgra: np.ndarray) -> np.ndarray:
    """RGBA as float with colours times alpha, so that area averaging does not mix in the colour of transparent pixels."""
    alpha = bgra[..., 3:].astype(np.float32) / 255
    return np.concatenate([bgra[..., 2::-1] * alpha, alpha * 255], axis=-1)


def _straight(premultiplied: np.ndarray) -> np.ndarray:
    alpha = premultiplied[..., 3:]
    colour = premultiplied[..., :3] * (255 / np.maximum(alpha, 1e-3))
    return np.concatenate([colour, alpha], axis=-1).round().clip(0, 255).astype(np.uint8)


def _fit(rows: np.ndarray, frames: int) -> Tensor:
    """Feature windows for every frame; the last one repeats where the sound ends early (upstream.md section 1)."""
    return torch.from_numpy(rows.astype(np.float32))[torch.arange(frames).clamp(max=len(rows) - 1)]
