"""Head, neck, torso or background: every pixel of a picture named from the person's mask, the face mesh, and colour."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from r2talker.face.topology import CHIN, FACE_OVAL, LEFT_EYE, OUTER_EYE_CORNERS, OUTER_LIPS, RIGHT_EYE
from r2talker.ingest.colour import ColourModel, learn_colours, pick, to_lab

BACKGROUND, HEAD, NECK, TORSO = range(4)
COLOURS_BGR = np.array([(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)], np.uint8)
"""Colour of each region in the order above (upstream.md 1.2)."""

_SAMPLES = 1500
# Clothes are sure this far down; a face that fills the picture leaves them only the lowest rows, beside the neck.
_CLOTH_DOWN = 1.6
# Where, beside the jaw, only hair can be, and the part of it from which on there is.
_BESIDE_JAW, _LONG_HAIR = 0.75, 0.4
_BESIDE_EARS, _SHOULDERS_END = 0.95, 0.35
_LOWEST_ROWS, _BESIDE_NECK = 0.1, 0.8
_SHADOWS = (1.0, 0.85, 0.7, 0.55, 0.4)
# Vertices before the ears, between which the neck stands however the head turns, and at the angle of the jaw, above which the
# ear lobes end.
_EARS, _JAW_ANGLE = (234, 454), (58, 288)
# Parts of neck or torso under this share of the largest one are scraps.
_SCRAP = 0.1


Look = tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"], Float[np.ndarray, "478 3"]]
"""A picture with its person mask and its mesh."""


@dataclass(frozen=True)
class FaceFrame:
    """Coordinates that go with the face: u across from between the ears, v down from the eyes, in units of eyes to chin.

    u and v are maps over the picture; cut is the v of the lower end of the ears, below which a pixel needs a closer look.
    """

    u: Float32[np.ndarray, "height width"]
    v: Float32[np.ndarray, "height width"]
    cut: Float32[np.ndarray, "height width"]
    unit: float


@dataclass(frozen=True)
class PersonColours:
    """Colours of one person in one clip; long_hair: whether hair hangs down beside the jaw."""

    skin: ColourModel
    hair: ColourModel
    cloth: ColourModel
    long_hair: bool


def face_frame(mesh: Float[np.ndarray, "478 3"], size: int) -> FaceFrame:
    """Lay the face's coordinates over the picture."""
    points = mesh[:, :2]
    eyes = points[list(OUTER_EYE_CORNERS)].mean(0)
    down = points[CHIN] - eyes
    unit = float(np.linalg.norm(down))
    down = down / unit
    across = np.array([down[1], -down[0]])
    middle = points[list(_EARS)].mean(0)
    y, x = np.mgrid[:size, :size].astype(np.float32) + 0.5
    u = ((x - middle[0]) * across[0] + (y - middle[1]) * across[1]) / unit
    v = ((x - eyes[0]) * down[0] + (y - eyes[1]) * down[1]) / unit
    ears = points[list(_JAW_ANGLE)] - eyes
    left, right = ears @ down / unit
    left_u, right_u = (points[list(_JAW_ANGLE)] - middle) @ across / unit
    part = np.clip((u - left_u) / (right_u - left_u), 0, 1)
    return FaceFrame(u.astype(np.float32), v.astype(np.float32), (left + (right - left) * part).astype(np.float32), unit)


def fill_polygon(points: Float[np.ndarray, "corners 2"], size: int, grow: int = 0) -> Bool[np.ndarray, "size size"]:
    """Pixels inside a polygon, grown by `grow` pixels."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    if grow:
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1)))
    return mask.astype(bool)


def learn_person(looks: list[Look]) -> PersonColours:
    """Learn a person's colours from some pictures with their person mask and mesh."""
    skin, hair, cloth, beside = [], [], [], []
    for rgb, person, mesh in looks:
        lab, frame, size = to_lab(rgb), face_frame(mesh, len(rgb)), len(rgb)
        inner = cv2.erode(person.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        oval = fill_polygon(mesh[list(FACE_OVAL), :2], size)
        grow = max(1, round(0.06 * frame.unit))
        features = np.zeros_like(oval)
        for outline in (LEFT_EYE, RIGHT_EYE, OUTER_LIPS):
            features |= fill_polygon(mesh[list(outline), :2], size, grow)
        skin.append(pick(lab, oval & ~features & (frame.v > 0.15) & (frame.v < 0.9), _SAMPLES))
        above = ~fill_polygon(mesh[list(FACE_OVAL), :2], size, round(0.12 * frame.unit)) & (frame.v < -0.3)
        hair.append(pick(lab, inner & above & (np.abs(frame.u) < 1.2), _SAMPLES))
        cloth.append(pick(lab, inner & (frame.v > _CLOTH_DOWN), _SAMPLES))
        zone = (np.abs(np.abs(frame.u) - _BESIDE_JAW) < 0.06) & (np.abs(frame.v - 0.55) < 0.1)
        beside.append(person[zone].mean() if zone.any() else 0.0)
    long_hair = float(np.median(beside)) > _LONG_HAIR
    if sum(map(len, cloth)) < _SAMPLES:
        cloth += _lowest_cloth(looks, learn_colours(hair if long_hair else [], shadows=_SHADOWS[:3]))
    return PersonColours(
        learn_colours(skin, shadows=_SHADOWS),
        learn_colours(hair, shadows=_SHADOWS),
        learn_colours(cloth),
        long_hair=long_hair,
    )


def _lowest_cloth(looks: list[Look], hair: ColourModel) -> list[UInt8[np.ndarray, "pixels 3"]]:
    """Colours at the lower rim beside the neck that are not those of long hair."""
    cloth = []
    for rgb, person, mesh in looks:
        lab, frame = to_lab(rgb), face_frame(mesh, len(rgb))
        low = person & (np.abs(frame.u) > _BESIDE_NECK)
        low[: round(len(rgb) * (1 - _LOWEST_ROWS))] = False
        cloth.append(pick(lab, low & (hair.log_likelihood(lab) <= 0), _SAMPLES))
    return cloth


def parse_picture(
    rgb: UInt8[np.ndarray, "size size 3"],
    person: Bool[np.ndarray, "size size"],
    mesh: Float[np.ndarray, "478 3"],
    colours: PersonColours,
) -> UInt8[np.ndarray, "size size"]:
    """Name every pixel BACKGROUND, HEAD, NECK or TORSO.

    Above the lower end of the ears, and inside the outline of the face, a person is head. Below, hair that hangs down from
    the head is head, skin that meets the jaw is neck, and the rest is torso.
    """
    size = len(rgb)
    frame = face_frame(mesh, size)
    oval = fill_polygon(mesh[list(FACE_OVAL), :2], size, max(1, round(size / 512)))
    # Beside the ears a raised or leaning shoulder reaches above their lower end.
    high = (frame.v < frame.cut) & ((np.abs(frame.u) < _BESIDE_EARS) | (frame.v < _SHOULDERS_END))
    head = person & (oval | high)
    below = person & ~head
    hair, neck = _claims(to_lab(rgb), frame, colours)
    # Thin strips (the dark rim of a shoulder) are no hair.
    reach = 2 * max(1, round(size / 128)) + 1
    hair = cv2.morphologyEx((below & hair).astype(np.uint8), cv2.MORPH_OPEN, np.ones((reach, reach), np.uint8)).astype(bool)
    head |= _touching(hair, head, size)
    neck = _largest(_touching(below & neck & ~head, head, size))
    head |= below & ~neck & ~_largest(below & ~neck & ~head) & (frame.v < 1.1)
    # Small islands of another name (buttons, shine, a shadow in a fold) belong to what is round them.
    label = np.where(head, HEAD, np.where(neck, NECK, np.where(person, TORSO, BACKGROUND))).astype(np.uint8)
    window = max(3, round(size / 100) // 2 * 2 + 1)
    smooth = cv2.medianBlur(label, window)
    return np.where(person, np.where(smooth == BACKGROUND, label, smooth), BACKGROUND).astype(np.uint8)


def _claims(
    lab: UInt8[np.ndarray, "size size 3"], frame: FaceFrame, colours: PersonColours
) -> tuple[Bool[np.ndarray, "size size"], Bool[np.ndarray, "size size"]]:
    """Where, below the ears, colour and place speak for hair and for neck."""
    blur = max(3, round(len(lab) / 80) // 2 * 2 + 1)
    skin, hair, cloth = (
        cv2.GaussianBlur(np.clip(model.log_likelihood(lab), -4, 8), (blur, blur), 0)
        for model in (colours.skin, colours.hair, colours.cloth)
    )
    side = np.abs(frame.u)
    # Hair hangs beside the jaw; the middle under the chin is neck, and far down is cloth. Fair hair has the colour of skin, so
    # place decides between them.
    beside = np.clip((side - 0.5) / 0.15, -1, 1)
    hair = hair + 5 * beside - np.clip(4 * (frame.v - 1.2), 0, 8) - np.clip(8 * (side - 1.2), 0, 10)
    skin = skin - 3 * np.clip(beside, 0, 1) - np.clip(5 * (frame.v - 1.35), 0, 10) + np.clip(8 * (1.1 - frame.v), 0, 2)
    hangs = (hair > skin) & (hair > cloth + 0.5) & colours.long_hair
    return hangs, ~hangs & (skin > cloth)


def _largest(region: Bool[np.ndarray, "size size"]) -> Bool[np.ndarray, "size size"]:
    """The parts of `region` that are no scraps."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.isin(parts, np.flatnonzero(areas > _SCRAP * areas.max()))


def _touching(
    region: Bool[np.ndarray, "size size"], anchor: Bool[np.ndarray, "size size"], size: int
) -> Bool[np.ndarray, "size size"]:
    """The parts of `region` that lie against `anchor`."""
    reach = 2 * max(1, round(size / 170)) + 1
    near = cv2.dilate(anchor.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
    _, parts = cv2.connectedComponents(region.astype(np.uint8), connectivity=4)
    kept = np.unique(parts[region & near])
    return np.isin(parts, kept[kept > 0])
