"""The torso picture: torso and neck alone, continued upwards under the head (upstream.md 8.4, with its defect 41 mended)."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from r2talker.ingest.config import REFERENCE_SIZE
from r2talker.ingest.parsing import HEAD, NECK, TORSO

# Pixels of 512, as upstream has them.
_TORSO_ROWS, _NECK_ROWS, _NECK_DEPTH = 9, 53, 4
_FADE = 0.98
_STREAK = 4.0
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
    scale = len(picture) / REFERENCE_SIZE
    painted = picture.astype(np.float32)
    neck, torso, head = label == NECK, label == TORSO, label == HEAD
    torso_paint = _paint_up(painted, torso, head, alpha, rows=_TORSO_ROWS, depth=1, scale=scale)
    neck_paint = _paint_up(painted, neck, head, alpha, rows=_NECK_ROWS, depth=_NECK_DEPTH, scale=scale)
    own = (neck | torso).astype(np.float32) * alpha
    painted = np.where(neck_paint[..., None], _blur_within(painted, neck_paint | torso_paint | (own > 0.5)), painted)
    opacity = np.round(np.where(neck_paint | torso_paint, 1.0, own) * 255).astype(np.uint8)
    colour = np.where(opacity[..., None] > 0, np.clip(np.round(painted), 0, 255), 0).astype(np.uint8)
    return np.dstack([colour, opacity])


def _blur_within(
    picture: Float32[np.ndarray, "size size 3"], region: Bool[np.ndarray, "size size"]
) -> Float32[np.ndarray, "size size 3"]:
    """Gaussian blur that sees nothing outside `region`: no colour of the chin runs into the painted neck."""
    weight = region.astype(np.float32)
    kernel = (_BLUR_KERNEL, _BLUR_KERNEL)
    total = cv2.GaussianBlur(picture * weight[..., None], kernel, _BLUR_SIGMA)
    return total / np.maximum(cv2.GaussianBlur(weight, kernel, _BLUR_SIGMA), 1e-6)[..., None]


def _paint_up(
    picture: Float32[np.ndarray, "size size 3"],
    part: Bool[np.ndarray, "size size"],
    head: Bool[np.ndarray, "size size"],
    alpha: Float32[np.ndarray, "size size"],
    *,
    rows: int,
    depth: int,
    scale: float,
) -> Bool[np.ndarray, "size size"]:
    """Continue `part` upwards into the head, in place; return where. Rows and depth are those of a 512 picture.

    The colour of a column is taken `depth` rows inside the part and averaged with its neighbours, so that one odd pixel does
    not become a streak; see-through pixels hardly count.
    """
    size = len(picture)
    where = np.zeros(part.shape, bool)
    columns = np.flatnonzero(part.any(0))
    top = part[:, columns].argmax(0)
    meets = (top > 0) & head[np.maximum(top - 1, 0), columns]
    columns, top = columns[meets], top[meets]
    if not len(columns):
        return where
    inside = np.minimum(max(1, round(depth * scale)), part[:, columns].sum(0) - 1)
    source = top + inside
    weight = np.zeros((1, size), np.float32)
    weight[0, columns] = alpha[source, columns] ** 4 + 1e-3
    colour = np.zeros((1, size, 3), np.float32)
    colour[0, columns] = picture[source, columns] * weight[0, columns, None]
    sigma = _STREAK * scale
    colour = cv2.GaussianBlur(colour, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-9)[..., None]
    for row in range(max(1, round(rows * scale)) + int(inside.max())):
        target = source - row
        valid = (target >= 0) & (row >= inside)
        picture[target[valid], columns[valid]] = colour[0, columns[valid]] * _FADE ** ((row - inside[valid, None]) / scale)
        where[target[valid], columns[valid]] = True
    return where
