"""What every picture of a clip is measured for, before anything is judged."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.spatial.transform import Rotation

from r2talker.data.points import eye_values
from r2talker.face.detector import FaceFinder
from r2talker.face.hands import HandFinder
from r2talker.face.topology import RIGID
from r2talker.files import read_npy
from r2talker.ingest.expression import read_base
from r2talker.ingest.landmarks import read_mesh, read_seen
from r2talker.ingest.pictures import map_ordered, read_rgb
from r2talker.ingest.step import Workspace, write_arrays
from r2talker.ingest.tracking import read_track

LOOK_EVERY = 5
"""Pictures between two looks for strangers and hands; where one is found, the pictures round it are looked at too."""

_FACE_SIDE, _THUMBNAIL = 96, 48
# A second face counts from this part of the first one's area on.
_STRANGER = 0.1
# Joints of a hand that must lie in the picture for the hand to count.
_JOINTS = 8
# Smaller hands, in widths of the face, are ears; a fist is about 0.6 wide.
_HAND = 0.5


@dataclass(frozen=True)
class Signals:
    """One value per picture.

    sharpness: contrast of the face's fine detail, over the clip's median. change: mean grey difference from the picture before,
    of 255. jump: movement of the face from the picture before, in face widths. margin: least distance of the face's points from
    the picture's border, as a share of its side (negative: outside). strangers, hands: whether another face, or a hand, is in
    the picture. seen: whether the face was found. residual: rms distance of the rigid points from their tracked place, pixels at
    512. angles: pitch, yaw, roll in degrees. position: right, up, away from the middle of the clip, millimetres. eye: area of
    both openings in percent of the picture. gaze: right and up, mean of both eyes, lids: opening of the left and the right eye,
    widths of an eye. mouth: inner opening, millimetres.
    """

    sharpness: Float[np.ndarray, " frames"]
    change: Float[np.ndarray, " frames"]
    jump: Float[np.ndarray, " frames"]
    margin: Float[np.ndarray, " frames"]
    strangers: Bool[np.ndarray, " frames"]
    hands: Bool[np.ndarray, " frames"]
    seen: Bool[np.ndarray, " frames"]
    residual: Float[np.ndarray, " frames"]
    angles: Float[np.ndarray, "frames 3"]
    position: Float[np.ndarray, "frames 3"]
    eye: Float[np.ndarray, " frames"]
    gaze: Float[np.ndarray, "frames 2"]
    lids: Float[np.ndarray, "frames 2"]
    mouth: Float[np.ndarray, " frames"]


def measure_signals(workspace: Workspace) -> Signals:
    """Look through the clip's pictures once, and gather what the earlier steps found."""
    points = np.stack([np.loadtxt(workspace.folder.landmarks(index)) for index in range(workspace.frames)])
    size = workspace.config.size
    sharpness, change = _look(workspace, points)
    strangers, hands = _search(workspace, np.ptp(points[..., 0], axis=1))
    track = read_track(workspace)
    middle = track.translation.mean(0)
    offsets = read_npy(workspace.folder.landmark_offsets()) / workspace.readings("expression")["landmark_scale"]
    eyes = read_npy(workspace.folder.eyes)
    mouth = (read_base(workspace) + offsets)[:, [62, 66]]
    return Signals(
        sharpness=sharpness / max(float(np.median(sharpness)), 1e-9),
        change=change,
        jump=_jumps(points),
        margin=np.minimum(points.min((1, 2)), (size - points).min((1, 2))) / size,
        strangers=strangers,
        hands=hands,
        seen=read_seen(workspace),
        residual=_residuals(workspace),
        angles=Rotation.from_matrix(track.rotation).as_euler("XYZ", degrees=True),
        position=(track.translation - middle) * 1000,
        eye=eye_values(points, size),
        gaze=eyes[..., :2].mean(1),
        lids=eyes[..., 2],
        mouth=np.linalg.norm(mouth[:, 0] - mouth[:, 1], axis=-1) * 1000,
    )


def write_signals(path: Path, signals: Signals) -> None:
    """Keep the signals for the report."""
    write_arrays(path, **{field.name: getattr(signals, field.name) for field in fields(Signals)})


def read_signals(path: Path) -> Signals:
    """What `write_signals` kept."""
    with np.load(path, allow_pickle=False) as arrays:
        return Signals(**{field.name: arrays[field.name] for field in fields(Signals)})


def face_sharpness(rgb: UInt8[np.ndarray, "size size 3"], points: Float[np.ndarray, "68 2"]) -> float:
    """Standard deviation of the Laplacian over the face, drawn at one width and divided by the face's own contrast."""
    low = np.clip(points.min(0), 0, len(rgb) - 2).astype(int)
    high = np.clip(points.max(0), low + 2, len(rgb)).astype(int)
    face = cv2.cvtColor(np.ascontiguousarray(rgb[low[1] : high[1], low[0] : high[0]]), cv2.COLOR_RGB2GRAY)
    shrink = _FACE_SIDE / face.shape[1]
    face = cv2.resize(face, (_FACE_SIDE, max(2, round(face.shape[0] * shrink))), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    return float(cv2.Laplacian(face, cv2.CV_32F).std() / (face.std() + 1))


def has_hand(hands: Float32[np.ndarray, "hands 21 2"], size: int, face_width: float) -> bool:
    """Whether one of the hands is of a hand's size and for a good part inside the picture."""
    inside = ((hands >= 0) & (hands < size)).all(-1).sum(-1)
    extent = np.ptp(hands, axis=1).max(-1)
    return bool(((inside >= _JOINTS) & (extent >= _HAND * face_width)).any())


def _look(
    workspace: Workspace, points: Float[np.ndarray, "frames 68 2"]
) -> tuple[Float[np.ndarray, " frames"], Float[np.ndarray, " frames"]]:
    """Sharpness of the face and change of the whole picture."""

    def look(index: int) -> tuple[float, np.ndarray]:
        rgb = read_rgb(workspace.folder.frame(index))
        small = cv2.resize(rgb, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
        return face_sharpness(rgb, points[index]), small.mean(-1)

    sharpness, change, before = [], [], None
    for done, (value, small) in enumerate(map_ordered(look, range(workspace.frames))):
        sharpness.append(value)
        change.append(0.0 if before is None else float(np.abs(small - before).mean()))
        before = small
        workspace.progress.advance(done + 1)
    return np.array(sharpness), np.array(change)


def _search(
    workspace: Workspace, widths: Float[np.ndarray, " frames"]
) -> tuple[Bool[np.ndarray, " frames"], Bool[np.ndarray, " frames"]]:
    """Pictures with a second face, and with a hand; `widths` are those of the face, pixels."""
    frames = workspace.frames
    found = np.zeros((2, frames), bool)
    with ExitStack() as stack:
        faces, hands = stack.enter_context(FaceFinder()), stack.enter_context(HandFinder())

        def check(index: int) -> None:
            rgb = np.ascontiguousarray(read_rgb(workspace.folder.frame(index)))
            found[0, index] = _has_stranger(faces.find(rgb))
            found[1, index] = has_hand(hands.find(rgb), len(rgb), widths[index])

        looks = range(0, frames, LOOK_EVERY)
        for index in looks:
            check(index)
        for index in _between(found[0] | found[1], looks, frames):
            check(index)
    return bridge_gaps(found[0]), bridge_gaps(found[1])


def bridge_gaps(found: Bool[np.ndarray, " frames"]) -> Bool[np.ndarray, " frames"]:
    """Also the pictures between two finds that are less than a look apart: a finder blinks, hands and strangers do not."""
    hits = np.flatnonzero(found)
    bridged = found.copy()
    for first, second in pairwise(hits.tolist()):
        if second - first <= LOOK_EVERY:
            bridged[first:second] = True
    return bridged


def _between(hit: Bool[np.ndarray, " frames"], looks: range, frames: int) -> Iterator[int]:
    """Pictures next to a look that found something, as far as the neighbouring looks."""
    near = {neighbour for look in looks if hit[look] for neighbour in range(look - LOOK_EVERY + 1, look + LOOK_EVERY)}
    yield from sorted(index for index in near if 0 <= index < frames and index % LOOK_EVERY)


def _has_stranger(boxes: Float32[np.ndarray, "faces 4"]) -> bool:
    """Whether there is a second box of some size that does not lie on the first: boxes are (left, top, width, height)."""
    for left, top, width, height in boxes[1:]:
        first = boxes[0]
        apart_x = abs((left + width / 2) - (first[0] + first[2] / 2)) > (width + first[2]) / 3
        apart_y = abs((top + height / 2) - (first[1] + first[3] / 2)) > (height + first[3]) / 3
        if (apart_x or apart_y) and width * height > _STRANGER * first[2] * first[3]:
            return True
    return False


def _jumps(points: Float[np.ndarray, "frames 68 2"]) -> Float[np.ndarray, " frames"]:
    width = np.ptp(points[..., 0], axis=1)
    step = np.linalg.norm(np.diff(points.mean(1), axis=0), axis=1) / width[1:]
    return np.concatenate([[0.0], step])


def _residuals(workspace: Workspace) -> Float[np.ndarray, " frames"]:
    """How far each picture's rigid points lie from where its pose puts them, pixels at 512."""
    size, focal, track = workspace.config.size, workspace.config.focal_pixels, read_track(workspace)
    expected = track.project(track.shape[list(RIGID)]) * np.array([1.0, -1.0]) * focal + size / 2
    apart = read_mesh(workspace)[:, list(RIGID), :2] - expected
    return np.sqrt(np.square(apart).sum(-1).mean(1)) * 512 / size
