"""Colours and the painting of skin, lips, brows and hair; all colours are linear RGB, positions are in the head frame."""

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.config import SubjectConfig
from r2talker.subject.face import BROW_LENGTH, BROW_START, brow_line, eye_opening, lip_height, lip_line
from r2talker.subject.shape import INNER_CORNER, OUTER_CORNER

Colour = Float[ndarray, " 3"]
Flat = Float[ndarray, " texels"]
Painted = Float[ndarray, "texels 3"]


def linear(red: int, green: int, blue: int) -> Colour:
    """Linear RGB of an 8-bit sRGB colour (power 2.2)."""
    return (np.array([red, green, blue], np.float32) / 255) ** 2.2


SKIN = {"fair": linear(232, 186, 160), "tan": linear(205, 150, 115), "brown": linear(142, 94, 68)}
LIPS = {"fair": linear(190, 98, 92), "tan": linear(172, 88, 78), "brown": linear(128, 66, 60)}
HAIR = {
    "black": linear(38, 33, 32),
    "brown": linear(84, 56, 38),
    "blond": linear(186, 146, 92),
    "red": linear(148, 72, 38),
    "grey": linear(150, 148, 146),
}
IRIS = {"brown": linear(96, 60, 34), "blue": linear(82, 124, 160), "green": linear(92, 122, 78)}
JACKET = {
    "navy": linear(44, 56, 92),
    "charcoal": linear(66, 68, 74),
    "burgundy": linear(104, 40, 52),
    "teal": linear(32, 92, 96),
}


def smooth_noise(shape: tuple[int, int], cells: tuple[int, int], seed: int) -> Float[ndarray, "rows columns"]:
    """Cubic interpolation of random numbers on a coarse grid; about zero mean and unit variance."""
    coarse = np.random.default_rng(seed).standard_normal((max(cells[0], 2), max(cells[1], 2))).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def step(value: Flat, start: Flat | float, end: Flat | float) -> Flat:
    """Smooth step from 0 at `start` to 1 at `end` (either may be the larger)."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Flat, y: Flat, centre: tuple[float, float], radii: tuple[float, float]) -> Flat:
    """A Gaussian hill of height 1."""
    return np.exp(-(((x - centre[0]) / radii[0]) ** 2) - ((y - centre[1]) / radii[1]) ** 2)


def mix(base: Painted, colour: Colour | Painted, amount: Flat) -> Painted:
    """`base` where amount is 0, `colour` where it is 1."""
    return base + (colour - base) * amount[:, None]


def paint_skin(x: Flat, y: Flat, z: Flat, noise: Float[ndarray, "4 texels"], config: SubjectConfig) -> tuple[Painted, Flat]:
    """Albedo and gloss of the face at rest positions; rows of `noise` go from coarse to fine."""
    tone = SKIN[config.skin]
    side = np.abs(x)
    albedo = np.broadcast_to(tone, (len(x), 3)) * (1 + 0.035 * noise[0] + 0.03 * noise[1] + 0.022 * noise[2])[:, None]
    blush = tone * np.array([1.0, 0.70, 0.68], np.float32)
    albedo = mix(albedo, blush, 0.55 * bump(side, y, (0.043, -0.008), (0.020, 0.017)) * (1 + 0.2 * noise[1]))
    albedo = mix(albedo, blush, 0.45 * bump(side, y, (0, -0.015), (0.016, 0.011)))
    albedo = mix(albedo, blush, 0.25 * bump(side, y, (0, -0.075), (0.022, 0.012)))
    shade = tone * np.array([0.62, 0.48, 0.46], np.float32)
    albedo = mix(albedo, shade, 0.30 * bump(side, y, (0.031, 0.0185), (0.014, 0.0045)))
    albedo = mix(albedo, shade * 0.25, 0.9 * bump(side, y, (0.0085, -0.0252), (0.0036, 0.0020)) * (z > 0.075))
    gloss = 0.10 + 0.10 * bump(side, y, (0, 0.0), (0.010, 0.05)) + 0.06 * bump(side, y, (0, 0.075), (0.04, 0.02))
    albedo = _paint_eye_surroundings(albedo, side, y, shade)
    albedo, gloss = _paint_lips(albedo, gloss, x, y, noise, config)
    return _paint_brows(albedo, side, y, noise, config), np.where(z > 0, gloss, 0.1).astype(np.float32)


def _paint_eye_surroundings(albedo: Painted, side: Flat, y: Flat, shade: Colour) -> Painted:
    lower, upper = eye_opening(side)
    q = (side - INNER_CORNER[0]) / (OUTER_CORNER[0] - INNER_CORNER[0])
    at_eye = step(q, -0.04, 0.08) * step(q, 1.14, 1.02)
    crease = upper + 0.0042 + 0.0006 * np.sin(np.pi * np.clip(q, 0, 1))
    albedo = mix(albedo, shade * 0.75, 0.55 * at_eye * np.exp(-(((y - crease) / 0.0007) ** 2)))
    albedo = mix(albedo, shade, 0.30 * at_eye * step(y, upper + 0.0045, upper) * (y > upper))
    lash = linear(28, 20, 18)
    thickness = 0.0007 + 0.0009 * np.clip(q, 0, 1)
    albedo = mix(albedo, lash, 0.96 * at_eye * step(y, upper + thickness * 1.4, upper + thickness * 0.5) * (y > lower + 0.001))
    rim = at_eye * (y < (lower + upper) / 2) * step(y, lower - 0.0012, lower - 0.0002)
    return mix(albedo, shade * np.array([1.0, 0.75, 0.75], np.float32), 0.6 * rim)


def _paint_lips(albedo: Painted, gloss: Flat, x: Flat, y: Flat, noise: Painted, config: SubjectConfig) -> tuple[Painted, Flat]:
    line = lip_line(x)
    above = y >= line
    height = np.where(above, lip_height(x, "upper"), lip_height(x, "lower"))
    away = np.abs(y - line)
    inside = step(away, height + 0.0007, height - 0.0007) * step(height, 0.0, 0.0012)
    colour = LIPS[config.skin] * (np.where(above, 0.82, 1.0) * (1 + 0.07 * noise[3] + 0.05 * noise[2]))[:, None]
    albedo = mix(albedo, colour, 0.92 * inside)
    # The wet inner border and the dark line where the lips meet.
    inner = inside * np.exp(-((away / 0.0011) ** 2))
    albedo = mix(albedo, LIPS[config.skin] * np.array([0.32, 0.18, 0.18], np.float32), 0.85 * inner)
    corner = bump(np.abs(x), y, (0.0262, -0.0396), (0.0022, 0.0014))
    albedo = mix(albedo, LIPS[config.skin] * 0.25, 0.6 * corner)
    return albedo, gloss + inside * np.where(above, 0.10, 0.22)


def _paint_brows(albedo: Painted, side: Flat, y: Flat, noise: Painted, config: SubjectConfig) -> Painted:
    q = np.clip((side - BROW_START) / BROW_LENGTH, -0.2, 1.2)
    middle = brow_line(side)
    half = 0.0034 * (1 - 0.62 * np.clip(q, 0, 1) ** 1.6)
    strands = 0.5 + 0.5 * np.sin(2 * np.pi * (side * 900 - (y - middle) * 520) + 2.5 * noise[2])
    across = step(np.abs(y - middle), half * 1.25, half * 0.45)
    along = step(q, -0.06, 0.10) * step(q, 1.06, 0.90)
    return mix(albedo, HAIR[config.hair] * 0.60, np.clip(across * along * (0.74 + 0.26 * strands), 0, 0.95))
