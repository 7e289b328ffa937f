"""Folders as AD-NeRF, RAD-NeRF, R2-Talker and GeneFace leave them, in miniature, made from our own dataset."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.io import wavfile

from r2talker.data.folder import DatasetFolder
from tests.tiny import FRAMES, SIZE, TRAIN_FRAMES

CENTIMETRES = 100


def strip(dataset: DatasetFolder, root: Path) -> Path:
    """What all tools share: frames, landmarks, parsing, plate, sound, poses without our extras."""
    for name in ("ori_imgs", "parsing"):
        shutil.copytree(dataset.root / name, root / name)
    for name in ("bc.jpg", "aud.wav"):
        shutil.copy(dataset.root / name, root / name)
    for split in ("train", "val"):
        value = json.loads(dataset.transforms(split).read_text())
        kept = ("img_id", "aud_id", "transform_matrix")
        frames = [{key: frame[key] for key in kept} for frame in value["frames"]]
        stripped = {"focal_len": value["focal_len"], "cx": SIZE / 2, "cy": SIZE / 2, "frames": frames}
        (root / f"transforms_{split}.json").write_text(json.dumps(stripped))
    return root


def torso_pngs(dataset: DatasetFolder, root: Path) -> None:
    (root / "torso_imgs").mkdir()
    for frame in range(FRAMES):
        picture = cv2.imread(str(dataset.torso(frame)), cv2.IMREAD_UNCHANGED)
        picture[picture[..., 3] == 0] = 0
        cv2.imwrite(str(root / "torso_imgs" / f"{frame}.png"), picture)


def centimetres(dataset: DatasetFolder) -> np.ndarray:
    """Displacements as GeneFace has them: centimetres from somebody's mean face, here 3 mm off in all coordinates."""
    info = json.loads(dataset.info.read_text())
    return (np.load(dataset.landmark_offsets()) / info["landmark_scale"] * CENTIMETRES + 0.3).astype(np.float32)


def rad_nerf(dataset: DatasetFolder, root: Path) -> Path:
    shutil.copytree(dataset.root / "gt_imgs", root / "gt_imgs")
    torso_pngs(dataset, root)
    np.save(root / "aud_eo.npy", np.random.default_rng(0).normal(size=(FRAMES - 4, 16, 44)).astype(np.float32))
    return strip(dataset, root)


def r2_talker(dataset: DatasetFolder, root: Path) -> Path:
    return with_offsets(rad_nerf(dataset, root), centimetres(dataset))


def with_offsets(root: Path, offsets: np.ndarray) -> Path:
    """The folder with landmark displacements [F, 68, 3] of both splits."""
    np.save(root / "aud_idexp_train.npy", offsets[:TRAIN_FRAMES])
    np.save(root / "aud_idexp_val.npy", offsets[TRAIN_FRAMES:])
    return root


def ad_nerf(dataset: DatasetFolder, root: Path) -> Path:
    """The oldest layout: `com_imgs` and `head_imgs`, no torsos, DeepSpeech in double precision, stereo sound."""
    shutil.copytree(dataset.root / "gt_imgs", root / "com_imgs")
    strip(dataset, root)
    np.save(root / "aud.npy", np.zeros((FRAMES, 16, 29)))
    rate, sound = wavfile.read(root / "aud.wav")
    wavfile.write(root / "aud.wav", rate, np.stack([sound, sound], axis=1))
    return root


def geneface(dataset: DatasetFolder, root: Path) -> Path:
    """`processed/videos/<ID>` with pictures, `binary/videos/<ID>` with the pickled landmarks."""
    return geneface_with(dataset, root, centimetres(dataset))


def geneface_with(dataset: DatasetFolder, root: Path, offsets: np.ndarray) -> Path:
    """The same with landmark displacements [F, 68, 3] of one's own."""
    folder = root / "processed" / "videos" / "May"
    shutil.copytree(dataset.root / "gt_imgs", folder / "gt_imgs")
    torso_pngs(dataset, folder)
    strip(dataset, folder)
    samples = [{"idx": k, "idexp_lm3d": value, "ori_img_fname": f"{k}.jpg"} for k, value in enumerate(offsets)]
    binary = root / "binary" / "videos" / "May"
    binary.mkdir(parents=True)
    content = {"train_samples": samples[:TRAIN_FRAMES], "val_samples": samples[TRAIN_FRAMES:], "H": SIZE}
    np.save(binary / "trainval_dataset.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    return folder


LAYOUTS: dict[str, Callable[[DatasetFolder, Path], Path]] = {
    "AD-NeRF": ad_nerf,
    "RAD-NeRF": rad_nerf,
    "R2-Talker": r2_talker,
    "GeneFace": geneface,
}
WITH_DISPLACEMENTS = ("R2-Talker", "GeneFace")
