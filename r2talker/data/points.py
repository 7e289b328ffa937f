"""The 68 landmarks of a picture, and what is read off them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from r2talker.errors import R2TalkerError


def read_points(path: Path) -> Float32[np.ndarray, "68 2"]:
    """Pixels (x, y) of a `.lms` file; R2TalkerError names a file that is missing or of another form."""
    try:
        points = np.loadtxt(path, dtype=np.float32)
    except (OSError, ValueError) as error:
        raise R2TalkerError(f"cannot read the landmarks {path}; ingest the clip again") from error
    if points.shape != (68, 2):
        raise R2TalkerError(f"{path} holds {list(points.shape)} numbers instead of 68 lines of x y; ingest the clip again")
    return points


def eye_values(points: Float[np.ndarray, "frames 68 2"], size: int) -> Float[np.ndarray, " frames"]:
    """Area of both eyes in percent of the picture (upstream.md 2.7)."""
    return 100 * (_area(points[:, 36:42]) + _area(points[:, 42:48])) / size**2


def _area(polygon: Float[np.ndarray, "frames corners 2"]) -> Float[np.ndarray, " frames"]:
    following = np.roll(polygon, -1, axis=1)
    return np.abs((polygon[..., 0] * following[..., 1] - following[..., 0] * polygon[..., 1]).sum(1)) / 2
