"""Step `tracking`: one head pose per picture and the person's rigid shape, in the head frame of docs/conventions.md."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from r2talker.face.topology import IRISES, NOSE_BASE, NOSE_ROOT, OUTER_EYE_CORNERS, RIGID
from r2talker.ingest.bundle import Bundle, Sightings, adjust_bundle, find_residual, forgive_nods
from r2talker.ingest.config import REFERENCE_SIZE
from r2talker.ingest.landmarks import read_mesh, read_seen
from r2talker.ingest.skin import FaceCuts, cut_faces, find_skin, lay_surface
from r2talker.ingest.step import Step, StepResult, Workspace, read_array, write_arrays

EYE_DISTANCE = 0.09
BEHIND_EYES, BELOW_EYES = 0.065, 0.03
_POSES = "poses.npz"
# The mesh puts the corners of the eyes a little inside, by 0.977 to 0.997 in five procedural people; the middles of the irises it
# finds alike: their distance is the same part of the true corners' to 0.5 %. Dodgson 2004 has 63 mm as the mean of adults.
CORNER_DISTANCE, IRIS_DISTANCE = 0.982 * EYE_DISTANCE, 0.694 * EYE_DISTANCE
# The line from the base of the nose (2) to its root (168) leans back by this angle, radians.
NOSE_LEANS = np.deg2rad(3.5)
_NOISE_PIXELS = 0.5
# Points of one face share part of their error (measured: about half of it): P points say less than P independent ones.
_SHARED_ERROR = 6.0
_JITTER_WINDOW = 9
# How far the shape may go from the mesh's own mean shape in a round, metres: in the order of the errors of a mesh's depth.
_SPREAD = np.array([0.002, 0.002, 0.004])
# Comparisons with the skin, and how little the mesh says beside it.
_SKIN_ROUNDS, _MESH_SHARE = 3, 0.03
# Beyond these (44 s) pictures tell nothing new about the shape: the net's errors go with the pose and come again with it. A prior
# that longer clips outvote lets the shape grow deep and the nodding small (4 instead of 36 degrees in 308 s).
_TELLING_PICTURES = 1100
# Pictures whose vertices are lifted at once.
_TOGETHER = 256
# Shading of nose and cheeks stays with the light in part, so that a point seems less deep than it is: with this part of the net's
# depth, heads turn as far as they do (five procedural people: 0.85 to 0.98).
_SEEMING_DEPTH = 0.885


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


@dataclass(frozen=True)
class RefinedTrack:
    """error: of the skin's points, normalised coordinates; noise: trembling of the poses, degrees rms."""

    track: HeadTrack
    error: float
    noise: float


def track_head(workspace: Workspace) -> StepResult:
    """Solve the clip's bundle adjustment; readings, pixels at 512: reprojection_px (skin), mesh_px (the net's vertices),
    jitter_deg (see `measure_jitter`; quick nods count), noise_deg (what two halves of the skin disagree on), and the range of turning.
    """
    size, focal = workspace.config.size, workspace.config.focal_pixels
    mesh, confidence = read_mesh(workspace), read_seen(workspace).astype(float)
    workspace.progress.begin("tracking", len(mesh))
    rough, _ = fit_track(mesh, confidence, size, focal)
    with cut_faces(workspace, mesh) as cuts:
        refined = refine_track(rough, mesh, confidence, cuts, size, focal)
    track = refined.track
    write_arrays(workspace.product(_POSES), rotation=track.rotation, translation=track.translation, shape=track.shape)
    pixels = focal * REFERENCE_SIZE / size
    jitter = measure_jitter(track.rotation)
    turns = np.ptp(Rotation.from_matrix(track.rotation).as_euler("XYZ", degrees=True), axis=0)
    readings = {
        "reprojection_px": round(refined.error * pixels, 3),
        "mesh_px": round(reprojection_error(track, mesh, confidence, size, focal) * pixels, 3),
        "jitter_deg": round(jitter, 4),
        "noise_deg": round(refined.noise, 4),
        "pitch_range_deg": round(float(turns[0]), 2),
        "yaw_range_deg": round(float(turns[1]), 2),
        "roll_range_deg": round(float(turns[2]), 2),
    }
    message = f"head poses: skin within {readings['reprojection_px']:.2f} px at 512, {refined.noise:.3f} deg noise"
    return StepResult(message, readings)


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
    """Poses by the mesh alone, with its own mean shape; also the rms reprojection error, normalised coordinates.

    The shape is not adjusted: the net's depth is the same in all people within 3 %, and right in procedural ones, while its image
    points, whose errors go with the pose, made a face half as deep again. confidence: 0 for pictures whose points are interpolated,
    1 otherwise.
    """
    seen = see_mesh(mesh, confidence, size, focal)
    bundle = adjust_bundle(seen, align_meshes(mesh, size, focal))
    error = np.sqrt(np.square(find_residual(seen, bundle)[confidence > 0]).sum(-1).mean())
    return _whole_head(bundle, mesh, confidence, size, focal), float(error)


def refine_track(
    rough: HeadTrack,
    mesh: Float[np.ndarray, "frames 478 3"],
    confidence: Float[np.ndarray, " frames"],
    cuts: FaceCuts,
    size: int,
    focal: float,
) -> RefinedTrack:
    """The poses that carry the skin along.

    How deep the face is and how far it turns are hard to tell apart in pictures from afar: the net's depth decides. All this happens
    in a frame that looks along the mean line of sight: there a change of depth changes no picture but through turning.
    """
    rigid, axes = len(RIGID), _face_camera(rough)
    shape = rough.shape @ axes.T
    anchor = see_mesh(mesh, confidence, size, focal)
    anchor = Sightings(anchor.points, anchor.precision * _MESH_SHARE, anchor.weight)
    surface = lay_surface(shape, float(np.median(-rough.translation[:, 2])), cuts.focal)
    first = np.concatenate([shape[list(RIGID)], surface.places])
    bundle = Bundle(first, rough.rotation @ axes.T, rough.translation)
    for _ in range(_SKIN_ROUNDS):
        start = Bundle(np.concatenate([bundle.shape[:rigid], surface.places]), bundle.rotation, bundle.translation)
        skin = find_skin(cuts, surface, start, confidence)
        bundle = adjust_bundle(forgive_nods(anchor, start).join(skin), start, _spread_for(len(mesh)))
        skin = _trust_as_it_fits(skin, Bundle(bundle.shape[rigid:], bundle.rotation, bundle.translation))
        bundle = _settle_depth(bundle, first)
        seen = forgive_nods(anchor, bundle).join(skin)
        bundle = adjust_bundle(seen, bundle)
        surface = surface.bend(bundle.shape[rigid:, 2])
    error, noise = _skin_error(seen, bundle), _pose_noise(seen, bundle)
    bundle = Bundle(bundle.shape[:rigid], bundle.rotation, bundle.translation)
    return RefinedTrack(_whole_head(bundle, mesh, confidence, size, focal), error, noise)


def _face_camera(track: HeadTrack) -> Float[np.ndarray, "3 3"]:
    """Axes in the head frame: z along the mean line of sight towards the camera, x as level in the head as it can be."""
    z = -np.einsum("fij,fi->j", track.rotation, track.translation)
    z /= np.linalg.norm(z)
    x = np.array([1.0, 0.0, 0.0]) - z[0] * z
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _spread_for(frames: int) -> Float[np.ndarray, " 3"]:
    """The shape's spread that keeps the say of its prior in a clip of this many pictures."""
    return _SPREAD * np.sqrt(min(1.0, _TELLING_PICTURES / frames))


def _trust_as_it_fits(skin: Sightings, bundle: Bundle) -> Sightings:
    """The sightings with each point's precision lowered to how well the poses explain it: where shine, a fold or a frame of glasses
    goes its own way, the others say more; poor pictures leave more to the mesh."""
    residual = find_residual(skin, bundle)
    squares = np.einsum("fpi,fpij,fpj->fp", residual, skin.precision, residual)
    known = skin.precision[..., 0, 0] > 0
    often = np.asarray(known.any(0))
    typical = np.zeros(known.shape[1])
    typical[often] = np.nanmedian(np.where(known, squares, np.nan)[:, often], axis=0)
    # The median of a chi-square distribution of two degrees of freedom is 2 ln 2.
    excess = np.maximum(1.0, typical / (2 * np.log(2)))
    return Sightings(skin.points, skin.precision / excess[:, None, None], skin.weight)


def _skin_error(seen: Sightings, bundle: Bundle) -> float:
    """Median distance of the skin's points to where they were seen, each direction counting as much as it shows texture."""
    skin = slice(len(RIGID), None)
    residual, precision = find_residual(seen, bundle)[:, skin], seen.precision[:, skin]
    known = precision[..., 0, 0] > 0
    squares = np.einsum("fpi,fpij,fpj->fp", residual, precision, residual)
    return (
        float(np.median(np.sqrt(2 * squares[known] / np.trace(precision[known], axis1=-2, axis2=-1)))) if known.any() else 0.0
    )


def _pose_noise(seen: Sightings, bundle: Bundle) -> float:
    """Degrees rms of the trembling of the poses: two halves of the points give poses that tremble apart, all of them half as much."""
    odd = np.arange(len(bundle.shape)) % 2
    halves = [
        adjust_bundle(Sightings(seen.points, seen.precision * (odd == half)[:, None, None], seen.weight), bundle).rotation
        for half in (0, 1)
    ]
    return measure_jitter(halves[0] @ halves[1].transpose(0, 2, 1)) / 2


def see_mesh(
    mesh: Float[np.ndarray, "frames 478 3"], confidence: Float[np.ndarray, " frames"], size: int, focal: float
) -> Sightings:
    """The rigid vertices as the net placed them."""
    points = normalise_pixels(mesh[:, list(RIGID)].astype(float), size, focal)
    noise = _NOISE_PIXELS * size / REFERENCE_SIZE / focal
    precision = np.tile(np.eye(2) / noise**2, (*points.shape[:2], 1, 1)) * confidence[:, None, None, None]
    return Sightings(points, precision, np.full(len(RIGID), 1 / _SHARED_ERROR))


def reprojection_error(
    track: HeadTrack,
    mesh: Float[np.ndarray, "frames 478 3"],
    confidence: Float[np.ndarray, " frames"],
    size: int,
    focal: float,
) -> float:
    """Root mean square distance of the rigid vertices to where the track has them, normalised coordinates."""
    rigid = list(RIGID)
    away = track.project(track.shape[rigid]) - normalise_pixels(mesh[:, rigid], size, focal)
    return float(np.sqrt(np.square(away[confidence > 0]).sum(-1).mean()))


def _whole_head(
    bundle: Bundle, mesh: Float[np.ndarray, "frames 478 3"], confidence: Float[np.ndarray, " frames"], size: int, focal: float
) -> HeadTrack:
    """The poses with the mean of all vertices at rest, in the head frame."""
    shape, weight = np.zeros((mesh.shape[1], 3)), confidence + 1e-9
    rough = HeadTrack(bundle.rotation, bundle.translation, shape)
    unit = _find_depth_unit(mesh, rough, bundle.shape, focal)
    for start in range(0, len(mesh), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        part = HeadTrack(rough.rotation[some], rough.translation[some], shape)
        lifted = _lift_by(unit, mesh[some].astype(float), part, bundle.shape, size, focal)
        shape += np.einsum("f,fpi->pi", weight[some], lifted)
    return _in_head_frame(rough, shape / weight.sum())


def _settle_depth(bundle: Bundle, first: Float[np.ndarray, "points 3"]) -> Bundle:
    """The bundle as deep as its points seem when their true depths are those of `first`."""
    x, y, z = bundle.shape.T
    deeper = np.linalg.lstsq(np.column_stack([first[:, 2], x, y, np.ones(len(z))]), z, rcond=None)[0][0]
    factor = _SEEMING_DEPTH / max(deeper, 0.1)
    return Bundle(np.column_stack([x, y, z.mean() + (z - z.mean()) * factor]), bundle.rotation, bundle.translation)


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
    return _lift_by(_find_depth_unit(mesh, track, rigid_shape, focal), mesh, track, rigid_shape, size, focal)


def _find_depth_unit(
    mesh: Float[np.ndarray, "frames 478 3"], track: HeadTrack, rigid_shape: Float[np.ndarray, "rigid 3"], focal: float
) -> float:
    """What a unit of the mesh's depth is in terms of the rigid points' distance."""
    own, known = _rigid_depths(mesh, track, rigid_shape, focal)
    own, known = own - own.mean(1, keepdims=True), known - known.mean(1, keepdims=True)
    return float((own * known).sum() / np.square(own).sum())


def _rigid_depths(
    mesh: Float[np.ndarray, "frames 478 3"], track: HeadTrack, rigid_shape: Float[np.ndarray, "rigid 3"], focal: float
) -> tuple[Float[np.ndarray, "frames rigid"], Float[np.ndarray, "frames rigid"]]:
    """Depth of the rigid points by the mesh, and their distance from the camera by the track."""
    distance = -(track.rotation[:, 2] @ rigid_shape.T + track.translation[:, 2:])
    return mesh[:, list(RIGID), 2] * (-track.translation[:, 2:] / focal), distance


def _lift_by(
    unit: float,
    mesh: Float[np.ndarray, "frames 478 3"],
    track: HeadTrack,
    rigid_shape: Float[np.ndarray, "rigid 3"],
    size: int,
    focal: float,
) -> Float[np.ndarray, "frames 478 3"]:
    own, known = (depths.mean(1, keepdims=True) for depths in _rigid_depths(mesh, track, rigid_shape, focal))
    distance = known + unit * (mesh[..., 2] * (-track.translation[:, 2:] / focal) - own)
    points = np.concatenate([normalise_pixels(mesh, size, focal) * distance[..., None], -distance[..., None]], -1)
    return (points - track.translation[:, None]) @ track.rotation


def measure_jitter(rotation: Float[np.ndarray, "frames 3 3"]) -> float:
    """Root mean square angle in degrees between the poses and their own quadratic fit over 9 pictures."""
    window = min(_JITTER_WINDOW, (len(rotation) - 1) // 2 * 2 + 1)
    vectors = (Rotation.from_matrix(rotation) * Rotation.from_matrix(rotation[len(rotation) // 2]).inv()).as_rotvec()
    rest = vectors - savgol_filter(vectors, window, 2, axis=0)
    return float(np.rad2deg(np.sqrt(np.square(rest).sum(-1).mean())))


def align_meshes(mesh: Float[np.ndarray, "frames 478 3"], size: int, focal: float) -> Bundle:
    """Mean rigid shape and poses by repeated similarity alignment of the meshes, each point on the ray of its pixel."""
    pixels = mesh[:, list(RIGID)].astype(float)
    away = 1 + (pixels[..., 2:] - pixels[..., 2:].mean(1, keepdims=True)) / focal
    points = np.concatenate([normalise_pixels(pixels, size, focal) * away, -away], -1)
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
    return Bundle(shape * unit, rotation, middle * (unit / scale)[:, None])


def _in_head_frame(track: HeadTrack, shape: Float[np.ndarray, "478 3"]) -> HeadTrack:
    """Move, turn and scale the head's frame so that its rest shape stands as docs/conventions.md says.

    Its size is the mean of what the corners and the irises of the eyes say. x runs along the outer corners; the line from the
    base of the nose to its root leans back from y by a fixed angle, as it does in a face that looks straight ahead.
    """
    left, right = shape[list(OUTER_EYE_CORNERS)]
    x = (right - left) / np.linalg.norm(right - left)
    up = shape[NOSE_ROOT] - shape[NOSE_BASE]
    up = up - (up @ x) * x
    up /= np.linalg.norm(up)
    y = np.cos(NOSE_LEANS) * up + np.sin(NOSE_LEANS) * np.cross(x, up)
    z = np.cross(x, y)
    axes = np.stack([x, y, z])
    irises = np.linalg.norm(shape[IRISES[1]] - shape[IRISES[0]])
    unit = np.sqrt(CORNER_DISTANCE / np.linalg.norm(right - left) * IRIS_DISTANCE / irises)
    origin = (left + right) / 2 - (BEHIND_EYES * z + BELOW_EYES * y) / unit
    return HeadTrack(
        rotation=track.rotation @ axes.T,
        translation=(track.rotation @ origin + track.translation) * unit,
        shape=(shape - origin) @ axes.T * unit,
    )


def _made(workspace: Workspace) -> list[Path]:
    return [workspace.product(_POSES)]


STEP = Step("tracking", 6, ("frames", "landmarks"), ("size", "focal", "seconds"), track_head, _made)
