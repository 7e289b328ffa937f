"""Hair: a thickened cap over the skull that ends at the hairline."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.config import SubjectConfig
from r2talker.subject.paint import HAIR, smooth_noise, step
from r2talker.subject.parts import Part
from r2talker.subject.shape import CENTRE, cast, directions, face_distance, hairline
from r2talker.subject.splat import Texture, choose_factor, enlarge


def make_hair(config: SubjectConfig) -> Part:
    """Short hair swept to one side from a parting: a thickened cap over the skull that ends at the hairline."""
    factor = choose_factor(0.0022, config.focal)
    azimuth, elevation = np.meshgrid(
        np.linspace(-2.35, 2.35, 190, dtype=np.float32), np.linspace(-0.75, 1.55, 130, dtype=np.float32)
    )
    inside = elevation - hairline(azimuth)
    strand = _strands(azimuth, elevation)
    relief = np.interp(strand, *_random_curve(110, 3)) * step(inside, 0.0, 0.15)
    thickness = 0.0015 + 0.0115 * step(inside, -0.02, 0.40) + 0.006 * step(elevation, 0.7, 1.3) + 0.0009 * relief
    skull = cast(azimuth, elevation, face_distance)
    away = (skull - CENTRE) / np.linalg.norm(skull - CENTRE, axis=-1, keepdims=True)
    points = (skull + thickness[..., None] * away).astype(np.float32)
    shadow = (0.70 + 0.30 * step(inside, 0.0, 0.22)).astype(np.float32)

    dense = enlarge(np.stack([azimuth, elevation], -1), factor)
    a, e = dense[..., 0].ravel(), dense[..., 1].ravel()
    fine = _strands(a, e)
    jagged = 0.030 * np.interp(fine, *_random_curve(420, 5)) + 0.015 * np.interp(fine, *_random_curve(1500, 6))
    keep = np.flatnonzero((e - hairline(a) > jagged) & (enlarge(points[..., 2], factor).ravel() > -0.075))
    tint = 1 + 0.20 * np.interp(fine, *_random_curve(420, 7)) + 0.16 * np.interp(fine, *_random_curve(1300, 8))
    tint = np.clip(tint + 0.08 * smooth_noise(dense.shape[:2], (30, 40), 9).ravel(), 0.35, 1.8)[keep]
    albedo = (HAIR[config.hair] * tint[:, None]).astype(np.float32)
    gloss = (HAIR[config.hair].mean() * 1.1 + 0.05) * np.clip(tint, 0.4, 1.5) ** 2
    return Part(lambda expression, gaze: (points, shadow), Texture(factor, keep, albedo, gloss.astype(np.float32)), shine=9.0)


def _strands(azimuth: Float[ndarray, "*grid"], elevation: Float[ndarray, "*grid"]) -> Float[ndarray, "*grid"]:
    """A coordinate in [0, 1] that is constant along each strand; strands leave the parting all round and curl."""
    parting = directions(np.float32(-0.42), np.float32(1.12))
    towards = directions(azimuth, elevation)
    back = directions(np.float32(np.pi - 0.42), np.float32(0.45))
    side = np.cross(back, parting)
    distance = np.arccos(np.clip(towards @ parting, -1, 1))
    angle = np.arctan2(towards @ side, -(towards @ back))
    return (angle + 0.35 * distance) / (2 * np.pi) % 1.0


def _random_curve(count: int, seed: int) -> tuple[Float[ndarray, " knots"], Float[ndarray, " knots"]]:
    values = np.random.default_rng(seed).standard_normal(count).clip(-2, 2)
    return np.linspace(0, 1, count), values
