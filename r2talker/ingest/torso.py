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
    rows = np.flatnonzero(((label == NECK) | (label == TORSO)).any(1))
    if not len(rows):
        return np.zeros((*label.shape, 4), np.uint8)
    lower = slice(max(0, rows[0] - round((_NECK_ROWS + _NECK_DEPTH) * scale) - _BLUR_KERNEL), None)
    result = np.zeros((*label.shape, 4), np.uint8)
    result[lower] = _make_lower(picture[lower], label[lower], alpha[lower], scale)
    return result


def _make_lower(
    picture: UInt8[np.ndarray, "rows size 3"],
    label: UInt8[np.ndarray, "rows size"],
    alpha: Float32[np.ndarray, "rows size"],
    scale: float,
) -> UInt8[np.ndarray, "rows size 4"]:
    """RGBA of the rows of a picture that hold torso, neck, and what is painted on upwards."""
    painted = picture.astype(np.float32)
    neck, torso, head = label == NECK, label == TORSO, label == HEAD
    torso_paint = _paint_up(painted, torso, head, alpha, rows=_TORSO_ROWS, depth=1, scale=scale)
    neck_paint = _paint_up(painted, neck, head, alpha, rows=_NECK_ROWS, depth=_NECK_DEPTH, scale=scale)
    own = np.where(neck | torso, alpha, 0)
    _blur_within(painted, neck_paint, neck_paint | torso_paint | (own > 0.5))
    opacity = np.round(np.where(neck_paint | torso_paint, 1.0, own) * 255).astype(np.uint8)
    colour = np.clip(np.round(painted), 0, 255).astype(np.uint8)
    colour[opacity == 0] = 0
    return np.dstack([colour, opacity])


def _blur_within(
    picture: Float32[np.ndarray, "rows size 3"], where: Bool[np.ndarray, "rows size"], region: Bool[np.ndarray, "rows size"]
) -> None:
    """Gaussian blur, in place and only `where`, that sees nothing outside `region`: no colour of the chin runs into the neck."""
    rows, columns = np.nonzero(where)
    if not len(rows):
        return
    box = tuple(slice(max(0, index.min() - _BLUR_KERNEL), index.max() + _BLUR_KERNEL + 1) for index in (rows, columns))
    inside, weight = picture[box], region[box].astype(np.float32)
    kernel = (_BLUR_KERNEL, _BLUR_KERNEL)
    total = cv2.GaussianBlur(inside * weight[..., None], kernel, _BLUR_SIGMA)
    blurred = total / np.maximum(cv2.GaussianBlur(weight, kernel, _BLUR_SIGMA), 1e-6)[..., None]
    inside[where[box]] = blurred[where[box]]


def _paint_up(
    picture: Float32[np.ndarray, "rows size 3"],
    part: Bool[np.ndarray, "rows size"],
    head: Bool[np.ndarray, "rows size"],
    alpha: Float32[np.ndarray, "rows size"],
    *,
    rows: int,
    depth: int,
    scale: float,
) -> Bool[np.ndarray, "rows size"]:
    """Continue `part` upwards into the head, in place; return where. Rows and depth are those of a 512 picture.

    The colour of a column is taken `depth` rows inside the part and averaged with its neighbours, so that one odd pixel does
    not become a streak; see-through pixels hardly count.
    """
    size = picture.shape[1]
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
    above = np.arange(max(1, round(rows * scale)) + int(inside.max()))[:, None]
    step, place = np.nonzero((source >= above) & (above >= inside))
    target, column = source[place] - step, columns[place]
    fade = (_FADE ** ((step - inside[place]) / scale)).astype(np.float32)
    picture[target, column] = colour[0, column] * fade[:, None]
    where[target, column] = True
    return where
