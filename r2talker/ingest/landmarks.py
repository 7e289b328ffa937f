"""Step `landmarks`: the face mesh of every picture, and its 68 points as `.lms` files."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import savgol_filter

from r2talker.errors import R2TalkerError
from r2talker.face.topology import MESH_POINTS, mesh_to_68
from r2talker.files import write_bytes
from r2talker.ingest.lips import STRIP, cut_strip, refine_lips
from r2talker.ingest.networks.models import open_detector
from r2talker.ingest.pictures import read_clip
from r2talker.ingest.step import FPS, Step, StepResult, Workspace, read_array, write_arrays

_MESH = "mesh.npz"
# The mesh net reads 192 x 192 pixels of the face: pictures below this side would starve it, beyond it nothing is gained.
_WORKING_SIZE = 512
_LONGEST_GAP = 10
# Part of its own width that a face may move between two pictures; more is a cut or another person.
_LONGEST_JUMP = 0.7
# Quadratic over 5 pictures: takes 30 % off the noise; a lip closure of 2 pictures keeps 5/6 of its depth.
_SMOOTHING = (5, 2)
# Kept as changes between pictures in 1/64 pixel, a tenth of the noise: half the size.
_STEP = 64.0


def make_landmarks(workspace: Workspace) -> StepResult:
    """Write `ori_imgs/<i>.lms` and the mesh of all pictures; readings: the pictures whose face was interpolated.

    Gaps of up to 0.4 s are interpolated and recorded. Raises R2TalkerError with the picture numbers for longer ones, and for
    cuts.
    """
    size, working = workspace.config.size, working_size(workspace)
    crop = workspace.readings("frames")["crop"]
    mesh = np.full((workspace.frames, MESH_POINTS, 3), np.nan, np.float32)
    strips = np.zeros((len(mesh), STRIP, 3), np.uint8)
    workspace.progress.begin("landmarks", len(mesh))
    models = workspace.config.model_dir
    with open_detector(models, tracking=True) as tracker, open_detector(models) as searcher:
        for index, picture in enumerate(read_clip(workspace, tuple(crop), working)):
            face = tracker.detect(picture) or searcher.detect(picture)
            if face is not None:
                mesh[index] = face.mesh * np.float32(size / working)
                strips[index] = cut_strip(picture, face.mesh)
            workspace.progress.advance(index + 1)
    seen = ~np.isnan(mesh[:, 0, 0])
    refuse_gaps(seen, workspace.video)
    mesh = fill_gaps(mesh, seen)
    refuse_jumps(mesh, workspace.video)
    mesh[seen] = refine_lips(mesh[seen], strips[seen])
    units = np.round(mesh * _STEP).astype(np.int32)
    write_arrays(workspace.product(_MESH), change=np.diff(units, axis=0, prepend=0), seen=seen)
    for index, points in enumerate(savgol_filter(mesh_to_68(mesh[..., :2]), *_SMOOTHING, axis=0)):
        lines = "".join(f"{x:f} {y:f}\n" for x, y in points)
        write_bytes(workspace.folder.landmarks(index), lines.encode())
    missing = np.flatnonzero(~seen).tolist()
    note = f", {len(missing)} of them interpolated" if missing else ""
    return StepResult(f"68 landmarks in {len(mesh)} pictures{note}", {"interpolated": missing})


def working_size(workspace: Workspace) -> int:
    """Side of the pictures in which the face is looked for: what the clip has, but not more than helps."""
    return int(min(workspace.readings("frames")["crop"][2], max(workspace.config.size, _WORKING_SIZE)))


def read_mesh(workspace: Workspace) -> Float[np.ndarray, "frames 478 3"]:
    """The mesh of every picture: column, row, depth in pixels of the dataset's pictures, unsmoothed, lips refined."""
    return read_array(workspace.product(_MESH), "change").cumsum(0, np.int32) / np.float32(_STEP)


def read_seen(workspace: Workspace) -> Bool[np.ndarray, " frames"]:
    """Whether the face was seen in a picture, not interpolated."""
    return read_array(workspace.product(_MESH), "seen").astype(bool)


def refuse_gaps(seen: Bool[np.ndarray, " frames"], video: Path) -> None:
    """Raise R2TalkerError that names the pictures of the first gap longer than 0.4 s."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]]).astype(np.int8)))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if end - first > _LONGEST_GAP:
            raise R2TalkerError(
                f"{video} shows no face in pictures {first} to {end - 1} (from {first / FPS:.2f} s on, at 25 fps);"
                " cut this part out, or give a clip in which the face is always seen"
            )


def fill_gaps(mesh: Float[np.ndarray, "frames 478 3"], seen: Bool[np.ndarray, " frames"]) -> Float[np.ndarray, "frames 478 3"]:
    """Interpolate unseen pictures linearly between their neighbours; at the ends the nearest face stays."""
    known = np.flatnonzero(seen)
    filled = mesh.copy()
    for index in np.flatnonzero(~seen):
        after = int(np.searchsorted(known, index))
        left, right = known[max(after - 1, 0)], known[min(after, len(known) - 1)]
        part = (index - left) / (right - left) if right > left else 0.0
        filled[index] = mesh[left] * (1 - np.clip(part, 0, 1)) + mesh[right] * np.clip(part, 0, 1)
    return filled


def refuse_jumps(mesh: Float[np.ndarray, "frames 478 3"], video: Path) -> None:
    """Raise R2TalkerError where the face jumps: the clip has a cut."""
    width = np.ptp(mesh[..., 0], axis=1)
    step = np.linalg.norm(np.diff(mesh[..., :2].mean(1), axis=0), axis=1) / width[1:]
    if len(step) and step.max() > _LONGEST_JUMP:
        index = int(step.argmax()) + 1
        raise R2TalkerError(
            f"{video} jumps at picture {index} ({index / FPS:.2f} s at 25 fps); give one take of one person without a cut"
        )


def _made(workspace: Workspace) -> list[Path]:
    return [workspace.product(_MESH), *(workspace.folder.landmarks(index) for index in range(workspace.frames))]


STEP = Step("landmarks", 3, ("frames",), ("size", "seconds", "model_dir"), make_landmarks, _made)
