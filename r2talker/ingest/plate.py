"""The empty room from many looks at it, and what to put where the person always stands."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

# A pixel counts as seen beyond this distance to the person, in pixels of 512 (upstream.md 8.3 takes 5); nearer may be hair.
_DISTANCE = 4.0
# Of a pixel's looks, those at this part of its largest distance are believed.
_BELIEVED = 0.6


def measure_distance(empty: Bool[np.ndarray, "size size"], reference: int) -> UInt8[np.ndarray, "size size"]:
    """Distance of every empty pixel to the person, pixels of a picture of side `reference`, at most 255."""
    distance = cv2.distanceTransform(empty.astype(np.uint8), cv2.DIST_L2, 5) * (reference / len(empty))
    return np.minimum(distance, 255).astype(np.uint8)


def merge_looks(
    pictures: UInt8[np.ndarray, "looks size size 3"], distances: UInt8[np.ndarray, "looks size size"]
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Median colour over the looks in which a pixel is far from the person, and where there was any."""
    most = distances.max(0)
    seen = most > _DISTANCE
    plate = np.zeros(pictures.shape[1:], np.uint8)
    for row in range(pictures.shape[1]):
        columns = np.flatnonzero(seen[row])
        far = distances[:, row, columns] >= np.maximum(_BELIEVED * most[row, columns], _DISTANCE)
        # Looks that do not count stand behind all others.
        values = np.where(far[..., None], pictures[:, row, columns], np.int16(256))
        values.sort(axis=0)
        count, place = far.sum(0), np.arange(len(columns))
        plate[row, columns] = np.round((values[(count - 1) // 2, place] + values[count // 2, place]) / 2)
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
