"""Step `eyes`: how far the eyes are open, as the methods read it, and where they look."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32

from r2talker.data.points import eye_values
from r2talker.face.topology import EYE_CORNERS, IRISES, LID_MIDDLES
from r2talker.files import write_json, write_npy
from r2talker.ingest.landmarks import read_mesh
from r2talker.ingest.step import Step, StepResult, Workspace
from r2talker.ingest.tracking import HeadTrack, normalise_pixels, read_track

_VALUES = "eye_values.json"
# An eye open less than this part of its usual opening hides the iris: its gaze is bridged.
_HIDDEN = 0.6
# The eye bulges: iris and lids lie this far before its corners, metres.
_BULGE = 0.004


def measure_eyes(workspace: Workspace) -> StepResult:
    """Keep the eye value of every picture (upstream.md 2.7), from its `.lms`, and write `eyes.npy`.

    Readings: range of the eye value; range of the gaze (2nd to 98th percentile), in widths of an eye.
    """
    workspace.progress.begin("eyes", 1)
    size, focal = workspace.config.size, workspace.config.focal_pixels
    points = np.stack([np.loadtxt(workspace.folder.landmarks(index)) for index in range(workspace.frames)])
    values = eye_values(points, size)
    write_json(workspace.product(_VALUES), [round(float(value), 6) for value in values])
    eyes = find_gaze(read_mesh(workspace).astype(float), read_track(workspace), size, focal)
    write_npy(workspace.folder.eyes, eyes)
    low, high = np.percentile(eyes[..., :2].mean(1), [2, 98], axis=0)
    readings = {
        "min": round(float(values.min()), 4),
        "max": round(float(values.max()), 4),
        "gaze_across_range": round(float(high[0] - low[0]), 4),
        "gaze_up_range": round(float(high[1] - low[1]), 4),
    }
    return StepResult(f"eye opening {values.min():.2f} to {values.max():.2f} % of the picture", readings)


def find_gaze(
    mesh: Float[np.ndarray, "frames 478 3"], track: HeadTrack, size: int, focal: float
) -> Float32[np.ndarray, "frames 2 3"]:
    """Of the picture's left and right eye: middle of the iris to the right of and above the middle between the eye's corners, and
    how far the lids are apart; in widths of the eye, in the head frame, so that turning the head changes nothing.

    Irises and lids are taken to lie in one plane z a little before their eye's corners. Where lids hide the iris, its place is interpolated.
    """
    rays = np.concatenate([normalise_pixels(mesh, size, focal), np.full((*mesh.shape[:2], 1), -1.0)], -1) @ track.rotation
    centre = -np.einsum("fji,fj->fi", track.rotation, track.translation)
    eyes = np.zeros((len(mesh), 2, 3), np.float32)
    for side, (corners, iris, lids) in enumerate(zip(EYE_CORNERS, IRISES, LID_MIDDLES, strict=True)):
        left, right = track.shape[list(corners)]
        middle, width = (left + right) / 2, np.linalg.norm(right - left)
        seen = rays[:, [iris, *lids]]
        reach = (middle[2] + _BULGE - centre[:, None, 2]) / seen[..., 2]
        places = (centre[:, None, :2] + reach[..., None] * seen[..., :2] - middle[:2]) / width
        opening = places[:, 1, 1] - places[:, 2, 1]
        shown = opening >= _HIDDEN * np.median(opening)
        eyes[:, side] = np.column_stack([_bridge(places[:, 0, 0], shown), _bridge(places[:, 0, 1], shown), opening])
    return eyes


def _bridge(values: Float[np.ndarray, " frames"], known: Bool[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
    frames = np.arange(len(values))
    return np.interp(frames, frames[known], values[known])


def _made(workspace: Workspace) -> list[Path]:
    return [workspace.product(_VALUES), workspace.folder.eyes]


STEP = Step("eyes", 2, ("landmarks", "tracking"), ("size", "focal"), measure_eyes, _made)
