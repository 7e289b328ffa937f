"""Eyes, mouth cavity, teeth, tongue and ears."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.config import SubjectConfig
from r2talker.subject.face import MOUTH_HALF_WIDTH, MOUTH_Y, Expression, Influence, eye_opening, lip_line, turn_jaw
from r2talker.subject.paint import IRIS, LIPS, SKIN, linear, mix, step
from r2talker.subject.shape import EYE_CENTRE, EYE_RADIUS, directions
from r2talker.subject.skin import skin_points
from r2talker.subject.splat import Grid, Texture, choose_factor, enlarge

Placed = tuple[Grid, Float[ndarray, "rows columns"]]


@dataclass(frozen=True)
class Part:
    """place: expression and gaze (yaw, pitch in radians) to points in the head frame and how much light reaches them.

    Rows of the grid run upwards and columns to the right, as seen in the picture, so that normals face the viewer.
    shine: exponent of the highlight.
    """

    place: Callable[[Expression, tuple[float, float]], Placed]
    texture: Texture
    shine: float = 20.0


def make_parts(config: SubjectConfig) -> list[Part]:
    """All parts of one person but the hair."""
    parts = [make_eye(side, config) for side in (-1, 1)]
    parts += [make_ear(side, config) for side in (-1, 1)]
    return [*parts, make_cavity(config), make_teeth("upper", config), make_teeth("lower", config), make_tongue(config)]


def make_eye(side: int, config: SubjectConfig) -> Part:
    """An eyeball with iris, pupil and a shadow under the upper lid; side -1 is on the picture's left."""
    factor = choose_factor(0.0007, config.focal)
    angles = np.linspace(-1.15, 1.15, 56, dtype=np.float32)
    ball = EYE_RADIUS * directions(*np.meshgrid(angles, angles))
    centre = EYE_CENTRE * np.array([side, 1, 1], np.float32)

    def place(expression: Expression, gaze: tuple[float, float]) -> Placed:
        points = centre + ball @ _turn(*gaze).T
        lower, upper = eye_opening(points[..., 0])
        shut = expression.blink[0 if side < 0 else 1]
        edge = upper - 0.9 * shut * (upper - lower)
        light = 0.42 + 0.58 * step(points[..., 1], edge + 0.0004, edge - 0.0042)
        corners = step(np.abs(points[..., 0] - centre[0]), 0.0155, 0.0095)
        return points, (light * (0.72 + 0.28 * corners)).astype(np.float32)

    dense = enlarge(np.stack(np.meshgrid(angles, angles), -1), factor)
    radius = np.arccos(np.cos(dense[..., 0]) * np.cos(dense[..., 1])).ravel()
    around = np.arctan2(dense[..., 1], dense[..., 0]).ravel()
    albedo = mix(np.broadcast_to(linear(236, 230, 226), (len(radius), 3)), linear(222, 170, 160), 0.5 * step(radius, 0.55, 1.1))
    fibres = 0.5 + 0.25 * np.sin(23 * around + 9 * radius) + 0.25 * np.sin(37 * around - 14 * radius)
    iris = IRIS[config.eyes] * (0.55 + 0.75 * fibres * step(radius, 0.12, 0.30))[:, None]
    iris = mix(iris, linear(18, 14, 12), 0.75 * step(radius, 0.36, 0.43))
    albedo = mix(albedo, iris, step(radius, 0.445, 0.415))
    albedo = mix(albedo, linear(8, 7, 7), step(radius, 0.185, 0.165))
    # What no gaze brings into the opening would only show through the lids' stretched skin.
    keep = np.flatnonzero((np.abs(dense[..., 1]) < 0.66).ravel())
    gloss = np.full(len(keep), 1.1, np.float32)
    return Part(place, Texture(factor, keep, albedo[keep].astype(np.float32), gloss), shine=260.0)


def make_ear(side: int, config: SubjectConfig) -> Part:
    """A shell that leans away from the head, with a rim and a hollow."""
    factor = choose_factor(0.0011, config.focal)
    across, height = np.meshgrid(np.linspace(0, 1, 40, dtype=np.float32), np.linspace(-1, 1, 56, dtype=np.float32))
    outline = np.sqrt(np.maximum(1 - np.abs(height) ** 2.6, 0)) * (0.80 + 0.20 * height)
    width = 0.031 * outline * across
    rim = 0.0058 * np.exp(-(((across - 0.84) / 0.15) ** 2)) - 0.004 * step(across, 0.9, 1.0)
    hollow = -0.0075 * np.exp(-(((across - 0.42) / 0.22) ** 2) - ((height + 0.12) / 0.42) ** 2)
    ridge = 0.0035 * np.exp(-(((across - 0.60) / 0.10) ** 2)) * step(np.abs(height - 0.05), 0.75, 0.2)
    raised = (rim + hollow + ridge) * step(np.abs(height), 1.02, 0.7)
    back, out = np.array([0.60, 0.02, -0.80]), np.array([0.80, 0.0, 0.60])
    base = np.stack([0.0695 - 0.006 * (height < 0) * height**2, 0.012 + 0.031 * height, -0.004 - 0.006 * height], -1)
    points = (base + width[..., None] * back + raised[..., None] * out).astype(np.float32)
    shadow = (0.92 - 0.50 * np.exp(-(((across - 0.40) / 0.20) ** 2) - ((height + 0.12) / 0.42) ** 2)).astype(np.float32)
    shadow *= 0.75 + 0.25 * step(across, 0.0, 0.3)
    if side < 0:
        points, shadow = points[:, ::-1] * np.array([-1, 1, 1], np.float32), shadow[:, ::-1]
    points, shadow = np.ascontiguousarray(points), np.ascontiguousarray(shadow)
    texels = points.shape[0] * points.shape[1] * factor * factor
    albedo = np.broadcast_to(SKIN[config.skin] * np.array([1.0, 0.80, 0.76], np.float32), (texels, 3))
    texture = Texture(factor, np.arange(texels), np.ascontiguousarray(albedo), np.full(texels, 0.08, np.float32))
    return Part(lambda expression, gaze: (points, shadow), texture)


def make_cavity(config: SubjectConfig) -> Part:
    """The dark back of the mouth, hung between the inner borders of the lips."""
    factor = choose_factor(0.0012, config.focal)
    s = np.linspace(-1, 1, 48, dtype=np.float32)
    border = skin_points(s * MOUTH_HALF_WIDTH, lip_line(s * MOUTH_HALF_WIDTH))
    upper, lower = Influence.of(border, "upper"), Influence.of(border, "lower")
    t = np.linspace(-0.25, 1.25, 24, dtype=np.float32)[:, None, None]
    deep = 0.030 * np.sqrt(np.maximum(1 - s**2, 0))[None, :] * np.ones((24, 1), np.float32) + 0.002

    def place(expression: Expression, gaze: tuple[float, float]) -> Placed:
        low, high = lower.apply(expression), upper.apply(expression)
        points = low + t * (high - low + np.array([0, 0.002, 0], np.float32))
        points[..., 2] -= deep
        return points.astype(np.float32), np.full(points.shape[:2], 0.35, np.float32)

    texels = 24 * 48 * factor * factor
    albedo = np.broadcast_to(linear(70, 24, 24), (texels, 3))
    return Part(place, Texture(factor, np.arange(texels), np.ascontiguousarray(albedo), np.zeros(texels, np.float32)))


def make_teeth(row: Literal["upper", "lower"], config: SubjectConfig) -> Part:
    """A row of teeth along the dental arch; the lower one moves with the jaw."""
    factor = choose_factor(0.0007, config.focal)
    x, t = np.meshgrid(np.linspace(-0.0215, 0.0215, 64, dtype=np.float32), np.linspace(0, 1, 20, dtype=np.float32))
    arch = 0.0848 - 0.0115 * (np.abs(x) / 0.0215) ** 2.2
    if row == "upper":
        points = np.stack([x, MOUTH_Y - 0.0026 + 0.013 * t + 0.0035 * (x / 0.0215) ** 2, arch + 0.0012 * np.sin(np.pi * t)], -1)
    else:
        points = np.stack([0.9 * x, MOUTH_Y - 0.0150 + 0.0125 * t + 0.001 * (x / 0.0215) ** 2, arch - 0.0028], -1)
    points = points.astype(np.float32)
    dense = enlarge(np.stack([x, t], -1), factor)
    along, up = dense[..., 0].ravel(), dense[..., 1].ravel()
    width = 0.0080 if row == "upper" else 0.0056
    phase = np.abs(((along / width) + (0 if row == "upper" else 0.5)) % 1.0 - 0.5) * 2
    # 0 in a tooth's middle, 1 in the gap beside it.
    gap = np.abs(1 - phase) if row == "lower" else phase
    free = up if row == "upper" else 1 - up
    keep = np.flatnonzero(free > 0.10 * step(gap, 0.55, 1.0))
    albedo = mix(np.broadcast_to(linear(240, 232, 216), (len(gap), 3)), linear(150, 110, 92), 0.55 * step(gap, 0.80, 1.0))
    albedo = mix(albedo, linear(196, 104, 100), step(free, 0.66, 0.74))
    gloss = np.full(len(keep), 0.25, np.float32)

    def place(expression: Expression, gaze: tuple[float, float]) -> Placed:
        lit = 0.30 + 0.42 * min(1.0, 2.2 * expression.open)
        side = (1 - 0.55 * (np.abs(x) / 0.0215) ** 2).astype(np.float32)
        if row == "upper":
            return points, lit * side * (0.8 + 0.2 * step(t, 0.6, 0.0))
        return turn_jaw(points, expression.open), 0.80 * lit * side

    return Part(place, Texture(factor, keep, albedo[keep].astype(np.float32), gloss), shine=60.0)


def make_tongue(config: SubjectConfig) -> Part:
    """A mound behind the lower teeth."""
    factor = choose_factor(0.0014, config.focal)
    x, t = np.meshgrid(np.linspace(-1, 1, 32, dtype=np.float32), np.linspace(0, 1, 24, dtype=np.float32))
    hill = np.sqrt(np.maximum(1 - x**2, 0))
    points = np.stack(
        [0.017 * x, MOUTH_Y - 0.0105 + 0.006 * np.sin(1.8 * t) * hill - 0.004 * (1 - hill), 0.079 - 0.030 * t], -1
    )
    points = points.astype(np.float32)

    def place(expression: Expression, gaze: tuple[float, float]) -> Placed:
        lit = 0.25 + 0.35 * min(1.0, 1.6 * expression.open)
        return turn_jaw(points, 0.85 * expression.open), np.full(x.shape, lit, np.float32) * (1 - 0.6 * t)

    texels = x.size * factor * factor
    albedo = np.ascontiguousarray(np.broadcast_to(LIPS[config.skin] * np.array([1.0, 0.85, 0.85], np.float32), (texels, 3)))
    return Part(place, Texture(factor, np.arange(texels), albedo, np.full(texels, 0.12, np.float32)), shine=30.0)


def _turn(yaw: float, pitch: float) -> Float[ndarray, "3 3"]:
    """Rotation that turns the front towards the picture's right (yaw) and up (pitch)."""
    c, s = np.cos(yaw), np.sin(yaw)
    cp, sp = np.cos(pitch), np.sin(pitch)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    return (about_y @ about_x).astype(np.float32)
