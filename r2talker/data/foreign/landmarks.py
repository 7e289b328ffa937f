"""Landmarks in the head frame, from what other tools' folders hold: 2D points and head poses, and maybe displacements."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

LARGEST = 0.95
"""Largest displacement of the training split where the units are ours to choose."""

METRES_PER_UNIT = 0.01
"""GeneFace's `idexp_lm3d` counts centimetres (upstream.md 7.1)."""

# Weight of "the point lies at the origin's depth" against one picture: keeps a head that never turns from flying off.
_PRIOR = 1e-4


@dataclass(frozen=True)
class Shape:
    """displacements: [F, 68, 3] in units of `scale` per metre. base: [68, 3] metres, head frame, so that the position of a landmark
    is base + displacement / scale."""

    displacements: Float32[np.ndarray, "frames 68 3"]
    base: Float[np.ndarray, "68 3"]
    scale: float


def place_landmarks(
    poses: Float[np.ndarray, "frames 4 4"],
    points: Float[np.ndarray, "frames 68 2"],
    train: Bool[np.ndarray, " frames"],
    focal: float,
    size: int,
    given: Float[np.ndarray, "frames 68 3"] | None,
) -> Shape:
    """Rest positions from all training frames' rays, and displacements: those `given`, else read off the picture plane.

    poses: camera-to-world as in `transforms_*.json`. points: pixels. given: GeneFace's displacements from the mean face.
    """
    origins, directions = _rays(poses, points, focal, size)
    mean = _meeting_points(origins[train], directions[train])
    if given is not None:
        scale = 1 / METRES_PER_UNIT
        return Shape(given.astype(np.float32), mean - given[train].mean(0) / scale, scale)
    # Each ray meets the plane through the rest position that faces the camera: movement along the line of sight is not seen.
    forward = -poses[:, None, :3, 2]
    reach = ((mean - origins) * forward).sum(-1) / (directions * forward).sum(-1)
    moved = origins + reach[..., None] * directions - mean
    offset = moved[train].mean(0)
    scale = LARGEST / max(float(np.abs(moved[train] - offset).max()), 1e-9)
    return Shape(((moved - offset) * scale).clip(-1, 1).astype(np.float32), mean + offset, scale)


def _rays(
    poses: Float[np.ndarray, "frames 4 4"], points: Float[np.ndarray, "frames 68 2"], focal: float, size: int
) -> tuple[Float[np.ndarray, "frames 1 3"], Float[np.ndarray, "frames 68 3"]]:
    """Origins and unit directions through the points in the head frame (upstream.md 2.1: the camera looks along -z, y is up)."""
    right_up = (points - size / 2) * np.array([1.0, -1.0]) / focal
    camera = np.concatenate([right_up, -np.ones((*points.shape[:2], 1))], -1)
    directions = np.einsum("fij,fpj->fpi", poses[:, :3, :3], camera)
    return poses[:, None, :3, 3], directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def _meeting_points(
    origins: Float[np.ndarray, "frames 1 3"], directions: Float[np.ndarray, "frames points 3"]
) -> Float[np.ndarray, "points 3"]:
    """The point nearest to each landmark's rays in the least-squares sense."""
    across = np.eye(3) - directions[..., :, None] * directions[..., None, :]
    normal = across.mean(0) + _PRIOR * np.eye(3)
    target = (across @ origins[..., None]).mean(0)
    return np.linalg.solve(normal, target)[..., 0]
