"""How far each pixel of a person's border is person: the share of two colours, of the person inside and of the room outside."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from r2talker.ingest.config import REFERENCE_SIZE

# Pixels of 512: how far inside and outside of the rough border a pixel is in doubt, and over which colours are carried into it.
_INSIDE, _OUTSIDE, _CARRY = 5, 9, 4.0
# Colours less apart than this many levels say nothing, and the rough mask stays.
_TELLING = 20.0


def refine_border(
    rgb: UInt8[np.ndarray, "size size 3"],
    rough: Float32[np.ndarray, "size size"],
    plate: UInt8[np.ndarray, "size size 3"],
    seen: Bool[np.ndarray, "size size"],
) -> Float32[np.ndarray, "size size"]:
    """The rough mask with a border after the colours: a pixel is as far person as its colour is from the room's to the person's.

    plate: the empty room, believed where `seen`; elsewhere the room near the pixel stands in.
    """
    scale = len(rgb) / REFERENCE_SIZE
    solid = (rough > 0.5).astype(np.uint8)
    inside = cv2.distanceTransform(solid, cv2.DIST_L2, 3) > _INSIDE * scale
    outside = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 3) > _OUTSIDE * scale
    doubt = ~(inside | outside)
    if not doubt.any():
        return rough
    picture = rgb.astype(np.float32)
    person = carry(picture, inside, _CARRY * scale)
    room = plate.astype(np.float32)
    if (doubt & ~seen).any():
        room = np.where(seen[..., None], room, carry(picture, outside, _CARRY * scale))
    apart = person - room
    squares = np.square(apart).sum(-1)
    share = np.clip(((picture - room) * apart).sum(-1) / np.maximum(squares, 1e-3), 0, 1)
    trust = squares / (squares + _TELLING**2)
    mixed = np.where(doubt, share * trust + rough * (1 - trust), inside).astype(np.float32)
    # The guided filter (He et al. 2010) takes the grain out and keeps the strands.
    radius = max(1, round(3 * scale))
    guide = picture / 255
    smooth = cv2.ximgproc.guidedFilter(guide, mixed, radius, 1e-4)
    return np.clip((smooth - 0.05) / 0.9, 0, 1).astype(np.float32)


def carry(
    picture: Float32[np.ndarray, "size size 3"], known: Bool[np.ndarray, "size size"], reach: float
) -> Float32[np.ndarray, "size size 3"]:
    """Colours of the known pixels carried beyond them, each place taking from the nearest scale that has any."""
    size, half = picture.shape[1::-1], (max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2))
    values = cv2.resize(np.dstack([picture * known[..., None], known.astype(np.float32)]), half, interpolation=cv2.INTER_AREA)
    carried = np.zeros((half[1], half[0], 4), np.float32)
    for _ in range(3):
        # A blur of a small picture is as good as a wide one of the large picture.
        blurred = cv2.resize(cv2.GaussianBlur(values, (0, 0), max(reach / 2, 0.8)), half, interpolation=cv2.INTER_LINEAR)
        share = blurred[..., 3:]
        carried += blurred * ((1 - carried[..., 3:]) * np.clip(share * 20, 0, 1) / np.maximum(share, 1e-6))
        values = cv2.resize(values, (max(1, values.shape[1] // 2), max(1, values.shape[0] // 2)), interpolation=cv2.INTER_AREA)
    carried = cv2.resize(carried, size, interpolation=cv2.INTER_LINEAR)
    return carried[..., :3] / np.maximum(carried[..., 3:], 1e-6)
