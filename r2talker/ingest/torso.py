"""The torso picture: torso and neck alone, continued upwards under the head (upstream.md 8.4, with its defect 41 mended)."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from r2talker.ingest.config import REFERENCE_SIZE
from r2talker.ingest.parsing import HEAD, NECK, TORSO

# Pixels of 512, as upstream has them.
_TORSO_ROWS, _NECK_ROWS, _NECK_GROWTH, _NECK_DEPTH = 9, 53, 3, 4
_FADE = 0.98
_BLUR_KERNEL, _BLUR_SIGMA = 5, 4.0


def make_torso(
    picture: UInt8[np.ndarray, "size size 3"],
    label: UInt8[np.ndarray, "size size"],
    alpha: Float32[np.ndarray, "size size"],
) -> UInt8[np.ndarray, "size size 4"]:
    """RGBA of torso and neck from the ground-truth picture; colour is 0 where alpha is 0.

    Where the torso or the neck meets the head, its colour is painted on upwards, getting darker by 2 % a row of 512, so that
    a head that moves leaves no hole. A picture without neck or torso gives what there is.
    """
    size = len(picture)
    scale = size / REFERENCE_SIZE
    painted = picture.astype(np.float32)
    neck, torso, head = label == NECK, label == TORSO, label == HEAD
    grown = _grow_down(neck, max(1, round(_NECK_GROWTH * scale))) & ~torso
    torso_paint = _paint_up(painted, torso, head, max(1, round(_TORSO_ROWS * scale)), 1, scale)
    depth = max(1, round(_NECK_DEPTH * scale))
    neck_paint = _paint_up(painted, neck | grown, head, max(1, round(_NECK_ROWS * scale)), depth, scale)
    blurred = cv2.GaussianBlur(painted, (_BLUR_KERNEL, _BLUR_KERNEL), _BLUR_SIGMA)
    painted = np.where(neck_paint[..., None], blurred, painted)
    own = (neck | torso).astype(np.float32) * alpha
    cover = np.where(neck_paint | torso_paint | (grown & head), 1.0, own)
    opacity = np.round(cover * 255).astype(np.uint8)
    colour = np.where(opacity[..., None] > 0, np.clip(np.round(painted), 0, 255), 0).astype(np.uint8)
    return np.dstack([colour, opacity])


def _grow_down(mask: Bool[np.ndarray, "size size"], rows: int) -> Bool[np.ndarray, "size size"]:
    kernel = np.ones((2 * rows + 1, 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def _paint_up(
    picture: Float32[np.ndarray, "size size 3"],
    part: Bool[np.ndarray, "size size"],
    head: Bool[np.ndarray, "size size"],
    rows: int,
    depth: int,
    scale: float,
) -> Bool[np.ndarray, "size size"]:
    """Continue `part` upwards into the head, in place; return where. The colour is taken `depth` rows inside the part."""
    size = len(picture)
    columns = np.flatnonzero(part.any(0))
    top = part[:, columns].argmax(0)
    meets = (top > 0) & head[np.maximum(top - 1, 0), columns]
    columns, top = columns[meets], top[meets]
    inside = np.minimum(depth, part[:, columns].sum(0) - 1)
    source = np.minimum(top + inside, size - 1)
    colour = picture[source, columns].copy()
    where = np.zeros(part.shape, bool)
    for row in range(rows + depth):
        target = source - row
        valid = (target >= 0) & (row < rows)
        picture[target[valid], columns[valid]] = colour[valid] * _FADE ** (row / scale)
        where[target[valid], columns[valid]] = True
    return where
