"""How far the lips are apart, from the picture itself: the mesh net calls gaps of one or two pixels closed.

Down the middle of the mouth runs a strip of colour. Skin and lip above the upper lip's middle, and below the lower one's, look
the same whatever the mouth does; where they lie is found by comparison with their own average over the clip, which is then
averaged anew ("congealing", Learned-Miller 2006, here of shifts in one dimension).
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from r2talker.face.topology import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LIP_MIDDLES,
    MOUTH_CORNERS,
    OUTER_EYE_CORNERS,
    OUTER_LOWER_LIP,
    OUTER_UPPER_LIP,
)

STRIP = 96
# A strip's pixel is 1/240 of the distance of the outer eye corners; its colours are means over 12 columns.
_FINENESS, _COLUMNS = 240, 12
# What is compared reaches from the lip's middle this far beyond its outer border, pixels of the strip.
_BEYOND = 12
_SEARCH, _FINE_STEP, _ROUNDS = 10.0, 0.5, 5
# What a shift of one pixel away from the net's own place costs, as part of the average's energy.
_STRAY = 0.006
# Part of the opening that the strips decide, the rest being the net's (0.6 to 0.8 are best on four procedural clips).
_SHARE = 0.65
# Of the wanted change of the opening the lower lip makes this part.
_LOWER_PART = 0.7
# Pictures that the zero of the strips' opening is taken from: those with the least of it.
_CLOSED = 0.1

Strips = UInt8[np.ndarray, "frames {STRIP} 3"]
Mesh = Float[np.ndarray, "frames 478 3"]


def cut_strip(picture: UInt8[np.ndarray, "height width 3"], mesh: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "{STRIP} 3"]:
    """Colours down the middle of the mouth of one picture."""
    across, down, unit, middle = (part[0] for part in _axes(mesh[None]))
    matrix = np.column_stack([across * unit, down * unit, np.zeros(2)])
    matrix[:, 2] = middle - matrix[:, :2] @ np.array([_COLUMNS / 2 - 0.5, STRIP / 2 - 0.5])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(picture, matrix, (_COLUMNS, STRIP), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.round(patch.mean(1)).astype(np.uint8)


def refine_lips(mesh: Mesh, strips: Strips) -> Mesh:
    """The meshes with lips as far apart as the strips say; corners stay. Both in pixels of the same pictures."""
    across, down, unit, middle = _axes(mesh)
    rows = {vertex: ((mesh[:, vertex, :2] - middle) * down).sum(1) / unit + STRIP / 2 for vertex in LIP_MIDDLES}
    outer_up, inner_up, inner_low, outer_low = (rows[vertex] for vertex in LIP_MIDDLES)
    upper = _place_band(strips, outer_up, -_BEYOND, float(np.median(inner_up - outer_up)) / 2)
    lower = _place_band(strips, outer_low, -float(np.median(outer_low - inner_low)) / 2, _BEYOND)
    gap, apart = inner_low - inner_up, lower - upper
    closed = np.argsort(gap + apart)[: max(1, round(_CLOSED * len(gap)))]
    change = _SHARE * (apart - np.median(apart[closed] - gap[closed]) - gap)
    refined = mesh.copy()
    for vertices, shift in (
        (INNER_UPPER_LIP, -(1 - _LOWER_PART) * change),
        (INNER_LOWER_LIP, _LOWER_PART * change),
        (OUTER_UPPER_LIP, _SHARE * (upper - outer_up)),
        (OUTER_LOWER_LIP, _SHARE * (lower - outer_low)),
    ):
        side = ((mesh[:, list(vertices), :2] - middle[:, None]) * across[:, None]).sum(-1)
        width = np.linalg.norm(mesh[:, MOUTH_CORNERS[1], :2] - mesh[:, MOUTH_CORNERS[0], :2], axis=1)
        part = np.clip(1 - np.square(2 * side / width[:, None]), 0, 1)
        refined[:, list(vertices), :2] += (part * (shift * unit)[:, None])[..., None] * down[:, None]
    return refined


def _axes(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every mouth: direction across and down, pixels per pixel of the strip, middle."""
    points = mesh[..., :2].astype(float)
    across = points[:, MOUTH_CORNERS[1]] - points[:, MOUTH_CORNERS[0]]
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    down = np.stack([-across[:, 1], across[:, 0]], -1)
    eyes = points[:, OUTER_EYE_CORNERS[1]] - points[:, OUTER_EYE_CORNERS[0]]
    return across, down, np.linalg.norm(eyes, axis=1) / _FINENESS, points[:, list(LIP_MIDDLES)].mean(1)


def _place_band(strips: Strips, rows: Float[np.ndarray, " frames"], first: float, last: float) -> Float[np.ndarray, " frames"]:
    """Where the band from `first` to `last` about `rows` lies in every strip; on the whole the places stay as given."""
    colours, offsets = strips.astype(float), np.arange(first, last + 1e-6)
    every = np.arange(len(strips))[:, None]

    def sample(places: np.ndarray) -> np.ndarray:
        spots = np.clip(places[:, None] + offsets, 0, STRIP - 1.001)
        whole = spots.astype(int)
        part = (spots - whole)[..., None]
        band = colours[every, whole] * (1 - part) + colours[every, whole + 1] * part
        return band - band.mean(1, keepdims=True)

    places, reach = rows.astype(float), _SEARCH
    for _ in range(_ROUNDS):
        average = np.median(sample(places), axis=0)
        shifts = np.arange(-reach, reach + 1e-6, _FINE_STEP)
        strayed = places - rows - np.median(places - rows)
        cost = np.stack([np.square(sample(places + shift) - average).sum((1, 2)) for shift in shifts], 1)
        cost += _STRAY * np.square(average).sum() * np.square(strayed[:, None] + shifts)
        best = np.clip(cost.argmin(1), 1, len(shifts) - 2)
        before, least, after = (cost[every[:, 0], best + step] for step in (-1, 0, 1))
        part = np.clip((before - after) / np.maximum(before - 2 * least + after, 1e-9) / 2, -1, 1)
        change = shifts[best] + part * _FINE_STEP
        places = places + change - np.median(change)
        reach = max(3.0, reach * 0.6)
    return places
