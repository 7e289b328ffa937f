"""Pictures for the page: frames with what ingest found drawn over them, as small JPEGs inside the HTML."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from r2talker.face.mesh_edges import load_mesh_edges
from r2talker.ingest.parsing import COLOURS_BGR, HEAD, NECK, TORSO
from r2talker.ingest.pictures import read_rgb
from r2talker.ingest.step import Workspace
from r2talker.ingest.tracking import HeadTrack, read_track
from r2talker.report.pictures import SIDE

_DRAWN = 2 * SIDE
_TINT, _MESH = 0.3, 0.6
_STROKES = (range(17), range(17, 22), range(22, 27), range(27, 31), range(31, 36))
_LOOPS = (range(36, 42), range(42, 48), range(48, 60), range(60, 68))

Picture = UInt8[np.ndarray, "size size 3"]
Drawing = Callable[[int], Picture]


def choose_frames(frames: int, count: int) -> list[int]:
    """Pictures spread over the clip."""
    return np.linspace(0, frames - 1, min(count, frames)).round().astype(int).tolist()


def plain(workspace: Workspace) -> Drawing:
    """The picture alone."""
    return lambda frame: _scaled(read_rgb(workspace.folder.frame(frame)))


def with_landmarks(workspace: Workspace) -> Drawing:
    """The face from near, with the 68 points and the lines that join them."""

    def draw(frame: int) -> Picture:
        points = np.loadtxt(workspace.folder.landmarks(frame))
        near = _approach(read_rgb(workspace.folder.frame(frame)), points)
        drawn = near.place(points)
        for loop, chains in ((False, _STROKES), (True, _LOOPS)):
            for chain in chains:
                cv2.polylines(near.picture, [drawn[list(chain)]], loop, (90, 220, 255), 1, cv2.LINE_AA, shift=4)
        for point in drawn:
            cv2.circle(near.picture, tuple(point.tolist()), 30, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
        return near.picture

    return draw


def with_masks(workspace: Workspace) -> Drawing:
    """Head, neck and torso tinted and outlined, the background darkened."""

    def draw(frame: int) -> Picture:
        picture = _scaled(read_rgb(workspace.folder.frame(frame))).astype(np.float32)
        colours = _scaled(read_rgb(workspace.folder.parsing(frame)), cv2.INTER_NEAREST)
        outside = (colours == 255).all(-1, keepdims=True)
        tinted = picture * (1 - _TINT) + (colours * 0.75 + 64.0) * _TINT
        made = np.where(outside, picture * 0.3, tinted).round().astype(np.uint8)
        for region in (HEAD, NECK, TORSO):
            colour = COLOURS_BGR[region, ::-1]
            inside = (colours == colour).all(-1).astype(np.uint8)
            outline, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(made, outline, -1, (colour * 0.6 + 100.0).tolist(), 2, cv2.LINE_AA)
        return made

    return draw


def with_mesh(workspace: Workspace) -> Drawing:
    """The face from near, with the person's rest shape as the tracked pose shows it."""
    track, edges = read_track(workspace), load_mesh_edges()
    size, focal = workspace.config.size, workspace.config.focal_pixels

    def draw(frame: int) -> Picture:
        one = HeadTrack(track.rotation[frame : frame + 1], track.translation[frame : frame + 1], track.shape)
        points = one.project(track.shape)[0] * np.array([1.0, -1.0]) * focal + size / 2
        near = _approach(read_rgb(workspace.folder.frame(frame)), np.loadtxt(workspace.folder.landmarks(frame)))
        overlay = near.picture.copy()
        cv2.polylines(overlay, list(near.place(points)[edges]), False, (120, 255, 160), 1, cv2.LINE_AA, shift=4)
        return cv2.addWeighted(overlay, _MESH, near.picture, 1 - _MESH, 0)

    return draw


@dataclass(frozen=True)
class _Near:
    """A part of a picture, enlarged; pixel p of the whole lies at (p - corner) * scale."""

    picture: Picture
    corner: Float[np.ndarray, "2"]
    scale: float

    def place(self, points: Float[np.ndarray, "points 2"]) -> Int[np.ndarray, "points 2"]:
        """Sixteenths of a pixel, as OpenCV draws them."""
        return np.round(((points - self.corner) * self.scale - 0.5) * 16).astype(np.int32)


def _approach(rgb: Picture, points: Float[np.ndarray, "68 2"]) -> _Near:
    """The square round the face and its forehead; beyond the picture's border its last pixels repeat."""
    low, high = points.min(0), points.max(0)
    side = 1.45 * float((high - low).max())
    corner = (low + high) / 2 - side / 2 - np.array([0.0, 0.07 * side])
    scale = _DRAWN / side
    move = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    near = cv2.warpAffine(
        np.ascontiguousarray(rgb), move, (_DRAWN, _DRAWN), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return _Near(near, corner, scale)


def _scaled(picture: Picture, interpolation: int = cv2.INTER_AREA) -> Picture:
    if interpolation == cv2.INTER_AREA and len(picture) < _DRAWN:
        interpolation = cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(picture), (_DRAWN, _DRAWN), interpolation=interpolation)
