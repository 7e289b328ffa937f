"""The skin of face, jaw and forehead: two charts that meet in the lip line, cast from the rest shape and painted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.config import SubjectConfig
from r2talker.subject.face import MOUTH_HALF_WIDTH, Influence, Side, eye_opening, lip_line
from r2talker.subject.paint import paint_skin, smooth_noise
from r2talker.subject.shape import CENTRE, Field, Points, cast, face_distance, hairline
from r2talker.subject.splat import Grid, Texture, choose_factor, enlarge, normals

COLUMNS, UPPER_ROWS, LOWER_ROWS = 204, 164, 92
# The usual distance between neighbouring points where the skin faces the camera, metres.
SPACING = 0.0014
# How far the skin runs on under the hair, radians.
HAIR_OVERLAP = 0.13
SIDE_ANGLE, TOP_ANGLE, BOTTOM_ANGLE = np.radians(118.0), np.radians(68.0), np.radians(-78.0)


@dataclass(frozen=True)
class Chart:
    """One side of the skin: rows run upwards, columns to the right. shadow: baked ambient occlusion, about 0 to 1."""

    influence: Influence
    shadow: Float[ndarray, "rows columns"]


@lru_cache
def skin_charts() -> dict[Side, Chart]:
    """The unpainted charts, the same for every person; takes about a second, once."""
    upper, lower = _cast_side("upper"), _cast_side("lower")
    shadow = _occlusion(np.concatenate([lower[:-1], upper]))
    return {
        "upper": Chart(influence=Influence.of(upper, "upper"), shadow=shadow[LOWER_ROWS - 1 :]),
        "lower": Chart(influence=Influence.of(lower, "lower"), shadow=shadow[:LOWER_ROWS]),
    }


def skin_normals(upper: Grid, lower: Grid) -> tuple[Grid, Grid]:
    """Normals of both charts; beyond the mouth's corners they agree along the lip line."""
    of_upper, of_lower = normals(upper), normals(lower)
    across = normals(np.stack([lower[-2], upper[0], upper[1]]))[1]
    beyond = np.abs(skin_charts()["upper"].influence.rest[0, :, 0]) > MOUTH_HALF_WIDTH
    of_upper[0, beyond] = of_lower[-1, beyond] = across[beyond]
    return of_upper, of_lower


def _cast_side(side: Side) -> Grid:
    azimuth = _spaced(-SIDE_ANGLE, SIDE_ANGLE, COLUMNS, lambda a: 1 + 1.3 * np.exp(-((a / 0.80) ** 4)))
    seam = _seam_elevation(azimuth)
    start = seam[COLUMNS // 2]
    if side == "upper":
        rows = _spaced(start, TOP_ANGLE, UPPER_ROWS, lambda e: 1 + 1.6 * _hill(e, start, 0.09) + 2.0 * _hill(e, 0.50, 0.13))
        share = (rows - start) / (TOP_ANGLE - start)
        elevation = seam + share[:, None] * (TOP_ANGLE - seam)
    else:
        rows = _spaced(start, BOTTOM_ANGLE, LOWER_ROWS, lambda e: 1 + 1.6 * _hill(e, start, 0.10) + 0.7 * _hill(e, -0.66, 0.12))
        share = (rows - start) / (BOTTOM_ANGLE - start)
        elevation = (seam + share[:, None] * (BOTTOM_ANGLE - seam))[::-1]
    return cast(np.broadcast_to(azimuth, elevation.shape), elevation, face_distance)


def skin_texture(side: Side, config: SubjectConfig) -> Texture:
    """Paint one chart, enlarged; texels in the eye openings, under the hair and far behind are left out."""
    factor = choose_factor(SPACING, config.focal)
    rest = skin_charts()[side].influence.rest
    dense = enlarge(rest, factor)
    x, y, z = (dense[..., axis].ravel() for axis in range(3))
    lower, upper = eye_opening(x)
    open_eye = (y > lower) & (y < upper) & (z > 0)
    away = dense.reshape(-1, 3) - CENTRE
    elevation = np.arctan2(away[:, 1], np.hypot(away[:, 0], away[:, 2]))
    under_hair = elevation > hairline(np.arctan2(away[:, 0], away[:, 2])) + HAIR_OVERLAP
    keep = np.flatnonzero(~open_eye & ~under_hair & (z > -0.045))
    both = ((LOWER_ROWS + UPPER_ROWS) * factor, dense.shape[1])
    part = slice(0, LOWER_ROWS * factor) if side == "lower" else slice(LOWER_ROWS * factor, None)
    octaves = [(6, 9), (18, 26), (70, 90), (190, 240)]
    noise = np.stack([smooth_noise(both, cells, seed)[part].ravel()[keep] for seed, cells in enumerate(octaves)])
    albedo, gloss = paint_skin(x[keep], y[keep], z[keep], noise, config)
    return Texture(factor=factor, keep=keep, albedo=albedo.astype(np.float32), gloss=gloss.astype(np.float32))


def skin_points(x: Field, y: Field) -> Points:
    """The bare skin's points in front of (x, y)."""
    points = np.stack([x, y, np.full_like(x, 0.13)], -1).astype(np.float32)
    for _ in range(60):
        points[..., 2] -= 0.7 * face_distance(points)
    return points


def _seam_elevation(azimuth: Field) -> Field:
    """Elevation under which the lip line, prolonged to the ears, is seen."""
    elevation = np.full_like(azimuth, -0.4)
    for _ in range(4):
        points = cast(azimuth, elevation, face_distance)
        reach = np.hypot(points[..., 0], points[..., 2])
        elevation = np.arctan2(lip_line(points[..., 0]) - CENTRE[1], reach)
    return elevation


def _hill(value: Field, centre: float, radius: float) -> Field:
    return np.exp(-(((value - centre) / radius) ** 2))


def _spaced(start: float, end: float, count: int, density: Callable[[Field], Field]) -> Field:
    """`count` values from start to end, closer together where `density` is larger."""
    fine = np.linspace(start, end, 2000)
    travelled = np.concatenate([[0], np.cumsum(density((fine[1:] + fine[:-1]) / 2))])
    return np.interp(np.linspace(0, travelled[-1], count), travelled, fine).astype(np.float32)


def _occlusion(points: Points) -> Field:
    """Darkening of hollows: how far a point lies inside of its smoothed surroundings."""
    radius = np.linalg.norm(points - CENTRE, axis=-1)
    depth = sum(cv2.GaussianBlur(radius, (0, 0), sigma) - radius for sigma in (4.0, 9.0))
    return np.clip(1 - 62 * np.maximum(depth, 0) - 3.6 * np.minimum(depth, 0), 0.45, 1.05).astype(np.float32)
