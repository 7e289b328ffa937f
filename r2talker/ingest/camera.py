"""Whether the camera stood still: how far the room moves between pictures that are far apart in time."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from r2talker.errors import R2TalkerError
from r2talker.ingest.config import REFERENCE_SIZE

# Pixels of 512: features keep this far off the person; more drift than this smears the room behind an avatar.
_CLEARANCE, _MOST_DRIFT = 10, 4.0
_FEATURES, _FEWEST = 200, 12
# In smaller pictures the limit is less than a pixel, which features cannot tell.
_LEAST_SIZE = 128
# Forward and backward tracks of one feature must meet within this, pixels.
_ROUND_TRIP = 0.5
# Part of the features that is enough to say that they stayed.
_STAYED = 0.15


@dataclass(frozen=True)
class CameraLooks:
    """Pictures of a clip by their numbers, and where they do not show the person."""

    numbers: list[int]
    pictures: UInt8[np.ndarray, "looks height width 3"]
    empty: Bool[np.ndarray, "looks height width"]


def measure_drift(
    pictures: UInt8[np.ndarray, "looks height width 3"],
    empty: Bool[np.ndarray, "looks height width"],
    side: float | None = None,
) -> float | None:
    """Largest distance, pixels at 512, that the room moved from the middle picture to another; None where it cannot be told.

    The median over the features, so that a clock or a passer-by does not count as camera. side: pixels that stand for 512, None =
    the pictures' height.
    """
    size = pictures.shape[1] if side is None else side
    if size < _LEAST_SIZE:
        return None
    free = [_keep_off(look, size) for look in empty]
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    middle = len(grey) // 2
    corners = find_corners(pictures[middle], empty[middle], size)
    if corners is None:
        return None
    drifts = []
    for look, picture in enumerate(grey):
        # A pyramid may slide along a lattice: it is asked only where most features are no longer where they were.
        for levels, least in ((0, max(_FEWEST, _STAYED * len(corners))), (3, _FEWEST)):
            moved = _follow(grey[middle], picture, corners, free[look], levels)
            if len(moved) >= least:
                drifts.append(np.linalg.norm(np.median(moved, axis=0)))
                break
    return float(max(drifts)) * REFERENCE_SIZE / size if drifts else None


def find_corners(
    picture: UInt8[np.ndarray, "height width 3"], empty: Bool[np.ndarray, "height width"], side: float
) -> Float32[np.ndarray, "features 1 2"] | None:
    """Features of the room, (x, y); None where there are hardly any."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(grey, _FEATURES, 0.02, max(2.0, side / 64), mask=_keep_off(empty, side))
    return None if corners is None or len(corners) < _FEWEST else np.asarray(corners)


def _keep_off(empty: Bool[np.ndarray, "height width"], side: float) -> UInt8[np.ndarray, "height width"]:
    """1 where the person is not near."""
    reach = 2 * max(1, round(_CLEARANCE * side / REFERENCE_SIZE)) + 1
    return np.asarray(cv2.erode(empty.astype(np.uint8), np.ones((reach, reach), np.uint8), borderValue=1))


def _follow(
    before: UInt8[np.ndarray, "height width"],
    after: UInt8[np.ndarray, "height width"],
    corners: Float32[np.ndarray, "features 1 2"],
    free: UInt8[np.ndarray, "height width"],
    levels: int,
) -> Float32[np.ndarray, "found 2"]:
    """Displacements of the features that are found on free ground and lead back to where they came from."""
    there, _, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, maxLevel=levels)
    back, _, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, maxLevel=levels)
    place = np.clip(np.round(there[:, 0]), 0, np.array(before.shape[::-1]) - 1).astype(int)
    met = np.linalg.norm(back - corners, axis=-1)[:, 0] < _ROUND_TRIP
    good = met & (free[place[:, 1], place[:, 0]] > 0)
    return (there - corners)[good, 0]


def refuse_moving_camera(drift: float | None, video: Path) -> None:
    """Raise R2TalkerError, with the figure, when the room moves too far to have one background."""
    if drift is not None and drift > _MOST_DRIFT:
        raise R2TalkerError(
            f"{video}: the background moves by {drift:.1f} pixels of 512 and may move by {_MOST_DRIFT:.0f};"
            " the room shows too little to steady it here: give a clip of a camera at rest, or stabilise it first"
        )
