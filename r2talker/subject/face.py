"""How the face is laid out and how it moves: the lip line, the eye openings, and the expression as a map of points.

Everything is a function of the rest position of a point, so the drawn skin and the exact landmarks go through one code.
Head frame, metres. Points of the skin belong to the upper or the lower side of the lip line, which extends from the mouth's
corners to the ears; only between the corners do the two sides part.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.shape import (
    EYE_CENTRE,
    INNER_CORNER,
    LID_RADIUS,
    OUTER_CORNER,
    Field,
    Points,
)

Side = Literal["upper", "lower"]

MOUTH_HALF_WIDTH = 0.0255
MOUTH_Y = -0.0425
BROW_START, BROW_LENGTH = 0.0125, 0.0380
HINGE = (0.006, -0.004)
JAW_ANGLE = 0.155
CORNER_FOLLOWS_JAW = 0.36


@dataclass(frozen=True)
class Expression:
    """What the muscles do at one moment.

    open: jaw drop, 0 to 1. width: -1 rounded and pushed out, 0 relaxed, 1 spread. press: 0 to 1, lips pressed together.
    blink: (left in the picture, right in the picture), 0 open to 1 shut. brow: -0.3 lowered to 1 raised.
    """

    open: float = 0.0
    width: float = 0.0
    press: float = 0.0
    blink: tuple[float, float] = (0.0, 0.0)
    brow: float = 0.0


def lip_line(x: Field) -> Field:
    """Height y of the closed lips; constant outside of the corners, which are raised for a friendly look."""
    s = np.clip(np.abs(x) / MOUTH_HALF_WIDTH, 0, 1)
    return MOUTH_Y + 0.0030 * s**2.5 - 0.0006 * np.exp(-((s / 0.25) ** 2))


def lip_height(x: Field, side: Side) -> Field:
    """Distance of the lip's outer border from the lip line; 0 outside of the corners."""
    s = np.clip(np.abs(x) / MOUTH_HALF_WIDTH, 0, 1)
    if side == "upper":
        return 0.0078 * (1 - s**1.9) * (1 - 0.16 * np.exp(-((s / 0.11) ** 2)) + 0.10 * np.exp(-(((s - 0.2) / 0.12) ** 2)))
    return 0.0100 * (1 - s**2.6)


def eye_opening(x: Field) -> tuple[Field, Field]:
    """Heights y of the lower and the upper lid's edge of open eyes; equal outside of the corners. Symmetric in x."""
    q = (np.abs(x) - INNER_CORNER[0]) / (OUTER_CORNER[0] - INNER_CORNER[0])
    inside = np.clip(q, 0, 1)
    middle = INNER_CORNER[1] + inside * (OUTER_CORNER[1] - INNER_CORNER[1])
    upper = middle + 0.0071 * np.sin(np.pi * inside**0.85).clip(0) ** 0.85
    lower = middle - 0.0045 * np.sin(np.pi * inside**1.15).clip(0) ** 0.95
    return lower, upper


def brow_line(x: Field) -> Field:
    """Height y of the middle of the brows. Symmetric in x."""
    q = np.clip((np.abs(x) - BROW_START) / BROW_LENGTH, 0, 1)
    return 0.0482 + 0.0062 * np.sin(np.pi * q**0.9 * 0.80) - 0.0028 * q**3


def dress(points: Points, side: Side) -> Points:
    """Add the lips' fullness to bare skin."""
    x, y = points[..., 0], points[..., 1]
    away = np.maximum(np.where(side == "upper", y - lip_line(x), lip_line(x) - y), 0)
    # A constant keeps the quotient finite at the corners, where the lip has no height.
    t = away / (lip_height(x, side) + 0.0012)
    fullness = np.clip(1 - (np.abs(x) / (1.12 * MOUTH_HALF_WIDTH)) ** 2, 0, 1) ** 0.8
    swell = (0.0041 if side == "upper" else 0.0051) * np.exp(-(((t - 0.52) / 0.46) ** 2))
    # Both lips curl back to the same depth where they meet.
    curl = np.exp(-((t / 0.16) ** 2))
    forward = (swell * (1 - curl) - 0.0026 * curl) * fullness
    # The groove between the lips runs on a little into the corners.
    groove = 0.0016 * np.exp(-((away / 0.0016) ** 2)) * np.exp(-(((np.abs(x) - MOUTH_HALF_WIDTH) / 0.0028) ** 2))
    result = points.copy()
    result[..., 2] += forward - groove
    return result


@dataclass(frozen=True)
class Influence:
    """How strongly each rest point answers each muscle; `rest` is dressed and has the lids laid over the eyeballs."""

    rest: Points
    jaw: Field
    spread: Points
    rounding: Points
    press: Points
    brow: Points
    lid: Float[ndarray, "2 *grid"]
    near_eye: Float[ndarray, "*grid"]

    @classmethod
    def of(cls, points: Points, side: Side) -> "Influence":
        """Influences of bare skin points on one side of the lip line."""
        rest = dress(np.asarray(points, np.float32), side)
        spread, rounding, press = _lip_influences(rest)
        near_eye = _near_eye(rest)
        return cls(
            rest=rest,
            jaw=_jaw_influence(rest, side).astype(np.float32),
            spread=spread,
            rounding=rounding,
            press=press,
            brow=_brow_influence(rest),
            lid=_lid_influence(rest) if side == "upper" else np.zeros((2, *rest.shape[:-1]), np.float32),
            near_eye=near_eye,
        )

    def apply(self, expression: Expression) -> Points:
        """Where the points are under an expression."""
        moved = self.rest + expression.press * self.press + expression.brow * self.brow
        moved += max(expression.width, 0) * self.spread + max(-expression.width, 0) * self.rounding
        moved[..., 1] += expression.blink[0] * self.lid[0] + expression.blink[1] * self.lid[1]
        moved = over_eyeballs(moved, self.near_eye)
        return turn_jaw(moved, expression.open * self.jaw)


def turn_jaw(points: Points, amount: Field | float) -> Points:
    """Rotate points about the jaw's hinge; amount 1 is the widest opening."""
    y, z = points[..., 1] - HINGE[0], points[..., 2] - HINGE[1]
    cosine, sine = np.cos(JAW_ANGLE * amount), np.sin(JAW_ANGLE * amount)
    turned = points.copy()
    turned[..., 1] = HINGE[0] + cosine * y - sine * z
    turned[..., 2] = HINGE[1] + sine * y + cosine * z
    return turned


def over_eyeballs(points: Points, near_eye: Field) -> Points:
    """Lift the lids over the eyeballs: z becomes that of a slightly larger sphere wherever the skin would lie inside."""
    across = np.abs(points[..., 0]) - EYE_CENTRE[0]
    up = points[..., 1] - EYE_CENTRE[1]
    ball = EYE_CENTRE[2] + np.sqrt(np.maximum(LID_RADIUS**2 - across**2 - up**2, 0))
    gap = points[..., 2] - ball
    softness = 0.0015
    h = np.maximum(softness - np.abs(gap), 0) / softness
    lifted = np.maximum(points[..., 2], ball) + h * h * softness / 4
    result = points.copy()
    result[..., 2] += near_eye * (lifted - points[..., 2])
    return result


def _smooth(value: Field, start: float, end: float) -> Field:
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _near_eye(rest: Points) -> Field:
    across = (np.abs(rest[..., 0]) - EYE_CENTRE[0]) / 0.0185
    up = (rest[..., 1] - EYE_CENTRE[1]) / 0.0150
    distance = np.sqrt(across**2 + up**2)
    return np.where(rest[..., 2] > 0, 1 - _smooth(distance, 0.85, 1.1), 0).astype(np.float32)


def _jaw_influence(rest: Points, side: Side) -> Field:
    x, y, z = np.abs(rest[..., 0]), rest[..., 1], rest[..., 2]
    s = np.clip(x / MOUTH_HALF_WIDTH, 0, 1)
    beyond = np.maximum(x - MOUTH_HALF_WIDTH, 0)
    corner = CORNER_FOLLOWS_JAW * np.exp(-((beyond / 0.024) ** 2))
    away = np.abs(y - lip_line(x))
    front = _smooth(z, -0.02, 0.03)
    if side == "upper":
        edge = np.where(beyond > 0, corner, CORNER_FOLLOWS_JAW * s**4 - 0.10 * (1 - s**2))
        return front * edge * np.exp(-((away / (0.012 + 0.8 * beyond + 0.006 * s)) ** 2))
    edge = np.where(beyond > 0, corner, CORNER_FOLLOWS_JAW + (1 - CORNER_FOLLOWS_JAW) * (1 - s**2.2) ** 0.7)
    reach = 0.012 + 0.9 * np.minimum(beyond, 0.03) + 0.010 * s
    return front * (edge + (1 - edge) * _smooth(away / reach, 0, 1.3))


def _lip_influences(rest: Points) -> tuple[Points, Points, Points]:
    x, y, z = rest[..., 0], rest[..., 1], rest[..., 2]
    up = y - lip_line(x)
    front = _smooth(z, 0.02, 0.06)
    around = np.exp(-((np.abs(x) / 0.043) ** 3)) * np.exp(-((up / 0.026) ** 2)) * front
    lips = np.exp(-((np.abs(x) / 0.036) ** 4)) * np.exp(-((up / 0.014) ** 2)) * front
    # Skin slides along the curved teeth: what moves outwards also moves back.
    curvature = np.clip(x, -0.04, 0.04) / 0.042
    outward = 0.30 * np.clip(x, -0.04, 0.04) * around
    spread = np.stack([0.75 * outward, 0.03 * np.abs(outward), -0.75 * outward * curvature - 0.0012 * lips], -1)
    inward = -0.40 * np.clip(x, -0.04, 0.04) * around
    rounding = np.stack([inward, 0 * x, -0.6 * inward * curvature + 0.0075 * lips], -1)
    press = np.stack([0.05 * x * lips, -0.28 * up * lips, -0.0018 * lips], -1)
    return spread.astype(np.float32), rounding.astype(np.float32), press.astype(np.float32)


def _brow_influence(rest: Points) -> Points:
    x, y, z = np.abs(rest[..., 0]), rest[..., 1], rest[..., 2]
    lift = np.where(y > 0.052, np.exp(-(((y - 0.052) / 0.028) ** 2)), np.exp(-(((y - 0.052) / 0.0085) ** 2)))
    lift = lift * np.exp(-(((x - 0.028) / 0.034) ** 4)) * _smooth(z, 0.02, 0.05)
    return np.stack([0 * x, 0.0065 * lift, -0.0012 * lift], -1).astype(np.float32)


def _lid_influence(rest: Points) -> Float[ndarray, "2 *grid"]:
    x, y = rest[..., 0], rest[..., 1]
    lower, upper = eye_opening(x)
    gap = upper - lower
    above = np.clip(1 - np.maximum(y - upper, 0) / 0.0105, 0, 1) ** 1.2
    below = np.clip(1 - np.maximum(lower - y, 0) / 0.0090, 0, 1) ** 1.5
    # The upper lid covers nine tenths of the way and the lower lid meets it.
    close = np.where(y > (lower + upper) / 2, -0.90 * gap * above, 0.10 * gap * below)
    close = np.where(rest[..., 2] > 0, close, 0)
    return np.stack([np.where(x < 0, close, 0), np.where(x >= 0, close, 0)]).astype(np.float32)
