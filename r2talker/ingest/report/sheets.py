"""Pictures for the page: frames with what ingest found drawn over them, as small JPEGs inside the HTML."""

import base64
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from r2talker.face.mesh_edges import load_mesh_edges
from r2talker.ingest.pictures import encode, read_rgb
from r2talker.ingest.step import Workspace
from r2talker.ingest.tracking import HeadTrack, read_track

SIDE = 232
"""Pixels of a picture on the page."""

_DRAWN = 2 * SIDE
_QUALITY = 78
_TINT = 0.45
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
    """The 68 points and the lines that join them."""

    def draw(frame: int) -> Picture:
        picture = _scaled(read_rgb(workspace.folder.frame(frame)))
        points = _pixels(np.loadtxt(workspace.folder.landmarks(frame)) * (_DRAWN / workspace.config.size))
        for loop, chains in ((False, _STROKES), (True, _LOOPS)):
            for chain in chains:
                cv2.polylines(picture, [points[list(chain)]], loop, (90, 220, 255), 1, cv2.LINE_AA, shift=4)
        for point in points:
            cv2.circle(picture, tuple(point.tolist()), 28, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
        return picture

    return draw


def with_masks(workspace: Workspace) -> Drawing:
    """Head, neck and torso tinted, the background darkened."""

    def draw(frame: int) -> Picture:
        picture = _scaled(read_rgb(workspace.folder.frame(frame))).astype(np.float32)
        colours = _scaled(read_rgb(workspace.folder.parsing(frame)), cv2.INTER_NEAREST)
        outside = (colours == 255).all(-1, keepdims=True)
        tinted = picture * (1 - _TINT) + _soft(colours) * _TINT
        return np.where(outside, picture * 0.35, tinted).round().astype(np.uint8)

    return draw


def with_mesh(workspace: Workspace) -> Drawing:
    """The person's rest shape, seen from the tracked pose."""
    track, edges = read_track(workspace), load_mesh_edges()
    focal = workspace.config.focal_pixels * _DRAWN / workspace.config.size

    def draw(frame: int) -> Picture:
        picture = _scaled(read_rgb(workspace.folder.frame(frame)))
        lines = _pixels(_project(track, frame, focal))[edges]
        overlay = picture.copy()
        cv2.polylines(overlay, list(lines), False, (120, 255, 160), 1, cv2.LINE_AA, shift=4)
        return cv2.addWeighted(overlay, 0.75, picture, 0.25, 0)

    return draw


def embed(picture: Picture) -> str:
    """A picture as the `src` of an `<img>`."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    content = encode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def background_plate(path: Path) -> Picture:
    """The clean plate."""
    return _scaled(read_rgb(path))


def _project(track: HeadTrack, frame: int, focal: float) -> Float[np.ndarray, "478 2"]:
    one = HeadTrack(track.rotation[frame : frame + 1], track.translation[frame : frame + 1], track.shape)
    return one.project(track.shape)[0] * np.array([1.0, -1.0]) * focal + _DRAWN / 2


def _pixels(points: Float[np.ndarray, "points 2"]) -> Int[np.ndarray, "points 2"]:
    """Sixteenths of a pixel, as OpenCV draws them."""
    return np.round((points - 0.5) * 16).astype(np.int32)


def _soft(colours: Picture) -> Float[np.ndarray, "size size 3"]:
    """The regions' loud colours (upstream.md 1.2), toned down."""
    return colours.astype(np.float32) * 0.75 + 64


def _scaled(picture: Picture, interpolation: int = cv2.INTER_AREA) -> Picture:
    if interpolation == cv2.INTER_AREA and len(picture) < _DRAWN:
        interpolation = cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(picture), (_DRAWN, _DRAWN), interpolation=interpolation)
