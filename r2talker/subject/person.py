"""The person in front of the camera: assembles the parts, lights them and draws one picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from r2talker.subject.backdrop import paint_background, paint_torso, place_torso
from r2talker.subject.config import SubjectConfig
from r2talker.subject.face import Expression
from r2talker.subject.glasses import make_glasses
from r2talker.subject.hair import make_hair
from r2talker.subject.neck import Neck
from r2talker.subject.parts import make_parts
from r2talker.subject.skin import skin_charts, skin_normals, skin_texture
from r2talker.subject.splat import Canvas, Drawn, Grid, normals
from r2talker.subject.truth import LABELS

# Camera space: from where the light comes. The key light stands to the upper left, the fill light to the right.
KEY, FILL = np.array([-0.46, 0.50, 0.74], np.float32), np.array([0.75, 0.10, 0.62], np.float32)
KEY_COLOUR, FILL_COLOUR = np.array([0.80, 0.77, 0.72], np.float32), np.array([0.15, 0.18, 0.21], np.float32)
SKY, GROUND = np.array([0.40, 0.40, 0.42], np.float32), np.array([0.25, 0.215, 0.20], np.float32)

# Fine enough that neighbouring entries differ by at most one step above the darkest few.
SRGB = (255 * np.linspace(0, 1, 16384) ** (1 / 2.2) + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Moment:
    """Everything that changes from picture to picture.

    head: [4, 4] head frame to camera space (x right, y up, looking along -z; metres). torso: (right, up in metres; roll in
    radians, anticlockwise). gaze: (yaw, pitch) of the eyes in the head frame, radians.
    """

    expression: Expression
    head: Float[ndarray, "4 4"]
    torso: tuple[float, float, float]
    gaze: tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """rgb: sRGB. labels: per pixel a value of LABELS."""

    rgb: UInt8[ndarray, "height width 3"]
    labels: UInt8[ndarray, "height width"]


class Person:
    """One procedural person; building it takes seconds, drawing a 256x256 picture some tens of milliseconds."""

    def __init__(self, config: SubjectConfig) -> None:
        self.config = config
        self._charts = skin_charts()
        self._skin = {side: skin_texture(side, config) for side in self._charts}
        self._parts = [*make_parts(config), make_hair(config), *(make_glasses(config) if config.glasses else [])]
        self._neck = Neck(config)
        self._torso = paint_torso(config)
        self._background = paint_background(config)

    def draw(self, moment: Moment) -> Picture:
        """One picture."""
        head = self._draw_head(moment)
        neck = self._draw_neck(moment)
        torso = place_torso(self._torso, moment.torso, self.config)
        image, labels = self._background, np.zeros(head.alpha.shape, np.uint8)
        for name, layer in (("neck", neck), ("torso", torso), ("head", head)):
            image = layer.rgb + (1 - layer.alpha[..., None]) * image
            labels[layer.alpha > 0.5] = LABELS[name]
        return Picture(rgb=to_srgb(image), labels=labels)

    def _draw_head(self, moment: Moment) -> Drawn:
        canvas = Canvas(self.config.size, self.config.focal)
        rotation, shift = moment.head[:3, :3].astype(np.float32), moment.head[:3, 3].astype(np.float32)
        placed = {side: chart.influence.apply(moment.expression) @ rotation.T + shift for side, chart in self._charts.items()}
        facing = dict(zip(("upper", "lower"), skin_normals(placed["upper"], placed["lower"]), strict=True))
        for side, chart in self._charts.items():
            canvas.add(placed[side], *illuminate(placed[side], facing[side], chart.shadow, 16.0), self._skin[side])
        for part in self._parts:
            points, shadow = part.place(moment.expression, moment.gaze)
            points = points @ rotation.T + shift
            canvas.add(points, *illuminate(points, normals(points), shadow, part.shine), part.texture)
        return canvas.resolve()

    def _draw_neck(self, moment: Moment) -> Drawn:
        canvas = Canvas(self.config.size, self.config.focal)
        points, shadow = self._neck.place(moment.head, moment.torso)
        canvas.add(points, *illuminate(points, normals(points), shadow, 16.0), self._neck.texture)
        return canvas.resolve()


def illuminate(
    points: Grid, facing: Grid, shadow: Float[ndarray, "rows columns"], shine: float
) -> tuple[Grid, Float[ndarray, "rows columns"]]:
    """Soft key light, fill light and a two-coloured ambience; returns the light and the highlight.

    Light wraps round the terminator, more for red, as it does under skin.
    """
    key, fill = KEY / np.linalg.norm(KEY), FILL / np.linalg.norm(FILL)
    towards_key = (facing @ key)[..., None]
    wrap = np.array([0.42, 0.32, 0.28], np.float32)
    light = KEY_COLOUR * np.clip((towards_key + wrap) / (1 + wrap), 0, 1)
    light += FILL_COLOUR * np.clip(facing @ fill * 0.7 + 0.3, 0, 1)[..., None]
    up = 0.5 + 0.5 * facing[..., 1:2]
    light += GROUND + (SKY - GROUND) * up
    # Hollows in skin turn red before they turn dark.
    light *= 1 - (1 - shadow[..., None]) * np.array([0.82, 1.05, 1.10], np.float32)
    half = key + np.array([0, 0, 1], np.float32)
    highlight = np.clip(facing @ (half / np.linalg.norm(half)), 0, 1) ** shine * shadow
    return light, highlight


def to_srgb(image: Float[ndarray, "height width 3"]) -> UInt8[ndarray, "height width 3"]:
    """Linear RGB to 8 bits (power 1/2.2)."""
    return SRGB[(np.clip(image, 0, 1) * (len(SRGB) - 1)).astype(np.uint16)]
