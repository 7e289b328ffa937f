"""Head, neck, torso or background: every pixel of a picture named from the person's mask, the face mesh, and colour."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8

from r2talker.face.topology import CHIN, FACE_OVAL, LEFT_EYE, OUTER_EYE_CORNERS, OUTER_LIPS, RIGHT_EYE
from r2talker.ingest.colour import ColourModel, find_bins, learn_colours, pick, to_lab

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
# Limits of a colour's log likelihood: one odd pixel does not decide for those round it.
_BELIEVED = (-4, 8)
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

    @cached_property
    def _tables(self) -> Float32[np.ndarray, "bins 3"]:
        return np.stack([np.clip(model.table, *_BELIEVED) for model in (self.skin, self.cloth, self.hair)], -1).reshape(-1, 3)

    def likelihoods(self, lab: UInt8[np.ndarray, "rows size 3"]) -> Float32[np.ndarray, "rows size 3"]:
        """Log likelihood of skin, cloth and hair at every pixel, within limits."""
        return self._tables.take(find_bins(lab), 0)


def face_frame(mesh: Float[np.ndarray, "478 3"], size: int) -> FaceFrame:
    """Lay the face's coordinates over the picture."""
    points = mesh[:, :2].astype(float)
    eyes = points[list(OUTER_EYE_CORNERS)].mean(0)
    down = points[CHIN] - eyes
    unit = float(np.linalg.norm(down))
    down = down / unit
    across = np.array([down[1], -down[0]])
    middle = points[list(_EARS)].mean(0)
    place = np.arange(size) + 0.5

    def lay(axis: np.ndarray, origin: np.ndarray) -> Float32[np.ndarray, "size size"]:
        along_row, along_column = (place - origin[0]) * axis[0] / unit, (place - origin[1]) * axis[1] / unit
        return np.add.outer(along_column.astype(np.float32), along_row.astype(np.float32))

    u, v = lay(across, middle), lay(down, eyes)
    left, right = (points[list(_JAW_ANGLE)] - eyes) @ down / unit
    left_u, right_u = (points[list(_JAW_ANGLE)] - middle) @ across / unit
    part = np.clip((u - np.float32(left_u)) * np.float32(1 / (right_u - left_u)), 0, 1)
    return FaceFrame(u, v, part * np.float32(right - left) + np.float32(left), unit)


def fill_polygon(points: Float[np.ndarray, "corners 2"], size: int, grow: int = 0) -> Bool[np.ndarray, "size size"]:
    """Pixels inside a polygon, grown by `grow` pixels."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    if grow:
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1)))
    return mask.astype(bool)


def find_parts(
    region: Bool[np.ndarray, "rows columns"],
) -> tuple[Int32[np.ndarray, "rows columns"], Int[np.ndarray, " parts"]]:
    """Number of the connected part that each pixel belongs to, 0 outside of `region`, and the pixels of each part, 0 for 0."""
    count, parts = cv2.connectedComponents(region.view(np.uint8), connectivity=4)
    areas = np.bincount(parts.reshape(-1), minlength=count)
    areas[0] = 0
    return parts, areas


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
    side = np.abs(frame.u)
    # Beside the ears a raised or leaning shoulder reaches above their lower end.
    high = (frame.v < frame.cut) & ((side < _BESIDE_EARS) | (frame.v < _SHOULDERS_END))
    label = np.where(person & (oval | high), np.uint8(HEAD), np.uint8(BACKGROUND))
    lowest = np.flatnonzero((person & (label == BACKGROUND)).any(1))
    if len(lowest):
        # What happens lower down reaches up as far as the widest of the windows below.
        rows = slice(max(0, lowest[0] - size // 16), None)
        part = FaceFrame(frame.u[rows], frame.v[rows], frame.cut[rows], frame.unit)
        label[rows] = _split_below(rgb[rows], person[rows], label[rows] == HEAD, part, colours, size)
    # Small islands of another name (buttons, shine, a shadow in a fold) belong to what is round them.
    window = max(3, round(size / 100) // 2 * 2 + 1)
    smooth = cv2.medianBlur(label, window)
    label[person & (smooth != BACKGROUND)] = smooth[person & (smooth != BACKGROUND)]
    return label


def _split_below(
    rgb: UInt8[np.ndarray, "rows size 3"],
    person: Bool[np.ndarray, "rows size"],
    head: Bool[np.ndarray, "rows size"],
    frame: FaceFrame,
    colours: PersonColours,
    size: int,
) -> UInt8[np.ndarray, "rows size"]:
    """Regions of the lower rows of a picture of side `size`, of which `head` is known to be head."""
    below = person & ~head
    hair, neck = _claims(to_lab(rgb), frame, colours, size)
    # Thin strips (the dark rim of a shoulder) are no hair.
    reach = 2 * max(1, round(size / 128)) + 1
    hair = cv2.morphologyEx((below & hair).view(np.uint8), cv2.MORPH_OPEN, np.ones((reach, reach), np.uint8)).view(bool)
    head = head | _touching(hair, head, size)
    neck = _largest(_touching(below & neck & ~head, head, size))
    rest = below & ~neck
    head |= rest & ~_largest(rest & ~head) & (frame.v < 1.1)
    label = np.where(person, np.uint8(TORSO), np.uint8(BACKGROUND))
    label[neck] = NECK
    label[head] = HEAD
    return label


def _claims(
    lab: UInt8[np.ndarray, "rows size 3"], frame: FaceFrame, colours: PersonColours, size: int
) -> tuple[Bool[np.ndarray, "rows size"], Bool[np.ndarray, "rows size"]]:
    """Where, below the ears, colour and place speak for hair and for neck."""
    blur = max(3, round(size / 80) // 2 * 2 + 1)
    skin, cloth, hair = cv2.split(cv2.GaussianBlur(colours.likelihoods(lab), (blur, blur), 0))
    side = np.abs(frame.u)
    # Hair hangs beside the jaw; the middle under the chin is neck, and far down is cloth. Fair hair has the colour of skin, so
    # place decides between them.
    beside = np.clip((side - 0.5) / 0.15, -1, 1)
    skin = skin - 3 * np.clip(beside, 0, 1) - np.clip(5 * (frame.v - 1.35), 0, 10) + np.clip(8 * (1.1 - frame.v), 0, 2)
    if not colours.long_hair:
        return np.zeros_like(skin, bool), skin > cloth
    hair = hair + 5 * beside - np.clip(4 * (frame.v - 1.2), 0, 8) - np.clip(8 * (side - 1.2), 0, 10)
    hangs = (hair > skin) & (hair > cloth + 0.5)
    return hangs, ~hangs & (skin > cloth)


def _largest(region: Bool[np.ndarray, "rows size"]) -> Bool[np.ndarray, "rows size"]:
    """The parts of `region` that are no scraps."""
    parts, areas = find_parts(region)
    return (areas > _SCRAP * areas.max())[parts]


def _touching(
    region: Bool[np.ndarray, "rows size"], anchor: Bool[np.ndarray, "rows size"], size: int
) -> Bool[np.ndarray, "rows size"]:
    """The parts of `region` that lie against `anchor`."""
    reach = 2 * max(1, round(size / 170)) + 1
    near = cv2.dilate(anchor.view(np.uint8), np.ones((reach, reach), np.uint8)).view(bool)
    count, parts = cv2.connectedComponents(region.view(np.uint8), connectivity=4)
    kept = np.zeros(count, bool)
    kept[parts[region & near]] = True
    return kept[parts]
