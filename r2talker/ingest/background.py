"""Step `background`: the picture without the person."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from r2talker.ingest.masks import read_alpha
from r2talker.ingest.pictures import read_clip, write_jpeg
from r2talker.ingest.step import Step, StepResult, Workspace

_LOOKS = 60
_QUALITY = 95
# A pixel counts as seen beyond this distance to the person, in pixels of 512 (upstream.md 8.3 takes 5); nearer may be hair.
_DISTANCE = 4.0
# Of a pixel's looks, those at this part of its largest distance are believed.
_BELIEVED = 0.6


def make_background(workspace: Workspace) -> StepResult:
    """Write `bc.jpg`; readings: share of the picture that was seen in some frame."""
    size, frames = workspace.config.size, workspace.frames
    wanted = set(np.linspace(0, frames - 1, min(_LOOKS, frames)).astype(int).tolist())
    workspace.progress.begin("background", len(wanted))
    pictures, distances = [], []
    for index, rgb in enumerate(read_clip(workspace, tuple(workspace.readings("frames")["crop"]), size)):
        if index in wanted:
            empty = (read_alpha(workspace, index) < 0.05).astype(np.uint8)
            distance = cv2.distanceTransform(empty, cv2.DIST_L2, 5) * (512 / size)
            pictures.append(rgb)
            distances.append(np.minimum(distance, 255).astype(np.uint8))
            workspace.progress.advance(len(pictures))
    plate, seen = merge_looks(np.stack(pictures), np.stack(distances))
    write_jpeg(workspace.folder.background, fill_unseen(plate, seen), _QUALITY)
    return StepResult(f"background, {seen.mean():.0%} of it seen", {"seen_share": round(float(seen.mean()), 4)})


def merge_looks(
    pictures: UInt8[np.ndarray, "looks size size 3"], distances: UInt8[np.ndarray, "looks size size"]
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Median colour over the looks in which a pixel is far from the person, and where there was any."""
    most = distances.max(0)
    seen = most > _DISTANCE
    plate = np.zeros(pictures.shape[1:], np.uint8)
    for row in range(pictures.shape[1]):
        far = distances[:, row] >= np.maximum(_BELIEVED * most[row], _DISTANCE)
        values = np.where(far[..., None], pictures[:, row].astype(np.float32), np.nan)
        values[:, ~seen[row]] = 0
        plate[row] = np.round(np.nanmedian(values, axis=0))
    return plate, seen


def fill_unseen(
    plate: UInt8[np.ndarray, "size size 3"], seen: Bool[np.ndarray, "size size"]
) -> UInt8[np.ndarray, "size size 3"]:
    """Fill what was never seen with the smoothest surface through its rim (pull-push, Gortler et al. 1996, then relaxation)."""
    weight = seen.astype(np.float32)
    levels: list[tuple[Float32[np.ndarray, ...], Float32[np.ndarray, ...]]] = []
    value = plate.astype(np.float32) * weight[..., None]
    while min(value.shape[:2]) > 1:
        levels.append((value, weight))
        half = (max(1, value.shape[1] // 2), max(1, value.shape[0] // 2))
        value = cv2.resize(value, half, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    filled = value.reshape(1, 1, 3) / max(float(weight.mean()), 1e-6) if value.size == 3 else value / (weight[..., None] + 1e-6)
    for value, weight in reversed(levels):
        coarse = cv2.resize(filled.astype(np.float32), (value.shape[1], value.shape[0]), interpolation=cv2.INTER_LINEAR)
        known = np.minimum(weight, 1)[..., None]
        filled = value / np.maximum(weight, 1e-6)[..., None] * known + coarse.reshape(value.shape) * (1 - known)
        for _ in range(6):
            relaxed = cv2.blur(filled, (3, 3), borderType=cv2.BORDER_REPLICATE)
            filled = filled * known + relaxed * (1 - known)
    return np.where(seen[..., None], plate, np.clip(np.round(filled), 0, 255)).astype(np.uint8)


STEP = Step("background", 2, ("masks",), ("size", "seconds"), make_background, lambda workspace: [workspace.folder.background])
