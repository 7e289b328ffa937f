"""Where the rigid skin of the face is in every picture, to a few hundredths of a pixel.

The mesh net places each vertex anew in every picture, trembles, and leans towards faces that look straight ahead. The skin itself
is seen as from the front in every picture (by the pose found so far), averaged into a template, and each picture is compared with
it point by point (Lucas and Kanade 1981, as OpenCV's pyramids have it). Comparing with one template, not with the picture before,
adds up no drift. Only fine texture counts: shading stays with the light when the head turns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from scipy.interpolate import LinearNDInterpolator

from r2talker.face.topology import BROWS, FACE_OVAL, FACE_POINTS, LEFT_EYE, NOSE_BASE, NOSE_TIP, RIGHT_EYE
from r2talker.ingest.bundle import Bundle, Sightings
from r2talker.ingest.landmarks import working_size
from r2talker.ingest.pictures import map_ordered, read_clip
from r2talker.ingest.step import Workspace

# Metres. The view holds the face; points keep off the hair, the eyes and the brows, which move the skin about them, and off
# forehead and lower cheeks, which go with brows and lips.
_HALF_WIDTH, _TOP, _BOTTOM = 0.075, 0.11, -0.045
_SPACING = 0.006
_FROM_EDGE, _FROM_EYES, _FROM_BROWS = 0.011, 0.005, 0.005
_ABOVE_EYES, _NOSE_HALF_WIDTH = 0.012, 0.02
# Metres a view's pixel may stand for: finer gives nothing, coarser misses the texture.
_FINEST, _COARSEST = 0.0005, 0.002
# Pixels of the view: what counts as fine, the window of comparison, the longest displacement believed.
_FINE, _WINDOW, _FARTHEST = 2.5, 15, 8.0
_GAIN = 10.0
# Noise in grey levels, pixels over which it is the same, and the error in pixels that no texture betters.
_NOISE, _NOISE_AREA, _BEST = 1.5, 8.0, 0.05
# Cosine of the steepest skin that is compared.
_STEEPEST = 0.4
_SHARED_ERROR = 6.0
_TEMPLATE_PICTURES = 200
# Pictures whose displacements are turned into image points at once.
_TOGETHER = 256
_ROOM = 1.1


@dataclass(frozen=True)
class FaceCuts:
    """The face in grey in every picture. left, top: of each cut, pixels; size, focal: of the whole picture, pixels."""

    pictures: UInt8[np.ndarray, "frames side side"]
    corner: Int[np.ndarray, "frames 2"]
    size: int
    focal: float


@dataclass(frozen=True)
class Surface:
    """The face seen from the front. grid: head-frame place of every pixel, metres; chosen: (row, column) of the points compared;
    unit: metres a pixel."""

    grid: Float[np.ndarray, "rows columns 3"]
    chosen: tuple[Int[np.ndarray, " points"], Int[np.ndarray, " points"]]
    unit: float

    @cached_property
    def single(self) -> Float32[np.ndarray, "rows columns 3"]:
        """The grid in single precision, a ten thousandth of a pixel."""
        return self.grid.astype(np.float32)

    @property
    def places(self) -> Float[np.ndarray, "points 3"]:
        """Head-frame places of the points compared."""
        return self.grid[self.chosen]

    def bend(self, depth: Float[np.ndarray, " points"]) -> "Surface":
        """The surface moved smoothly towards the depths z found for its points."""
        change, known = (np.zeros(self.grid.shape[:2], np.float32) for _ in range(2))
        change[self.chosen], known[self.chosen] = depth - self.places[:, 2], 1
        reach = 1.2 * _SPACING / self.unit
        change, known = (cv2.GaussianBlur(part, (0, 0), reach) for part in (change, known))
        grid = self.grid.copy()
        grid[..., 2] += change / (known + 0.15 * known.max())
        return replace(self, grid=grid)

    def slopes(self) -> Float[np.ndarray, "points 3 2"]:
        """How a point of the surface moves per pixel of the view to the right and down, metres."""
        depth = cv2.GaussianBlur(self.grid[..., 2].astype(np.float32), (0, 0), 3)
        down, right = np.gradient(depth)
        slopes = np.zeros((len(self.chosen[0]), 3, 2))
        slopes[:, 0, 0], slopes[:, 1, 1] = self.unit, -self.unit
        slopes[:, 2, 0], slopes[:, 2, 1] = right[self.chosen], down[self.chosen]
        return slopes


@contextmanager
def cut_faces(workspace: Workspace, mesh: Float[np.ndarray, "frames 478 3"]) -> Iterator[FaceCuts]:
    """Read the clip once and keep the face of every picture in a file that goes away in the end; a few MB of memory."""
    config, working = workspace.config, working_size(workspace)
    points = mesh[..., :2] * (working / config.size)
    low, high = points.min(1), points.max(1)
    side = int(min(np.ceil((high - low).max() * _ROOM), working))
    corner = np.clip(np.round((low + high) / 2 - side / 2), 0, working - side).astype(int)
    path = workspace.product("faces.npy")
    try:
        pictures = np.lib.format.open_memmap(path, "w+", np.uint8, (len(mesh), side, side))
        crop = tuple(workspace.readings("frames")["crop"])
        for index, rgb in enumerate(read_clip(workspace, crop, working)):
            left, top = corner[index]
            cv2.cvtColor(rgb[top : top + side, left : left + side], cv2.COLOR_RGB2GRAY, dst=pictures[index])
            workspace.progress.advance(index + 1)
        yield FaceCuts(pictures, corner, working, config.focal_pixels * working / config.size)
    finally:
        path.unlink(missing_ok=True)


def lay_surface(shape: Float[np.ndarray, "478 3"], distance: float, focal: float) -> Surface:
    """The surface through the rest shape's vertices, and the points of rigid skin on it."""
    unit = float(np.clip(distance / focal, _FINEST, _COARSEST))
    x, y = np.meshgrid(np.arange(-_HALF_WIDTH, _HALF_WIDTH, unit), np.arange(_TOP, _BOTTOM, -unit))
    face = shape[:FACE_POINTS]
    depth = LinearNDInterpolator(face[:, :2], face[:, 2])(x, y)
    known = ~np.isnan(depth)
    grid = np.stack([x, y, np.where(known, depth, 0)], -1)

    def polygon(vertices: tuple[int, ...], grow: float) -> np.ndarray:
        mask = np.zeros(x.shape, np.uint8)
        corners = np.stack([shape[list(vertices), 0] - x[0, 0], y[0, 0] - shape[list(vertices), 1]], -1) / unit
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1, shift=4)
        reach = 2 * max(1, round(abs(grow) / unit)) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
        return (cv2.dilate if grow > 0 else cv2.erode)(mask, kernel) > 0

    rigid = known & polygon(FACE_OVAL, -_FROM_EDGE)
    for eye in (LEFT_EYE, RIGHT_EYE):
        rigid &= ~polygon(eye, _FROM_EYES)
    for brow in BROWS:
        rigid &= ~polygon(brow, _FROM_BROWS)
    eyes = shape[list(LEFT_EYE + RIGHT_EYE), 1].mean()
    lowest = np.where(np.abs(x) < _NOSE_HALF_WIDTH, shape[NOSE_BASE, 1], shape[NOSE_TIP, 1])
    rigid &= (y < eyes + _ABOVE_EYES) & (y > lowest)
    every = max(1, round(_SPACING / unit))
    raster = np.zeros_like(rigid)
    raster[every // 2 :: every, every // 2 :: every] = True
    rows, columns = np.nonzero(rigid & raster)
    return Surface(grid, (rows, columns), unit)


def find_skin(cuts: FaceCuts, surface: Surface, poses: Bundle, confidence: Float[np.ndarray, " frames"]) -> Sightings:
    """Where the surface's points are in every picture, with how well each is seen in each direction. poses: near the truth."""
    frames = len(cuts.pictures)
    looks = np.unique(np.linspace(0, frames - 1, min(frames, _TEMPLATE_PICTURES)).astype(int))
    total = np.zeros(surface.grid.shape[:2])
    for view in map_ordered(lambda index: see_from_front(cuts, surface, poses, index), looks[confidence[looks] > 0]):
        total += view
    fine = _fine(total / max(1, (confidence[looks] > 0).sum()))
    template = _to_bytes(fine)
    places = np.stack(surface.chosen[::-1], -1).astype(np.float32)

    def compare(index: int) -> np.ndarray:
        view = _to_bytes(_fine(see_from_front(cuts, surface, poses, index)))
        found, good, _ = cv2.calcOpticalFlowPyrLK(
            template,
            view,
            places[:, None],
            None,
            winSize=(_WINDOW, _WINDOW),
            maxLevel=1,
            criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01),
            minEigThreshold=1e-6,
        )
        moved = np.where(good > 0, found[:, 0] - places, np.inf)
        return np.where(np.abs(moved).max(-1, keepdims=True) < _FARTHEST, moved, np.nan)

    moved = np.stack(list(map_ordered(compare, range(frames)))).astype(float)
    return _as_sightings(moved, _sharpness(fine, surface), surface, poses, confidence)


def see_from_front(cuts: FaceCuts, surface: Surface, poses: Bundle, index: int) -> UInt8[np.ndarray, "rows columns"]:
    """One picture's face as the surface shows it in its pose."""
    camera = surface.single @ poses.rotation[index].T.astype(np.float32)
    x, y, z = (camera[..., axis] + np.float32(poses.translation[index, axis]) for axis in range(3))
    scale = np.float32(-cuts.focal) / z
    left, top = (np.float32(cuts.size / 2 - 0.5 - edge) for edge in cuts.corner[index])
    return cv2.remap(cuts.pictures[index], x * scale + left, top - y * scale, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _fine(view: np.ndarray) -> np.ndarray:
    values = view.astype(np.float32)
    return values - cv2.GaussianBlur(values, (0, 0), _FINE)


def _to_bytes(fine: np.ndarray) -> np.ndarray:
    return np.clip(128 + fine * _GAIN, 0, 255).astype(np.uint8)


def _sharpness(fine: np.ndarray, surface: Surface) -> Float[np.ndarray, "points 2 2"]:
    """Covariance of a point's displacement, pixels squared of the view: the inverse of the window's structure tensor."""
    right, down = (cv2.Sobel(fine, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    window = (_WINDOW, _WINDOW)
    xx, xy, yy = (
        cv2.boxFilter(product, -1, window, normalize=False)[surface.chosen]
        for product in (right * right, right * down, down * down)
    )
    tensor = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2) / (_NOISE**2 * _NOISE_AREA)
    return np.linalg.inv(tensor + 1e-9 * np.eye(2)) + _BEST**2 * np.eye(2)


def _as_sightings(
    moved: Float[np.ndarray, "frames points 2"],
    covariance: Float[np.ndarray, "points 2 2"],
    surface: Surface,
    poses: Bundle,
    confidence: Float[np.ndarray, " frames"],
) -> Sightings:
    """Displacements in the view (nan: not found) as image points: through the slope of the surface and the camera."""
    points, precision = np.empty(moved.shape), np.empty((*moved.shape, 2))
    sharpness, slopes = np.linalg.inv(covariance), surface.slopes()
    for start in range(0, len(moved), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        camera = surface.places @ poses.rotation[some].transpose(0, 2, 1) + poses.translation[some, None]
        turned = np.einsum("fij,pjk->fpik", poses.rotation[some], slopes)
        inverse = -1 / camera[..., 2]
        centre = camera[..., :2] * inverse[..., None]
        by_view = (turned[..., :2, :] + centre[..., None] * turned[..., 2:, :]) * inverse[..., None, None]
        normal = np.cross(turned[..., 0], turned[..., 1])
        facing = np.abs((normal * camera).sum(-1)) / np.linalg.norm(normal, axis=-1) / np.linalg.norm(camera, axis=-1)
        seen = np.isfinite(moved[some]).all(-1) & (facing > _STEEPEST) & (confidence[some] > 0)[:, None]
        back = np.linalg.inv(by_view)
        precision[some] = np.swapaxes(back, -1, -2) @ sharpness @ back * seen[..., None, None]
        points[some] = centre + np.einsum("fpij,fpj->fpi", by_view, np.where(seen[..., None], moved[some], 0))
    return Sightings(points, precision, np.full(len(covariance), 1 / _SHARED_ERROR))
