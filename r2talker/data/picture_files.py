"""Decoding one picture of a dataset."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from r2talker.errors import R2TalkerError


def decode(path: Path, mode: int) -> UInt8[np.ndarray, "height width *channels"]:
    """Pixels in OpenCV's channel order; R2TalkerError names a file that is missing or no picture."""
    picture = cv2.imread(str(path), mode)
    if picture is None:
        raise R2TalkerError(f"cannot read the picture {path}; ingest the clip again")
    return picture
