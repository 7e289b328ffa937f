"""Bundle adjustment and what follows it, on points whose true poses and shapes are known."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from r2talker.face.topology import IRISES, MESH_POINTS, NOSE_BASE, NOSE_ROOT, OUTER_EYE_CORNERS, RIGID, mesh_to_68
from r2talker.ingest.bundle import Bundle, Sightings, find_residual, forgive_nods
from r2talker.ingest.expression import find_expression
from r2talker.ingest.tracking import (
    BEHIND_EYES,
    BELOW_EYES,
    CORNER_DISTANCE,
    IRIS_DISTANCE,
    NOSE_LEANS,
    HeadTrack,
    align_meshes,
    fit_track,
    measure_jitter,
)

SIZE, FOCAL = 512, 1200.0
# Degrees rms that 0.33 pixel of noise per point leaves, and what smoothing leaves without.
POSE_NOISY, POSE_CLEAN = 0.2, 0.12
OPENING_CORRELATION = 0.98


@dataclass
class Scene:
    mesh: np.ndarray
    rotation: Rotation
    translation: np.ndarray
    opening: np.ndarray


def make_scene(frames: int = 120, noise: float = 0.0, outliers: int = 0, aside: float = 0.0) -> Scene:
    """A lumpy ellipsoid of a face that nods, turns, opens its mouth and goes `aside` (metres) and back."""
    rng = np.random.default_rng(3)
    angle, height = rng.uniform(-1.2, 1.2, MESH_POINTS), rng.uniform(-0.09, 0.08, MESH_POINTS)
    shape = np.column_stack([0.075 * np.sin(angle), height, 0.09 * np.cos(angle) - 3 * height**2])
    shape[list(OUTER_EYE_CORNERS)] = [(side * CORNER_DISTANCE / 2, 0.03, 0.065) for side in (-1, 1)]
    shape[list(IRISES)] = [(side * IRIS_DISTANCE / 2, 0.03, 0.07) for side in (-1, 1)]
    lower_lip = [17, 14, 84, 314, 87, 317, 178, 402, 181, 405]
    shape[lower_lip, 1:] = (-0.045, 0.08)
    shape[[NOSE_ROOT, NOSE_BASE]] = [(0, 0.03, 0.08), (0, -0.03, 0.08 + 0.06 * np.tan(NOSE_LEANS))]
    time = np.arange(frames) / 25
    angles = np.column_stack([8 * np.sin(2.1 * time), 10 * np.sin(1.3 * time + 1), 4 * np.sin(1.7 * time)])
    rotation = Rotation.from_euler("XYZ", angles, degrees=True)
    across = 0.02 * np.sin(time) + aside * np.sin(1.1 * time)
    translation = np.column_stack([across, 0.01 * np.cos(1.5 * time), -0.85 + 0.02 * np.sin(0.8 * time)])
    opening = 0.008 * np.clip(np.sin(11 * time), 0, None)
    points = np.tile(shape, (frames, 1, 1))
    # The jaw's hinge is the origin: what goes down goes back.
    points[:, lower_lip, 1:] -= opening[:, None, None] * np.array([1, 0.045 / 0.08])
    camera = np.einsum("fij,fpj->fpi", rotation.as_matrix(), points) + translation[:, None]
    pixels = SIZE / 2 + FOCAL * camera[..., :2] / -camera[..., 2:] * [1, -1]
    away = -camera[..., 2]
    depth = (away / away[:, list(RIGID)].mean(1, keepdims=True) - 1) * FOCAL + 7
    mesh = np.dstack([pixels, depth])
    mesh[..., :2] += rng.normal(0, noise, mesh[..., :2].shape) if noise else 0
    for frame in rng.integers(0, frames, outliers):
        mesh[frame, rng.choice(RIGID, 8, replace=False), :2] += rng.normal(0, 12, (8, 2))
    return Scene(mesh, rotation, translation, opening)


def pose_error(track: HeadTrack, scene: Scene) -> float:
    """Degrees rms between found and true rotations, apart from one constant turn of the head frame."""
    apart = Rotation.from_matrix(track.rotation).inv() * scene.rotation
    return float(np.rad2deg(np.sqrt(np.square((apart.mean().inv() * apart).as_rotvec()).sum(1).mean())))


def test_poses_and_shape_are_recovered_without_noise() -> None:
    scene = make_scene()
    track, error = fit_track(scene.mesh, np.ones(120), SIZE, FOCAL)
    assert error * FOCAL < 0.1
    assert pose_error(track, scene) < POSE_CLEAN
    assert np.abs(track.translation - scene.translation).max() < 0.01


@pytest.mark.parametrize("outliers", [0, 20])
def test_noise_and_outliers_are_borne(outliers: int) -> None:
    scene = make_scene(noise=0.33, outliers=outliers)
    track, _ = fit_track(scene.mesh, np.ones(120), SIZE, FOCAL)
    assert pose_error(track, scene) < POSE_NOISY
    assert measure_jitter(track.rotation) < 0.1


def test_interpolated_pictures_do_not_pull() -> None:
    scene = make_scene()
    confidence = np.ones(120)
    confidence[50:56] = 0
    scene.mesh[50:56] = scene.mesh[10]
    track, _ = fit_track(scene.mesh, confidence, SIZE, FOCAL)
    assert pose_error(track, scene) < POSE_NOISY


def test_head_frame_is_the_documented_one() -> None:
    track, _ = fit_track(make_scene(noise=0.33).mesh, np.ones(120), SIZE, FOCAL)
    left, right = track.shape[list(OUTER_EYE_CORNERS)]
    irises = np.linalg.norm(track.shape[IRISES[1]] - track.shape[IRISES[0]])
    assert np.linalg.norm(right - left) * irises == pytest.approx(CORNER_DISTANCE * IRIS_DISTANCE)
    assert (left + right) / 2 == pytest.approx(np.array([0, BELOW_EYES, BEHIND_EYES]), abs=1e-9)
    assert left[1:] == pytest.approx(right[1:], abs=1e-9)
    lean = track.shape[NOSE_ROOT] - track.shape[NOSE_BASE]
    assert np.arctan2(-lean[2], lean[1]) == pytest.approx(NOSE_LEANS, abs=1e-9)
    c2w = track.c2w()
    assert np.einsum("fij,fkj->fik", c2w[:, :3, :3], c2w[:, :3, :3]) == pytest.approx(np.tile(np.eye(3), (120, 1, 1)), abs=1e-9)
    assert (c2w[:, 2, 3] > 0.5).all()


def test_expression_is_the_mouth_and_not_the_turning_head() -> None:
    scene = make_scene(noise=0.2)
    track, _ = fit_track(scene.mesh, np.ones(120), SIZE, FOCAL)
    found = find_expression(scene.mesh, track, 109, SIZE, FOCAL)
    assert found.displacement.shape == (120, 68, 3)
    assert found.displacement.dtype == np.float32
    assert np.abs(found.displacement[:109]).max() == pytest.approx(0.95, abs=1e-5)
    assert np.abs(found.displacement).max() <= 1
    assert np.abs(found.displacement[:109].mean(0)).max() < 1e-4
    opening = (found.displacement[:, 62, 1] - found.displacement[:, 66, 1]) / found.scale
    assert np.corrcoef(opening, scene.opening)[0, 1] > OPENING_CORRELATION
    assert np.ptp(opening) == pytest.approx(np.ptp(scene.opening), rel=0.15)
    still = [k for k in range(68) if k not in (57, 58, 56, 66, 67, 65, 55, 59)]
    assert np.abs(found.displacement[:, still] / found.scale).max() < 0.003


def test_landmarks_reproject_to_their_pixels() -> None:
    scene = make_scene()
    track, _ = fit_track(scene.mesh, np.ones(120), SIZE, FOCAL)
    found = find_expression(scene.mesh, track, 109, SIZE, FOCAL)
    seen = track.project(found.base + found.displacement / found.scale)
    pixels = SIZE / 2 + seen * FOCAL * [1, -1]
    assert np.linalg.norm(pixels - mesh_to_68(scene.mesh)[..., :2], axis=-1).mean() < 0.5


def test_a_head_that_goes_aside_does_not_turn() -> None:
    """Its other side comes into view: 13 degrees here from end to end."""
    scene = make_scene(noise=0.33, aside=0.1)
    track, _ = fit_track(scene.mesh, np.ones(120), SIZE, FOCAL)
    assert pose_error(track, scene) < POSE_NOISY


def test_nods_of_a_mesh_are_forgiven_and_nothing_else() -> None:
    scene = make_scene()
    true = Bundle(align_meshes(scene.mesh, SIZE, FOCAL).shape, scene.rotation.as_matrix(), scene.translation)
    camera = true.shape @ true.rotation.transpose(0, 2, 1) + true.translation[:, None]
    seen = Sightings(
        camera[..., :2] / -camera[..., 2:], np.tile(np.eye(2) * 1e7, (*camera.shape[:2], 1, 1)), np.ones(len(true.shape))
    )
    for axis, kept in ((0, 0.2), (1, 0.9), (2, 0.9)):
        middle = camera.mean(1)
        turn = Rotation.from_rotvec(np.deg2rad(1.0) * np.eye(3)[axis]).as_matrix()
        turned = Bundle(true.shape, turn @ true.rotation, (true.translation - middle) @ turn.T + middle)
        before, after = (
            np.square(find_residual(points, turned)).mean() ** 0.5 for points in (seen, forgive_nods(seen, turned))
        )
        assert (after < kept * before) == (axis == 0)
