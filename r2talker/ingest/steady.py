"""A camera held by hand, made to stand still: every picture of the clip is laid over one of them by the room behind the person.

Features of the room are sought again in every picture (Lucas and Kanade 1981), from that one picture each time, so that nothing
adds up; a similarity (shift, turn, zoom) is fitted to them, outliers apart (RANSAC, Fischler and Bolles 1981).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from r2talker.face.segmenter import PersonSegmenter
from r2talker.ingest.camera import CameraLooks, find_corners, measure_drift
from r2talker.ingest.step import FPS, Workspace, read_array, write_arrays
from r2talker.media.read import read_video

_MOVES = "steady.npz"
# Longer side, pixels, of the pictures in which the room is followed.
_WORKING = 640
# Pixels at 512: less drift is left alone. Of the features this share must agree within so many pixels, and so many at least.
_AT_REST, _AGREE, _SHARE, _FEWEST = 1.5, 1.0, 0.4, 12
_MOST_LOOKS = 48


@dataclass(frozen=True)
class Steadied:
    """moves: of every picture, [2, 3] from its pixels to those of the steady clip. drift: of the camera before, pixels at 512.
    inner: left, top, right, bottom of what every picture shows, pixels."""

    moves: Float[np.ndarray, "frames 2 3"]
    drift: float
    inner: tuple[int, int, int, int]


class LookCollector:
    """Some pictures spread over a clip of unknown length, small, with the person masked; a context manager."""

    def __init__(self) -> None:
        self._segmenter = PersonSegmenter()
        self._looks: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._every, self._shown = 1, 0

    def __enter__(self) -> "LookCollector":
        self._segmenter.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._segmenter.__exit__(None, None, None)

    def show(self, index: int, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Keep this picture, or not; when there are many, every other one goes."""
        if self._shown % self._every == 0:
            small = shrink(picture)
            self._looks.append((index, small, self._segmenter.segment(small) < 0.1))
        self._shown += 1
        if len(self._looks) > _MOST_LOOKS:
            self._looks, self._every = self._looks[::2], self._every * 2

    def looks(self) -> CameraLooks:
        """What was kept, in order."""
        numbers, pictures, empty = zip(*self._looks, strict=True)
        return CameraLooks(list(numbers), np.stack(pictures), np.stack(empty))


def shrink(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The picture at the size in which the room is followed."""
    scale = min(1.0, _WORKING / max(picture.shape[:2]))
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture


def steady_camera(
    workspace: Workspace, looks: CameraLooks, shape: tuple[int, int], side: float, frames: int
) -> Steadied | None:
    """Find how every picture must be moved, and keep it; None where the camera is at rest or the room does not tell.

    shape: height and width of the clip's pictures. side: pixels of the clip that become the dataset's picture.
    """
    scale = looks.pictures.shape[2] / shape[1]
    drift = measure_drift(looks.pictures, looks.empty, side * scale)
    if drift is None or drift < _AT_REST:
        return None
    middle = len(looks.numbers) // 2
    corners = find_corners(looks.pictures[middle], looks.empty[middle], side * scale)
    if corners is None:
        return None
    follower = _Follower(cv2.cvtColor(looks.pictures[middle], cv2.COLOR_RGB2GRAY), corners, _AGREE * side * scale / 512)
    found = [follower.follow(cv2.cvtColor(shrink(picture), cv2.COLOR_RGB2GRAY)) for picture in _read(workspace)]
    known = [move for move in found if move is not None]
    if len(known) != frames:
        return None
    moves = np.stack(known)
    moves[:, :, 2] /= scale
    steadied = Steadied(moves, drift, _inner(moves, shape))
    write_arrays(workspace.product(_MOVES), moves=moves)
    return steadied


def read_steady(workspace: Workspace, wanted: list[int] | None = None) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The clip's pictures at 25 fps, or those of the rising numbers `wanted`, each moved as `steady_camera` found."""
    path = workspace.product(_MOVES)
    moves = read_array(path, "moves") if path.exists() else None
    numbers: Iterable[int] = count() if wanted is None else wanted
    pictures = _read(workspace) if wanted is None else read_video(workspace.video, fps=FPS, wanted=set(wanted))
    for index, picture in zip(numbers, pictures, strict=False):
        yield picture if moves is None else steady_picture(picture, moves[index])


def steady_picture(
    picture: UInt8[np.ndarray, "height width 3"], move: Float[np.ndarray, "2 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture, moved; its rim goes on where nothing was seen."""
    size = picture.shape[1::-1]
    return np.asarray(cv2.warpAffine(picture, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def forget_steady(workspace: Workspace) -> None:
    """Take the clip as it is from now on."""
    workspace.product(_MOVES).unlink(missing_ok=True)


def steady_path(workspace: Workspace) -> Path:
    """Where the moves are kept."""
    return workspace.product(_MOVES)


def _read(workspace: Workspace) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    seconds = workspace.config.seconds
    return islice(read_video(workspace.video, fps=FPS), None if seconds is None else max(1, round(seconds * FPS)))


class _Follower:
    """Finds the chosen picture's features in one picture after the other, starting from where the last one had them."""

    def __init__(
        self, chosen: UInt8[np.ndarray, "rows columns"], corners: Float32[np.ndarray, "features 1 2"], agree: float
    ) -> None:
        self._chosen, self._corners, self._agree = chosen, corners, agree
        self.guess = np.eye(2, 3)

    def follow(self, picture: UInt8[np.ndarray, "rows columns"]) -> Float[np.ndarray, "2 3"] | None:
        """The similarity from this picture to the chosen one; None where too few features agree on one."""
        start = cv2.transform(self._corners, cv2.invertAffineTransform(self.guess)).astype(np.float32)
        there, _, _ = cv2.calcOpticalFlowPyrLK(
            self._chosen, picture, self._corners, start.copy(), maxLevel=3, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
        )
        back, _, _ = cv2.calcOpticalFlowPyrLK(
            picture, self._chosen, there, self._corners.copy(), maxLevel=3, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
        )
        met = np.linalg.norm(back - self._corners, axis=-1)[:, 0] < self._agree / 2
        if met.sum() < _FEWEST:
            return None
        cv2.setRNGSeed(0)
        move, inliers = cv2.estimateAffinePartial2D(
            there[met], self._corners[met], method=cv2.RANSAC, ransacReprojThreshold=self._agree, confidence=0.999
        )
        if move is None or inliers.sum() < max(_FEWEST, _SHARE * met.sum()):
            return None
        self.guess = np.asarray(move)
        return self.guess


def _inner(moves: Float[np.ndarray, "frames 2 3"], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The upright rectangle about the middle that lies inside every moved picture."""
    height, width = shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], float)
    moved = corners @ moves.transpose(0, 2, 1)
    left, right = moved[:, [0, 2], 0].max(), moved[:, [1, 3], 0].min()
    top, bottom = moved[:, [0, 1], 1].max(), moved[:, [2, 3], 1].min()
    return max(0, int(np.ceil(left))), max(0, int(np.ceil(top))), min(width, int(right)), min(height, int(bottom))
