"""Step `tracking`: one head pose per picture and the person's rigid shape, in the head frame of docs/conventions.md."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from r2talker.face.topology import CHIN, FOREHEAD_TOP, OUTER_EYE_CORNERS, RIGID
from r2talker.ingest.bundle import Bundle, adjust_bundle
from r2talker.ingest.config import REFERENCE_SIZE
from r2talker.ingest.landmarks import read_mesh, read_seen
from r2talker.ingest.step import Step, StepResult, Workspace, read_array, write_arrays

EYE_DISTANCE = 0.09
BEHIND_EYES, BELOW_EYES = 0.065, 0.03
_POSES = "poses.npz"
_NOISE_PIXELS = 0.5
_JITTER_WINDOW = 9
# The shape's prior takes over the depth unit that the clip shows, then the bundle is adjusted again.
_ROUNDS = 2


@dataclass(frozen=True)
class HeadTrack:
    """Head to camera (x right, y up, looking along -z), metres; shape: all mesh vertices at rest in the head frame."""

    rotation: Float[np.ndarray, "frames 3 3"]
    translation: Float[np.ndarray, "frames 3"]
    shape: Float[np.ndarray, "478 3"]

    def project(self, points: Float[np.ndarray, "*frames points 3"]) -> Float[np.ndarray, "frames points 2"]:
        """Normalised coordinates (right, up) of points in the head frame, the same or others in every picture."""
        camera = points @ self.rotation.transpose(0, 2, 1) + self.translation[:, None]
        return camera[..., :2] / -camera[..., 2:]

    def c2w(self) -> Float[np.ndarray, "frames 4 4"]:
        """Camera-to-world matrices as in `transforms_*.json` (upstream.md 1.4)."""
        matrices = np.tile(np.eye(4), (len(self.rotation), 1, 1))
        matrices[:, :3, :3] = self.rotation.transpose(0, 2, 1)
        matrices[:, :3, 3] = -np.einsum("fij,fi->fj", self.rotation, self.translation)
        return matrices


def track_head(workspace: Workspace) -> StepResult:
    """Solve the clip's bundle adjustment; readings: reprojection_px (at 512), jitter_deg, and the range of turning."""
    size, focal = workspace.config.size, workspace.config.focal_pixels
    workspace.progress.begin("tracking", 1)
    mesh, seen = read_mesh(workspace), read_seen(workspace)
    track, error = fit_track(mesh, seen.astype(float), size, focal)
    write_arrays(workspace.product(_POSES), rotation=track.rotation, translation=track.translation, shape=track.shape)
    pixels = error * focal * REFERENCE_SIZE / size
    jitter = measure_jitter(track.rotation)
    turns = np.ptp(Rotation.from_matrix(track.rotation).as_euler("XYZ", degrees=True), axis=0)
    readings = {
        "reprojection_px": round(pixels, 3),
        "jitter_deg": round(jitter, 4),
        "pitch_range_deg": round(float(turns[0]), 2),
        "yaw_range_deg": round(float(turns[1]), 2),
        "roll_range_deg": round(float(turns[2]), 2),
    }
    return StepResult(f"head poses: {pixels:.2f} px reprojection error at 512, {jitter:.3f} deg jitter", readings)


def read_track(workspace: Workspace) -> HeadTrack:
    """What `track_head` found."""
    path = workspace.product(_POSES)
    return HeadTrack(read_array(path, "rotation"), read_array(path, "translation"), read_array(path, "shape"))


def normalise_pixels(
    mesh: Float[np.ndarray, "*frames points dims"], size: int, focal: float
) -> Float[np.ndarray, "*frames points 2"]:
    """Pixels to normalised coordinates (right, up)."""
    return (mesh[..., :2] - size / 2) * np.array([1.0, -1.0]) / focal


def fit_track(
    mesh: Float[np.ndarray, "frames 478 3"], confidence: Float[np.ndarray, " frames"], size: int, focal: float
) -> tuple[HeadTrack, float]:
    """Poses and rest shape of the whole mesh from its image points; also the rms reprojection error, normalised coordinates."""
    rigid = list(RIGID)
    observed = normalise_pixels(mesh[:, rigid].astype(float), size, focal)
    start = _start(mesh[:, rigid].astype(float), size, focal)
    noise = _NOISE_PIXELS * size / REFERENCE_SIZE / focal
    bundle, prior = start, start.shape
    for _ in range(_ROUNDS):
        bundle = adjust_bundle(observed, bundle, prior, noise, confidence)
        prior = _fit_depth(start.shape, bundle.shape)
    rough = HeadTrack(bundle.rotation, bundle.translation, np.zeros((mesh.shape[1], 3)))
    lifted = lift(mesh.astype(float), rough, bundle.shape, size, focal)
    return _in_head_frame(rough, np.average(lifted, axis=0, weights=confidence + 1e-9)), bundle.error


def lift(
    mesh: Float[np.ndarray, "frames 478 3"],
    track: HeadTrack,
    rigid_shape: Float[np.ndarray, "rigid 3"],
    size: int,
    focal: float,
) -> Float[np.ndarray, "frames 478 3"]:
    """Head-frame positions of all vertices: each on the ray of its pixel, at the mesh's own depth.

    The mesh's depth has neither a unit nor an origin that can be relied on: both come from the rigid points, whose depth is
    known.
    """
    camera = rigid_shape @ track.rotation.transpose(0, 2, 1) + track.translation[:, None]
    depth = mesh[..., 2] * (-track.translation[:, 2:] / focal)
    own, known = depth[:, list(RIGID)], -camera[..., 2]
    own_middle, known_middle = own.mean(1, keepdims=True), known.mean(1, keepdims=True)
    unit = ((own - own_middle) * (known - known_middle)).sum() / np.square(own - own_middle).sum()
    distance = known_middle + unit * (depth - own_middle)
    rays = normalise_pixels(mesh, size, focal)
    points = np.concatenate([rays * distance[..., None], -distance[..., None]], -1)
    return (points - track.translation[:, None]) @ track.rotation


def measure_jitter(rotation: Float[np.ndarray, "frames 3 3"]) -> float:
    """Root mean square angle in degrees between the poses and their own quadratic fit over 9 pictures."""
    window = min(_JITTER_WINDOW, (len(rotation) - 1) // 2 * 2 + 1)
    vectors = (Rotation.from_matrix(rotation) * Rotation.from_matrix(rotation[len(rotation) // 2]).inv()).as_rotvec()
    rest = vectors - savgol_filter(vectors, window, 2, axis=0)
    return float(np.rad2deg(np.sqrt(np.square(rest).sum(-1).mean())))


def _start(mesh: Float[np.ndarray, "frames rigid 3"], size: int, focal: float) -> Bundle:
    """Mean shape and poses by repeated similarity alignment of the meshes, taken as seen from far away."""
    points = (mesh - np.array([size / 2, size / 2, 0.0])) * np.array([1.0, -1.0, -1.0])
    middle = points.mean(1)
    centred = points - middle[:, None]
    shape = centred[0]
    for _ in range(4):
        u, _, v = np.linalg.svd(np.einsum("fpi,pj->fij", centred, shape))
        u[..., :, 2] *= np.sign(np.linalg.det(u @ v))[:, None]
        rotation = u @ v
        aligned = centred @ rotation
        scale = (aligned * shape).sum((1, 2)) / np.square(shape).sum()
        shape = (aligned / scale[:, None, None]).mean(0)
    corners = [RIGID.index(vertex) for vertex in OUTER_EYE_CORNERS]
    unit = EYE_DISTANCE / np.linalg.norm(shape[corners[1]] - shape[corners[0]])
    distance = focal * unit / scale
    translation = np.column_stack([middle[:, :2] * distance[:, None] / focal, -distance])
    return Bundle(shape * unit, rotation, translation, 0.0)


def _fit_depth(shape: Float[np.ndarray, "rigid 3"], known: Float[np.ndarray, "rigid 3"]) -> Float[np.ndarray, "rigid 3"]:
    """`shape` with its depth stretched and tilted to that of `known`: the mesh's depth has no unit that can be relied on."""
    columns = np.column_stack([shape, np.ones(len(shape))])
    return np.column_stack([shape[:, :2], columns @ np.linalg.lstsq(columns, known[:, 2], rcond=None)[0]])


def _in_head_frame(track: HeadTrack, shape: Float[np.ndarray, "478 3"]) -> HeadTrack:
    """Move, turn and scale the head's frame so that its rest shape stands as docs/conventions.md says.

    x runs along the outer eye corners; y lies in the plane of x and the line from the chin to the top of the forehead, which is
    upright in a face that looks straight ahead.
    """
    left, right = shape[list(OUTER_EYE_CORNERS)]
    x = (right - left) / np.linalg.norm(right - left)
    y = shape[FOREHEAD_TOP] - shape[CHIN]
    y = y - (y @ x) * x
    y /= np.linalg.norm(y)
    z = np.cross(x, y)
    axes = np.stack([x, y, z])
    unit = EYE_DISTANCE / np.linalg.norm(right - left)
    origin = (left + right) / 2 - (BEHIND_EYES * z + BELOW_EYES * y) / unit
    return HeadTrack(
        rotation=track.rotation @ axes.T,
        translation=(track.rotation @ origin + track.translation) * unit,
        shape=(shape - origin) @ axes.T * unit,
    )


def _made(workspace: Workspace) -> list[Path]:
    return [workspace.product(_POSES)]


STEP = Step("tracking", 2, ("landmarks",), ("size", "focal"), track_head, _made)
