"""How far each pixel of a person's border is person: the share of two colours, of the person inside and of the room outside.

Most of a picture is in no doubt. Colours are carried and mixed only at the pixels that are.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

from r2talker.ingest.config import REFERENCE_SIZE

# Pixels of 512: how far inside and outside of the rough border a pixel is in doubt, and over which colours are carried into it.
_INSIDE, _OUTSIDE, _CARRY = 5, 9, 4.0
# Colours less apart than this many levels say nothing, and the rough mask stays.
_TELLING = 20.0
_SMOOTHING, _EDGE = 3, 1e-4
# Rows that are smoothed at once.
_STRIP = 64
# Longest side of the grid in which places are looked up: OpenCV's lookups take no longer one.
_GRID = 1024


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
    rows, columns = np.nonzero(~(inside | outside))
    if not len(rows):
        return rough
    person = carry(rgb, inside, _CARRY * scale, rows, columns)
    room = plate[rows, columns].astype(np.float32)
    unknown = ~seen[rows, columns]
    if unknown.any():
        room[unknown] = carry(rgb, outside, _CARRY * scale, rows[unknown], columns[unknown])
    share, trust = _mix_share(rgb[rows, columns].astype(np.float32), person, room)
    mixed = inside.astype(np.float32)
    mixed[rows, columns] = share * trust + rough[rows, columns] * (1 - trust)
    return _smooth(rgb, mixed, rows, columns, max(1, round(_SMOOTHING * scale)))


def _mix_share(
    colour: Float32[np.ndarray, "pixels 3"], person: Float32[np.ndarray, "pixels 3"], room: Float32[np.ndarray, "pixels 3"]
) -> tuple[Float32[np.ndarray, " pixels"], Float32[np.ndarray, " pixels"]]:
    """How far each colour is from the room's to the person's, 0 to 1, and how much that is worth."""
    apart = person - room
    squares = np.einsum("pc,pc->p", apart, apart)
    along = np.einsum("pc,pc->p", colour - room, apart)
    return np.clip(along / np.maximum(squares, 1e-3), 0, 1), squares / (squares + np.float32(_TELLING**2))


def _smooth(
    rgb: UInt8[np.ndarray, "size size 3"],
    mixed: Float32[np.ndarray, "size size"],
    rows: Int[np.ndarray, " pixels"],
    columns: Int[np.ndarray, " pixels"],
    radius: int,
) -> Float32[np.ndarray, "size size"]:
    """Take the grain out and keep the strands, by a guided filter (He et al. 2010) round the pixels in doubt.

    Beyond twice the radius from them the mask is even, and the filter would change nothing: it runs in the parts of strips of
    the picture that are nearer, seeing twice the radius beyond their rims.
    """
    size, reach = len(rgb), 2 * radius
    smooth = mixed.copy()
    for top in range(max(0, rows[0] - reach), min(size, rows[-1] + reach + 1), _STRIP):
        bottom = min(top + _STRIP, size)
        first, end = np.searchsorted(rows, [top - reach, bottom + reach])
        for left, right in _find_runs(columns[first:end], size, reach):
            part = slice(max(0, top - reach), bottom + reach), slice(max(0, left - reach), right + reach)
            guide = rgb[part].astype(np.float32)
            guide *= 1 / 255
            found = cv2.ximgproc.guidedFilter(guide, np.ascontiguousarray(mixed[part]), radius, _EDGE)
            own = found[top - part[0].start :, left - part[1].start :][: bottom - top, : right - left]
            smooth[top:bottom, left:right] = np.clip((own - 0.05) * np.float32(1 / 0.9), 0, 1)
    return smooth


def _find_runs(columns: Int[np.ndarray, " pixels"], size: int, reach: int) -> list[tuple[int, int]]:
    """Ranges of columns, apart from each other, that hold all given ones with `reach` beside them."""
    near = np.zeros(size, np.uint8)
    near[columns] = 1
    near = cv2.dilate(near[None], np.ones((1, 2 * reach + 1), np.uint8))[0]
    edges = np.flatnonzero(np.diff(near, prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def carry(
    picture: UInt8[np.ndarray, "size size 3"],
    known: Bool[np.ndarray, "size size"],
    reach: float,
    rows: Int[np.ndarray, " pixels"],
    columns: Int[np.ndarray, " pixels"],
) -> Float32[np.ndarray, "pixels 3"]:
    """Colours of the known pixels carried to the given ones, each taking from the nearest scale that has any."""
    mask = known.view(np.uint8) * np.uint8(255)
    masked = cv2.merge([cv2.bitwise_and(picture, picture, mask=mask), mask])
    values = cv2.resize(masked, _half(masked), interpolation=cv2.INTER_AREA).astype(np.float32)
    values *= 1 / 255
    carried = np.zeros((len(rows), 4), np.float32)
    for _ in range(3):
        # A blur of a small picture is as good as a wide one of the large picture.
        blurred = cv2.GaussianBlur(values, (0, 0), max(reach / 2, 0.8))
        here = _look_up(blurred, rows, columns, len(picture))
        share = here[:, 3]
        here *= ((1 - carried[:, 3]) * np.clip(share * 20, 0, 1) / np.maximum(share, 1e-6))[:, None]
        carried += here
        values = cv2.resize(values, _half(values), interpolation=cv2.INTER_AREA)
    return carried[:, :3] * (255 / np.maximum(carried[:, 3:], 1e-6))


def _half(picture: np.ndarray) -> tuple[int, int]:
    return max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2)


def _look_up(
    small: Float32[np.ndarray, "rows columns 4"],
    rows: Int[np.ndarray, " pixels"],
    columns: Int[np.ndarray, " pixels"],
    size: int,
) -> Float32[np.ndarray, "pixels 4"]:
    """Values of a smaller picture at pixels of the one of side `size`, between its own pixels linearly."""
    count = len(rows)
    # The last row of the grid is filled up with places nobody asks for.
    places = np.zeros((2, -(-count // _GRID) * _GRID), np.float32)
    for place, index, length in zip(places, (columns, rows), small.shape[1::-1], strict=True):
        place[:count] = (index + np.float32(0.5)) * np.float32(length / size) - np.float32(0.5)
    x, y = places.reshape(2, -1, _GRID)
    found = cv2.remap(small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 4)[:count]
