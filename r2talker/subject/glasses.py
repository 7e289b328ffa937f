"""Glasses: two rims, a bridge and two temples, bent from round wire; they sit on the head and hide little of the face."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.config import SubjectConfig
from r2talker.subject.paint import linear
from r2talker.subject.parts import Part
from r2talker.subject.splat import Texture, choose_factor

WIRE_RADIUS = 0.0013
RIM_CENTRE, RIM_RADII = np.array([0.0325, 0.0275, 0.0865]), (0.0238, 0.0188)

Path = Float[ndarray, "points 3"]


def make_glasses(config: SubjectConfig) -> list[Part]:
    """The five pieces of wire."""
    turn = np.linspace(0, 2 * np.pi, 110)
    # Between an ellipse and a rectangle, wrapped a little round the face.
    across, up = (np.sign(f(turn)) * np.abs(f(turn)) ** 0.72 for f in (np.cos, np.sin))
    rim = RIM_CENTRE + np.stack([RIM_RADII[0] * across, RIM_RADII[1] * up, -0.0045 * np.maximum(across, 0) ** 2], -1)
    mirrored = rim[::-1] * np.array([-1, 1, 1])
    s = np.linspace(-1, 1, 24)
    bridge = np.stack([0.0092 * s, 0.0325 - 0.0022 * s**2, 0.0870 + 0 * s], -1)
    t = np.linspace(0, 1, 60)
    temple = np.stack([0.0560 + 0.0185 * t**0.6, 0.0320 - 0.004 * t, 0.0820 - 0.0900 * t], -1)
    paths = [rim, mirrored, bridge, temple, temple * np.array([-1, 1, 1])]
    return [_wire(path, config) for path in paths]


def _wire(path: Path, config: SubjectConfig) -> Part:
    factor = choose_factor(0.0014, config.focal)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    # Any direction that is nowhere parallel to the wire.
    reference = np.array([0.0, 0.0, 1.0]) if abs(along[len(along) // 2, 2]) < 0.8 else np.array([0.0, 1.0, 0.0])
    first = np.cross(reference, along)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    second = np.cross(along, first)
    angle = np.linspace(2 * np.pi, 0, 11)[:, None, None]
    points = (path + WIRE_RADIUS * (np.cos(angle) * first + np.sin(angle) * second)).astype(np.float32)
    light = np.ones(points.shape[:2], np.float32)
    texels = light.size * factor * factor
    albedo = np.ascontiguousarray(np.broadcast_to(linear(52, 44, 42), (texels, 3)))
    texture = Texture(factor, np.arange(texels), albedo, np.full(texels, 0.5, np.float32))
    return Part(lambda expression, gaze: (points, light), texture, shine=30.0)
