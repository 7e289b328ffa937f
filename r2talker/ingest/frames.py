"""Step `frames`: 25 pictures per second, cut to a square around head and shoulders and scaled to `size`.

`ori_imgs` are for looking at and for other tools: later steps read the clip itself again, so they may be strongly compressed.
"""

from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from r2talker.errors import R2TalkerError
from r2talker.face.detector import FaceFinder
from r2talker.ingest.camera import CameraLooks
from r2talker.ingest.pictures import map_ordered, prepare_folder, read_clip, write_jpeg
from r2talker.ingest.steady import LookCollector, forget_steady, steady_camera, steady_path
from r2talker.ingest.step import FPS, Step, StepResult, Workspace
from r2talker.media.read import VideoInfo, probe_video, read_video

LEAST_SECONDS = 2.0
_LOOK_EVERY = 10
_QUALITY = 50

# The box of the face finder reaches from the middle of the forehead to the chin. Head and shoulders take about 2.2 of its
# sides, 1.08 of them above its middle, for the hair.
_SIDES, _ABOVE = 2.2, 1.08
# A square clip whose face box is at least this part of the picture is framed already.
_FRAMED = 0.3
# Of two faces the larger is meant when it is this many times the area of the other.
_CLEARLY_LARGER = 2.0


def make_frames(workspace: Workspace) -> StepResult:
    """Write `ori_imgs/<i>.jpg`; readings: frames, crop (left, top, side in pixels of the clip) and the clip's own properties.

    A moving camera is steadied first: `steadied_px` is how far it moved, pixels at 512, None where it was left alone.

    Raises R2TalkerError for a clip without face, with several faces of like size, or shorter than 2 s.
    """
    info = probe_video(workspace.video)
    forget_steady(workspace)
    boxes, where, looks, seen = _look(workspace)
    crop = square_around(boxes, info)
    steadied = steady_camera(workspace, looks, (info.height, info.width), crop[2], seen)
    if steadied is not None:
        crop = keep_inside(square_around(_move_boxes(boxes, steadied.moves[where]), info), steadied.inner)
    prepare_folder(workspace.folder.frame(0).parent)
    workspace.progress.begin("frames", seen)

    def write(item: tuple[int, np.ndarray]) -> int:
        write_jpeg(workspace.folder.frame(item[0]), item[1], _QUALITY)
        return item[0]

    frames = 0
    for index in map_ordered(write, enumerate(read_clip(workspace, crop, workspace.config.size))):
        frames = index + 1
        workspace.progress.advance(frames)
    clip = {"width": info.width, "height": info.height, "fps": info.fps, "seconds": info.seconds, "has_sound": info.has_sound}
    message = f"{frames} pictures of {workspace.config.size} x {workspace.config.size} at 25 fps"
    moved = None if steadied is None else round(steadied.drift, 2)
    note = "" if moved is None else f"; the camera moved by {moved:.1f} px of 512 and was steadied"
    readings = {"frames": frames, "crop": crop, "clip": clip, "steadied_px": moved}
    return StepResult(f"{message}, cut from {crop} (left, top, side){note}", readings)


def keep_inside(crop: tuple[int, int, int], inner: tuple[int, int, int, int]) -> tuple[int, int, int]:
    """The square moved, and made smaller if it must be, into the rectangle `inner` (left, top, right, bottom)."""
    left, top, right, bottom = inner
    side = min(crop[2], right - left, bottom - top)
    middle = (crop[0] + (crop[2] - side) // 2, crop[1])
    return int(np.clip(middle[0], left, right - side)), int(np.clip(middle[1], top, bottom - side)), side


def _move_boxes(boxes: Float[np.ndarray, "looks 4"], moves: Float[np.ndarray, "looks 2 3"]) -> Float[np.ndarray, "looks 4"]:
    """Boxes (left, top, width, height) where the steadied pictures have them; they keep their size."""
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    moved = np.einsum("kij,kj->ki", moves[:, :, :2], middle) + moves[:, :, 2]
    return np.concatenate([moved - boxes[:, 2:] / 2, boxes[:, 2:]], 1)


def _look(workspace: Workspace) -> tuple[Float[np.ndarray, "looks 4"], list[int], CameraLooks, int]:
    """Face boxes of every tenth picture that has one, the numbers of these, looks at the room, and the number of pictures."""
    video, seconds = workspace.video, workspace.config.seconds
    boxes: list[np.ndarray] = []
    where: list[int] = []
    crowded: list[int] = []
    count = looks = 0
    with FaceFinder() as finder, LookCollector() as collector:
        limit = None if seconds is None else max(1, round(seconds * FPS))
        for index, picture in enumerate(islice(read_video(video, fps=FPS), limit)):
            count = index + 1
            if index % _LOOK_EVERY:
                continue
            looks += 1
            collector.show(index, picture)
            found = finder.find(picture)
            if len(found) > 1 and np.prod(found[0, 2:]) < _CLEARLY_LARGER * np.prod(found[1, 2:]):
                crowded.append(index)
            if len(found):
                boxes.append(found[0])
                where.append(index)
    if count < LEAST_SECONDS * FPS:
        raise R2TalkerError(f"{video} gives {count / FPS:.1f} s of pictures; give a clip of at least {LEAST_SECONDS:.0f} s")
    if len(boxes) < looks / 2:
        raise R2TalkerError(f"{video} shows no face in most pictures; give a clip of one person who faces the camera")
    if len(crowded) > 0.2 * looks:
        raise R2TalkerError(
            f"{video} shows several faces of like size (first in picture {crowded[0]}); give a clip of one person"
        )
    return np.stack(boxes), where, collector.looks(), count


def square_around(boxes: Float[np.ndarray, "looks 4"], info: VideoInfo) -> tuple[int, int, int]:
    """The square (left, top, side) that holds head and shoulders in every picture of a static camera."""
    shorter = min(info.width, info.height)
    side = np.median(boxes[:, 2:].mean(1))
    if info.width == info.height and side > _FRAMED * info.width:
        return 0, 0, info.width
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    # Jumps of the finder to somebody behind do not count: the track is taken between its 2nd and 98th percentile.
    low, high = np.percentile(middle, [2, 98], axis=0)
    extent = min(round(_SIDES * side + max(high - low)), shorter)
    left = (low[0] + high[0]) / 2 - extent / 2
    top = (low[1] + high[1]) / 2 - extent * _ABOVE / _SIDES
    return (
        int(np.clip(round(left), 0, info.width - extent)),
        int(np.clip(round(top), 0, info.height - extent)),
        extent,
    )


def _made(workspace: Workspace) -> list[Path]:
    moves = [] if workspace.readings("frames")["steadied_px"] is None else [steady_path(workspace)]
    return [*(workspace.folder.frame(index) for index in range(workspace.frames)), *moves]


STEP = Step("frames", 3, (), ("size", "seconds"), make_frames, _made)
