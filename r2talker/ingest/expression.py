"""Step `expression`: how far each of the 68 landmarks is from its rest position in the head frame, picture by picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from r2talker.face.topology import RIGID, mesh_to_68
from r2talker.files import write_npy
from r2talker.ingest.landmarks import read_mesh
from r2talker.ingest.step import Step, StepResult, Workspace, read_array, write_arrays
from r2talker.ingest.tracking import HeadTrack, lift, read_track

LARGEST = 0.95
_SHAPE = "expression.npz"
# Height y and depth z of the jaw's hinge in the head frame, metres: before the ears. A lip that goes down goes back about it.
_HINGE = np.array([0.0, 0.0])
_STEEPEST = 1.0
_JAW = (*range(4, 13), *range(55, 60), *range(65, 68))
# What else the mesh says about depth goes with its errors of pose: what is left without head turning, and of that this part.
_DEPTH_BELIEF = 0.25
# Quadratic over 5 pictures: a lip closure of 2 pictures (80 ms) keeps 5/6 of its depth.
_SMOOTHING = (5, 2)
# Values beyond this many standard deviations of their own coordinate are slips of the mesh, not expressions.
_SLIP = 6.0
# Outline and nose: landmarks with little expression of their own. The ridge is that of so many pictures.
_STILL = (*range(17), *range(27, 36))
_RIDGE = 50.0


@dataclass(frozen=True)
class Expression:
    """displacement: [-1, 1], head frame axes; position = base + displacement / scale (metres). leak: largest share of a
    landmark's variance that head turning explains before and after its removal."""

    displacement: Float32[np.ndarray, "frames 68 3"]
    base: Float[np.ndarray, "68 3"]
    scale: float
    leak_before: float
    leak_after: float


def measure_expression(workspace: Workspace) -> StepResult:
    """Write `aud_idexp.npy`, `aud_idexp_train.npy` and `aud_idexp_val.npy`; readings: scale, the range used, and the leak."""
    workspace.progress.begin("expression", 1)
    size, focal, train = workspace.config.size, workspace.config.focal_pixels, workspace.train_frames
    found = find_expression(read_mesh(workspace).astype(float), read_track(workspace), train, size, focal)
    folder = workspace.folder
    write_npy(folder.landmark_offsets(), found.displacement)
    write_npy(folder.landmark_offsets("train"), found.displacement[:train])
    write_npy(folder.landmark_offsets("val"), found.displacement[train:])
    write_arrays(workspace.product(_SHAPE), base=found.base)
    opening = float(np.ptp(found.displacement[:, 62, 1] - found.displacement[:, 66, 1])) / found.scale * 1000
    readings: dict[str, float] = {
        "landmark_scale": found.scale,
        "mouth_opening_range_mm": round(opening, 2),
        "pose_leak_before": round(found.leak_before, 3),
        "pose_leak": round(found.leak_after, 3),
    }
    for axis, values in zip("xyz", np.moveaxis(found.displacement, -1, 0), strict=True):
        readings |= {f"{axis}_min": round(float(values.min()), 3), f"{axis}_max": round(float(values.max()), 3)}
    return StepResult(f"landmark displacements, mouth opening over {opening:.1f} mm, scale {found.scale:.1f} / m", readings)


def read_base(workspace: Workspace) -> Float[np.ndarray, "68 3"]:
    """Rest positions of the landmarks in the head frame, metres."""
    return read_array(workspace.product(_SHAPE), "base")


def find_expression(
    mesh: Float[np.ndarray, "frames 478 3"], track: HeadTrack, train_frames: int, size: int, focal: float
) -> Expression:
    """Displacements of the landmarks with identity (mean of the training split) and head pose removed."""
    steady = _steady_pixels(mesh, track, size, focal)
    rigid = track.shape[list(RIGID)]
    points = mesh_to_68(lift(steady, track, rigid, size, focal))
    base = points[:train_frames].mean(0)
    change = points - base
    turning = _turning(track)
    change = _settle_depth(change, base, track, turning, train_frames)
    spread = change[:train_frames].std(0) + 1e-6
    change = np.clip(change, -_SLIP * spread, _SLIP * spread)
    leak_before = _leak(change, turning)
    change = _without_turning(change, turning, train_frames)
    change = savgol_filter(change, *_SMOOTHING, axis=0)
    mean = change[:train_frames].mean(0)
    change, base = change - mean, base + mean
    scale = LARGEST / float(np.abs(change[:train_frames]).max())
    values = np.clip(change * scale, -1, 1).astype(np.float32)
    return Expression(values, base, scale, leak_before, _leak(change, turning))


def _settle_depth(
    change: Float[np.ndarray, "frames 68 3"],
    base: Float[np.ndarray, "68 3"],
    track: HeadTrack,
    turning: Float[np.ndarray, "frames 5"],
    train_frames: int,
) -> Float[np.ndarray, "frames 68 3"]:
    """Move every landmark along the ray on which it was seen to a depth that does not depend on how the head is turned.

    The jaw's landmarks turn about its hinge: z follows y by the slope of that circle. The mesh's own depth would let a nodding
    head open its mouth: 2 % of the mouth's range in a clip of 24 s.
    """
    slope = np.zeros(len(base))
    jaw = list(_JAW)
    slope[jaw] = np.clip((_HINGE[0] - base[jaw, 1]) / np.maximum(base[jaw, 2] - _HINGE[1], 1e-3), 0, _STEEPEST)
    own = change[..., 2] - slope * change[..., 1]
    own = _DEPTH_BELIEF * _without(own, turning, train_frames)
    eye = -np.einsum("fji,fj->fi", track.rotation, track.translation)
    ray = base + change - eye[:, None]
    far = (slope * change[..., 1] + own - change[..., 2]) / (ray[..., 2] - slope * ray[..., 1])
    return change + far[..., None] * ray


def _steady_pixels(
    mesh: Float[np.ndarray, "frames 478 3"], track: HeadTrack, size: int, focal: float
) -> Float[np.ndarray, "frames 478 3"]:
    """Move, turn and scale each mesh in the picture so that its rigid points lie where the smooth pose has them.

    Takes out the tracker's common trembling (half of its noise), which would otherwise shake every landmark.
    """
    rigid = list(RIGID)
    expected = track.project(track.shape[rigid])
    expected = expected * np.array([1.0, -1.0]) * focal + size / 2
    seen = mesh[:, rigid, :2]
    seen_middle, expected_middle = seen.mean(1, keepdims=True), expected.mean(1, keepdims=True)
    a = (seen - seen_middle) @ np.array([1.0, 1j])
    b = (expected - expected_middle) @ np.array([1.0, 1j])
    turn = (a.conj() * b).sum(1) / np.square(np.abs(a)).sum(1)
    flat = ((mesh[..., :2] - seen_middle) @ np.array([1.0, 1j])) * turn[:, None]
    steady = mesh.copy()
    steady[..., 0] = flat.real + expected_middle[..., 0]
    steady[..., 1] = flat.imag + expected_middle[..., 1]
    steady[..., 2] *= np.abs(turn)[:, None]
    return steady


def _turning(track: HeadTrack) -> Float[np.ndarray, "frames 5"]:
    """Pitch, yaw, roll and the squares of pitch and yaw, each with mean 0 and standard deviation 1."""
    angles = Rotation.from_matrix(track.rotation).as_euler("XYZ")
    angles = angles - angles.mean(0)
    columns = np.column_stack([angles, angles[:, :2] ** 2])
    return (columns - columns.mean(0)) / (columns.std(0) + 1e-9)


def _without_turning(
    change: Float[np.ndarray, "frames 68 3"], turning: Float[np.ndarray, "frames 5"], train_frames: int
) -> Float[np.ndarray, "frames 68 3"]:
    """Take out what head turning predicts of outline and nose: the outline slides over the face as it turns.

    Only there: in a clip of seconds, speech and turning coincide by chance, and a mouth that is cleaned so loses its opening
    (correlation with the truth 0.94 instead of 0.99). Ridge regression on the training split.
    """
    flat = change[:, _STILL].reshape(len(change), -1)
    cleaned = change.copy()
    cleaned[:, _STILL] = _without(flat, turning, train_frames).reshape(len(change), len(_STILL), 3)
    return cleaned


def _without(
    values: Float[np.ndarray, "frames values"], turning: Float[np.ndarray, "frames 5"], train_frames: int
) -> Float[np.ndarray, "frames values"]:
    """Values less what a ridge regression of the training split on turning predicts."""
    a, b = turning[:train_frames], values[:train_frames]
    return values - turning @ np.linalg.solve(a.T @ a + _RIDGE * np.eye(a.shape[1]), a.T @ (b - b.mean(0)))


def _leak(change: Float[np.ndarray, "frames 68 3"], turning: Float[np.ndarray, "frames 5"]) -> float:
    """Mean over the landmarks of the share of their variance that turning explains."""
    flat = change.reshape(len(change), -1)
    flat = flat - flat.mean(0)
    fitted = turning @ np.linalg.lstsq(turning, flat, rcond=None)[0]
    explained = np.square(fitted).sum(0).reshape(-1, 3).sum(1)
    return float((explained / np.square(flat).sum(0).reshape(-1, 3).sum(1)).mean())


def _made(workspace: Workspace) -> list[Path]:
    folder = workspace.folder
    return [workspace.product(_SHAPE), *(folder.landmark_offsets(split) for split in ("", "train", "val"))]


STEP = Step("expression", 4, ("landmarks", "tracking"), ("size", "focal"), measure_expression, _made)
