"""Where in a picture is looked: the whole, the face, the mouth, and the band at the neck."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from r2talker.data.dataset import HEAD_BGR
from r2talker.data.regions import Region

MARGIN = 8.0
"""Pixels at 512 by which the mouth's box is larger than its landmarks, and by which the neck's band reaches to either side."""

REFERENCE = 512
"""Pixel distances are given for a picture of this height."""

_MOUTH = slice(48, 68)
_BACKGROUND_BGR = (255, 255, 255)


@dataclass(frozen=True)
class Areas:
    """Boxes of one picture; None where its landmarks are not known."""

    picture: Region
    face: Region | None
    mouth: Region | None

    def named(self) -> dict[str, Region]:
        """Those that are known, by name."""
        return {name: region for name, region in vars(self).items() if region is not None}


def find_areas(points: Float[np.ndarray, "68 2"] | None, height: int, width: int) -> Areas:
    """face: bounding box of the 68 landmarks (x, y in pixels). mouth: that of the lips' (48 to 67) and 8 px at 512 around."""
    whole = Region(0, height, 0, width)
    if points is None or not np.isfinite(points).all():
        return Areas(whole, None, None)
    face = _box(points, 0.0, height, width)
    return Areas(whole, face, _box(points[_MOUTH], MARGIN * height / REFERENCE, height, width))


def cut(picture: np.ndarray, region: Region) -> np.ndarray:
    """The part of a picture or map inside a region."""
    top, bottom, left, right = region.rows_and_columns
    return picture[top:bottom, left:right]


def neck_band(parsing: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Pixels within 8 px at 512 of where the head meets neck or torso; parsing: BGR in the colours of upstream.md 1.2."""
    head = (parsing == np.array(HEAD_BGR, np.uint8)).all(-1)
    body = ~head & ~(parsing == np.array(_BACKGROUND_BGR, np.uint8)).all(-1)
    near = cv2.dilate(body.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    border = (near & head).astype(np.uint8)
    reach = max(1, round(MARGIN * len(parsing) / REFERENCE))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(border, disc) > 0


def _box(points: Float[np.ndarray, "points 2"], margin: float, height: int, width: int) -> Region:
    """Whole pixels that hold all points and the margin, clipped to the picture and never empty."""
    (left, top), (right, bottom) = np.floor(points.min(0) - margin), np.ceil(points.max(0) + margin)
    top, left = int(np.clip(top, 0, height - 1)), int(np.clip(left, 0, width - 1))
    return Region(top, int(np.clip(bottom, top + 1, height)), left, int(np.clip(right, left + 1, width)))
