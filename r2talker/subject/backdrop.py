"""What does not need the depth buffer: the room behind and the clothed torso, painted once and moved as a flat picture."""

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.config import SubjectConfig
from r2talker.subject.paint import JACKET, linear, smooth_noise, step
from r2talker.subject.splat import Drawn, Grid

# Where the camera stands in the resting head frame: in front of the head and a little above its origin, metres.
CAMERA = np.array([0.0, 0.008, 0.95], np.float32)
# The plane the torso is painted on, and the point it rolls about.
TORSO_Z, TORSO_PIVOT_Y = -0.03, -0.45
PAINT_SCALE = 2
# The torso reaches this share of the picture beyond its borders, so that moving it shows no end.
MARGIN = 0.15

Plane = Float[ndarray, "rows columns"]


def torso_points(rest: Grid, torso: tuple[float, float, float]) -> Grid:
    """Points that stand in the resting head frame, moved with the torso, in camera space."""
    right, up, roll = torso
    x, y = rest[..., 0], rest[..., 1] - TORSO_PIVOT_Y
    cosine, sine = np.cos(roll), np.sin(roll)
    moved = np.stack([cosine * x - sine * y + right, sine * x + cosine * y + TORSO_PIVOT_Y + up, rest[..., 2]], -1)
    return moved - CAMERA


def paint_torso(config: SubjectConfig) -> Drawn:
    """Jacket, shirt and collar with a margin on all sides."""
    side = (config.size + 2 * round(config.size * MARGIN)) * PAINT_SCALE
    metres = (CAMERA[2] - TORSO_Z) / config.focal / PAINT_SCALE
    columns, rows = np.meshgrid(np.arange(side) + 0.5 - side / 2, np.arange(side) + 0.5 - side / 2)
    x, y = (columns * metres).astype(np.float32), (CAMERA[1] - rows * metres).astype(np.float32)
    scale = 1 / metres

    def shape(*corners: tuple[float, float], mirror: bool = True) -> Plane:
        mask = np.zeros((side, side), np.uint8)
        for sign in (1, -1) if mirror else (1,):
            points = np.array([[sign * cx * scale + side / 2, side / 2 - (cy - CAMERA[1]) * scale] for cx, cy in corners])
            cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255

    top = -0.098 - 0.18 * np.maximum(np.abs(x) - 0.045, 0) ** 1.05 - 1.1 * np.maximum(np.abs(x) - 0.15, 0) ** 2
    jacket = step(y, top + metres, top - metres) * step(np.abs(x), 0.046, 0.050)
    jacket = np.maximum(
        jacket, shape((0.047, -0.102), (0.058, -0.098), (0.30, -0.30), (0.30, -0.60), (0.0, -0.60), (0.0, -0.275))
    )
    shirt = shape((0.052, -0.112), (0.060, -0.15), (0.0, -0.30), (0.0, -0.218), (0.030, -0.168))
    collar = shape((0.049, -0.098), (0.057, -0.104), (0.062, -0.140), (0.040, -0.192), (0.012, -0.196), (0.034, -0.160))
    lapel = shape(
        (0.058, -0.100),
        (0.074, -0.104),
        (0.108, -0.160),
        (0.088, -0.172),
        (0.092, -0.186),
        (0.020, -0.30),
        (0.0, -0.30),
        (0.052, -0.16),
    )

    depth = np.maximum(top - y, 0)
    facing = np.stack([1.15 * x / 0.22, 1.1 * np.exp(-depth / 0.035) + 0.1, np.ones_like(x)], -1)
    weave = 1 + 0.035 * smooth_noise((side, side), (side // 3, side // 3), 31) + 0.06 * smooth_noise((side, side), (14, 10), 32)
    cloth = JACKET[config.jacket] * weave[..., None]
    white = linear(232, 233, 238) * (1 + 0.02 * smooth_noise((side, side), (24, 24), 33))[..., None]

    rgb, alpha = cloth * _lit(facing), jacket.copy()
    folds = 1 - 0.16 * np.exp(-(((np.abs(x) - 0.135 - 0.12 * (y + 0.2)) / 0.006) ** 2)) * step(y, -0.15, -0.19)
    rgb *= folds[..., None]
    for mask, paint, tilt in ((shirt, white, 0.0), (lapel, cloth * 1.05, 0.10), (collar, white, 0.16)):
        rgb *= (1 - 0.55 * _soft_shadow(mask, scale) * (1 - mask))[..., None]
        bent = facing + np.stack([-np.sign(x) * tilt, np.full_like(x, tilt), np.zeros_like(x)], -1)
        rgb = rgb + (paint * _lit(bent) * _edge(mask, scale)[..., None] - rgb) * mask[..., None]
        alpha = np.maximum(alpha, mask)
    return Drawn(rgb=_shrink(rgb * alpha[..., None]), alpha=_shrink(alpha))


def place_torso(torso: Drawn, moved: tuple[float, float, float], config: SubjectConfig) -> Drawn:
    """The torso in the picture after a shift (metres) and a roll (radians)."""
    size, scale = config.size, config.focal / (CAMERA[2] - TORSO_Z)
    side = torso.alpha.shape[0]
    right, up, roll = moved
    pivot = np.array([size / 2, size / 2 + (CAMERA[1] - TORSO_PIVOT_Y) * scale])
    rotation = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    offset = np.array([right, -up]) * scale
    # Painted pixel p lies at p + (size - side) / 2 in the resting picture; OpenCV counts from pixel centres.
    constant = pivot + offset + rotation @ ((size - side) / 2 + 0.5 - pivot) - 0.5
    matrix = np.concatenate([rotation, constant[:, None]], 1)
    rgb = cv2.warpAffine(torso.rgb, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return Drawn(rgb=rgb, alpha=cv2.warpAffine(torso.alpha, matrix, (size, size), flags=cv2.INTER_LINEAR))


def paint_background(config: SubjectConfig) -> Float[ndarray, "height width 3"]:
    """A room out of focus: a wall lit from one side, shelves with books, a lamp and a plant; linear RGB."""
    side = config.size
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    wall = linear(150, 168, 172) * (1.05 - 0.45 * columns - 0.15 * rows)[..., None]
    image = np.ascontiguousarray(wall.astype(np.float32))
    rng = np.random.default_rng(41)

    def box(left: float, upper: float, right: float, lower: float, colour: Float[ndarray, " 3"]) -> None:
        corners = [tuple(round(value * side * 16) for value in pair) for pair in ((left, upper), (right, lower))]
        cv2.rectangle(image, corners[0], corners[1], [float(c) for c in colour], -1, cv2.LINE_AA, 4)

    books = [
        linear(160, 70, 60),
        linear(60, 92, 120),
        linear(196, 160, 96),
        linear(80, 110, 86),
        linear(206, 200, 188),
        linear(96, 70, 96),
    ]
    for left, right in ((0.02, 0.25), (0.76, 0.99)):
        box(left, 0.05, right, 0.80, linear(92, 74, 60))
        for shelf in range(4):
            base, x = 0.22 + 0.185 * shelf, left + 0.012
            while x < right - 0.035:
                width, height = rng.uniform(0.014, 0.034), rng.uniform(0.085, 0.145)
                box(x, base - height, x + width, base, books[rng.integers(len(books))] * rng.uniform(0.6, 1.0))
                x += width + (0.004 if rng.random() < 0.8 else 0.03)
            box(left, base, right, base + 0.014, linear(140, 112, 88))
    image = cv2.GaussianBlur(image, (0, 0), 0.011 * side)
    glow = np.exp(-(((columns - 0.42) / 0.30) ** 2) - ((rows - 0.12) / 0.35) ** 2)
    image *= (0.75 + 0.35 * glow)[..., None]
    grain = smooth_noise((side, side), (side // 2, side // 2), 42)
    return np.clip(image * (1 + 0.03 * grain)[..., None], 0, 1).astype(np.float32)


def _shrink(image: Float[ndarray, "rows columns *channels"]) -> Float[ndarray, "half_rows half_columns *channels"]:
    side = image.shape[0] // PAINT_SCALE
    return cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)


def _lit(facing: Float[ndarray, "rows columns 3"]) -> Float[ndarray, "rows columns 3"]:
    unit = facing / np.linalg.norm(facing, axis=-1, keepdims=True)
    key = np.clip((unit @ np.array([-0.46, 0.50, 0.74]) + 0.25) / 1.25, 0, 1)
    return (0.34 + 0.72 * key)[..., None] * np.array([1.0, 0.98, 0.95])


def _soft_shadow(mask: Plane, scale: float) -> Plane:
    return cv2.GaussianBlur(mask, (0, 0), 0.004 * scale)


def _edge(mask: Plane, scale: float) -> Plane:
    """Slightly darker borders, as if the cloth were rounded there."""
    return 0.80 + 0.20 * np.clip(2 * cv2.GaussianBlur(mask, (0, 0), 0.0018 * scale) - 1, 0, 1)
