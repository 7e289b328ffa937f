"""The rest shape of the head: soft blends of ellipsoids, seen from a point inside as a distance in every direction.

Everything is in the head frame (metres; x right as seen in the picture, y up, z towards the camera). The proportions are
those of textbook head drawing with 0.09 m between the outer eye corners; no face model or scan is involved.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# The point from which every direction meets the head once.
CENTRE = np.array([0.0, -0.005, 0.0], np.float32)

INNER_CORNER = (0.0175, 0.0285)
OUTER_CORNER = (0.045, 0.030)
EYE_CENTRE = np.array([0.0312, 0.0296, 0.0570], np.float32)
EYE_RADIUS = 0.0150
LID_RADIUS = EYE_RADIUS + 0.0012

Points = Float[ndarray, "*grid 3"]
Field = Float[ndarray, "*grid"]


def skull_distance(points: Points) -> Field:
    """Approximate signed distance to the cranium and jaw without the features of the face; what hair grows on."""
    x = np.abs(points[..., 0])
    p = np.stack([x, points[..., 1], points[..., 2]], -1)
    head = _ellipsoid(p, (0, 0.056, -0.016), (0.0735, 0.090, 0.094))
    head = _blend(head, _ellipsoid(p, (0, 0.000, 0.020), (0.0635, 0.080, 0.062)), 0.03)
    head = _blend(head, _ellipsoid(p, (0, -0.042, 0.030), (0.0485, 0.045, 0.052)), 0.03)
    return _blend(head, _ellipsoid(p, (0.037, -0.028, 0.010), (0.016, 0.026, 0.028)), 0.02)


def face_distance(points: Points) -> Field:
    """Approximate signed distance to the whole head with nose, cheeks, brows, sockets, muzzle and chin; ears are apart."""
    x = np.abs(points[..., 0])
    p = np.stack([x, points[..., 1], points[..., 2]], -1)
    head = skull_distance(points)
    head = _blend(head, _ellipsoid(p, (0, -0.071, 0.064), (0.021, 0.017, 0.021)), 0.022)
    head = _blend(head, _ellipsoid(p, (0.041, -0.006, 0.046), (0.022, 0.018, 0.022)), 0.022)
    head = _blend(head, _capsule(p, (0.000, 0.0500, 0.0695), (0.041, 0.0485, 0.0560), 0.0105), 0.022)
    head = _blend(head, _ellipsoid(p, (0, -0.043, 0.062), (0.033, 0.028, 0.025)), 0.020)
    head = -_blend(-head, _ellipsoid(p, (0.0325, 0.0300, 0.0840), (0.020, 0.0125, 0.0165)), 0.014)
    head = _blend(head, _capsule(p, (0, 0.0420, 0.0690), (0, -0.0120, 0.0900), 0.0078), 0.011)
    head = _blend(head, _ellipsoid(p, (0, -0.0150, 0.0925), (0.0098, 0.0092, 0.0105)), 0.008)
    head = _blend(head, _ellipsoid(p, (0.0110, -0.0190, 0.0835), (0.0066, 0.0064, 0.0095)), 0.006)
    # The philtrum, and the dimple under the lower lip.
    head = -_blend(-head, _capsule(p, (0, -0.0260, 0.0945), (0, -0.0330, 0.0940), 0.0022), 0.006)
    return -_blend(-head, _ellipsoid(p, (0, -0.0600, 0.0950), (0.016, 0.0030, 0.0065)), 0.012)


def directions(azimuth: Field, elevation: Field) -> Points:
    """Unit directions; azimuth 0 is the front and grows to the picture's right, both in radians."""
    return np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], -1).astype(
        np.float32
    )


def cast(azimuth: Field, elevation: Field, distance: Callable[[Points], Field]) -> Points:
    """The outermost surface points in the given directions from CENTRE."""
    towards = directions(azimuth, elevation)
    radius = np.full(towards.shape[:-1], 0.2, np.float32)
    for _ in range(40):
        # 0.8 because the blended ellipsoids overestimate distances a little.
        radius -= 0.8 * distance(CENTRE + radius[..., None] * towards)
    return CENTRE + radius[..., None] * towards


def hairline(azimuth: Field) -> Field:
    """Elevation (radians from CENTRE) above which hair grows."""
    knots = np.array([0, 0.35, 0.62, 0.82, 0.98, 1.10, 1.22, 1.34, 1.42, 1.55, 1.75, 2.40])
    heights = np.array([0.99, 0.99, 0.94, 0.80, 0.60, 0.34, 0.10, 0.00, 0.16, 0.30, -0.10, -0.45])
    fringe = 0.10 * np.exp(-(((azimuth - 0.30) / 0.34) ** 2)) - 0.05 * np.exp(-(((azimuth + 0.42) / 0.16) ** 2))
    return np.interp(np.abs(azimuth), knots, heights) - fringe


def _ellipsoid(p: Points, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
    """First-order distance to an ellipsoid (Quilez, "Ellipsoid SDF")."""
    scaled = (p - np.asarray(centre, np.float32)) / np.asarray(radii, np.float32)
    inside = np.sqrt(np.einsum("...k,...k", scaled, scaled))
    slope = scaled / np.asarray(radii, np.float32)
    return inside * (inside - 1) / np.maximum(np.sqrt(np.einsum("...k,...k", slope, slope)), 1e-6)


def _capsule(p: Points, start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> Field:
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    along = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    offset = p - a - along[..., None] * (b - a)
    return np.sqrt(np.einsum("...k,...k", offset, offset)) - np.float32(radius)


def _blend(a: Field, b: Field, softness: float) -> Field:
    """Union with a fillet of the given size (Quilez, polynomial smooth minimum)."""
    h = np.maximum(softness - np.abs(a - b), 0) / softness
    return np.minimum(a, b) - h * h * softness / 4
