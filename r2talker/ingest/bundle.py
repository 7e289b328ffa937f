"""Bundle adjustment: the person's rigid shape and all head poses at once, from image points alone.

Camera frame (upstream.md 2.1): x right, y up, looking along -z; a point X of the head is at R X + t and projects to
(x / -z, y / -z), the normalised coordinates ((u - cx) / f, (cy - v) / f). Gauss-Newton with Levenberg damping (Triggs et al.
2000, "Bundle Adjustment - A Modern Synthesis"); poses are eliminated first, because the smoothness terms make their block
banded.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solveh_banded
from scipy.spatial.transform import Rotation

_ITERATIONS = 40
_STOP = 1e-4
# Points of one face share part of their error (measured: about half of it): P points say less than P independent ones.
_SHARED_ERROR = 6.0
# What a head does from one picture to the next, beyond going on as before (25 fps): rotation in radians, position in metres.
_TURN = np.deg2rad(0.1)
_MOVE = np.array([0.0008, 0.0008, 0.0015])
# How far the shape may go from the mesh's own mean shape, metres: depth is hard to see in a clip that hardly turns.
_SHAPE = np.array([0.004, 0.004, 0.003])
# Neighbouring pose blocks touch over two pictures, hence 17 lower diagonals.
_BAND = 18


@dataclass(frozen=True)
class Bundle:
    """shape: rigid points in the head frame; rotation, translation: head to camera; error: rms residual."""

    shape: Float[np.ndarray, "points 3"]
    rotation: Float[np.ndarray, "frames 3 3"]
    translation: Float[np.ndarray, "frames 3"]
    error: float


def adjust_bundle(
    observed: Float[np.ndarray, "frames points 2"],
    start: Bundle,
    prior: Float[np.ndarray, "points 3"],
    noise: float,
    confidence: Float[np.ndarray, " frames"],
) -> Bundle:
    """Improve shape and poses so that the points project to `observed` (normalised coordinates) and the poses are smooth.

    noise: standard deviation of one observed coordinate; larger residuals count less (soft L1). confidence: 0 for pictures
    whose points are interpolated, 1 otherwise. start: a shape in metres and poses near the truth. prior: the shape to stay
    near where the clip does not show it.
    """
    state = start
    damping = 1e-3
    problem = _Problem(observed, prior, noise, confidence)
    cost = problem.cost(state)
    for _ in range(_ITERATIONS):
        equations = problem.linearise(state)
        while True:
            proposal = problem.step(state, equations, damping)
            new_cost = problem.cost(proposal)
            if new_cost <= cost or damping > 1e6:
                break
            damping *= 8
        gain = (cost - new_cost) / cost
        if new_cost <= cost:
            state, cost, damping = proposal, new_cost, max(damping / 8, 1e-7)
        if gain < _STOP:
            break
    residual = problem.residual(state)[confidence > 0]
    return Bundle(state.shape, state.rotation, state.translation, float(np.sqrt(np.square(residual).sum(-1).mean())))


@dataclass(frozen=True)
class _Equations:
    """Normal equations: banded pose block, pose-shape block, shape block, right-hand sides."""

    band: np.ndarray
    cross: np.ndarray
    shape: np.ndarray
    pose_side: np.ndarray
    shape_side: np.ndarray


class _Problem:
    def __init__(self, observed: np.ndarray, prior: np.ndarray, noise: float, confidence: np.ndarray) -> None:
        self.observed, self.prior, self.noise = observed, prior, noise
        self.weight = confidence[:, None] / _SHARED_ERROR

    def residual(self, state: Bundle) -> np.ndarray:
        camera = state.shape @ state.rotation.transpose(0, 2, 1) + state.translation[:, None]
        return camera[..., :2] / -camera[..., 2:] - self.observed

    def cost(self, state: Bundle) -> float:
        squares = np.square(self.residual(state) / self.noise).sum(-1)
        turn, move = _accelerations(state)
        data = (self.weight * _soft(squares)).sum()
        smooth = _soft(np.square(turn / _TURN).sum(-1)).sum() + _soft(np.square(move / _MOVE).sum(-1)).sum()
        return float(data + smooth + np.square((state.shape - self.prior) / _SHAPE).sum())

    def linearise(self, state: Bundle) -> _Equations:
        frames, points = self.observed.shape[:2]
        turned = state.shape @ state.rotation.transpose(0, 2, 1)
        camera = turned + state.translation[:, None]
        residual = self.residual(state)
        inverse = -1 / camera[..., 2]
        zero = np.zeros_like(inverse)
        by_point = np.stack(
            [
                np.stack([inverse, zero, camera[..., 0] * inverse**2], -1),
                np.stack([zero, inverse, camera[..., 1] * inverse**2], -1),
            ],
            -2,
        )
        x, y, z = np.moveaxis(turned, -1, 0)
        by_turn = np.stack([np.stack([zero, z, -y], -1), np.stack([-z, zero, x], -1), np.stack([y, -x, zero], -1)], -2)
        by_pose = np.concatenate([by_point @ by_turn, by_point], -1)
        by_shape = by_point @ state.rotation[:, None]
        scale = self.weight * _soft_weight(np.square(residual / self.noise).sum(-1)) / self.noise**2
        weighted = by_pose * scale[..., None, None]
        hessian = np.einsum("fpia,fpib->fab", weighted, by_pose, optimize=True)
        pose_side = -np.einsum("fpia,fpi->fa", weighted, residual, optimize=True)
        cross = np.einsum("fpia,fpib->fapb", weighted, by_shape, optimize=True).reshape(frames * 6, points * 3)
        own = np.einsum("fpia,fpib,fp->pab", by_shape, by_shape, scale, optimize=True)
        shape = np.zeros((points, 3, points, 3))
        shape[np.arange(points), :, np.arange(points)] = own + np.diag(_SHAPE**-2)
        shape_side = -np.einsum("fpia,fpi,fp->pa", by_shape, residual, scale, optimize=True)
        shape_side += (self.prior - state.shape) / _SHAPE**2
        band = np.zeros((_BAND, frames * 6))
        for row in range(6):
            for column in range(row + 1):
                band[row - column, column::6] += hessian[:, row, column]
        _add_smoothness(band, pose_side, state)
        return _Equations(band, cross, shape.reshape(points * 3, -1), pose_side.reshape(-1), shape_side.reshape(-1))

    def step(self, state: Bundle, equations: _Equations, damping: float) -> Bundle:
        band, shape = equations.band.copy(), equations.shape.copy()
        # A pinch of the mean keeps pictures without any weight solvable.
        band[0] = band[0] * (1 + damping) + 1e-9 * band[0].mean()
        shape[np.diag_indices_from(shape)] *= 1 + damping
        try:
            solved = solveh_banded(band, np.column_stack([equations.cross, equations.pose_side]), lower=True)
            reduced = shape - equations.cross.T @ solved[:, :-1]
            shape_step = cho_solve(cho_factor(reduced), equations.shape_side - equations.cross.T @ solved[:, -1])
        except LinAlgError:
            return state
        pose_step = (solved[:, -1] - solved[:, :-1] @ shape_step).reshape(-1, 6)
        rotation = Rotation.from_rotvec(pose_step[:, :3]).as_matrix() @ state.rotation
        return Bundle(state.shape + shape_step.reshape(-1, 3), rotation, state.translation + pose_step[:, 3:], 0.0)


def _soft(squares: np.ndarray) -> np.ndarray:
    return 2 * (np.sqrt(1 + squares) - 1)


def _soft_weight(squares: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(1 + squares)


def _accelerations(state: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Second differences of the poses: turn in radians, move in metres."""
    between = Rotation.from_matrix(state.rotation[1:] @ state.rotation[:-1].transpose(0, 2, 1)).as_rotvec()
    return np.diff(between, axis=0), np.diff(state.translation, n=2, axis=0)


def _add_smoothness(band: np.ndarray, side: np.ndarray, state: Bundle) -> None:
    """Add the normal equations of the accelerations; neighbours turn about nearly equal axes, taken as the same."""
    turn, move = _accelerations(state)
    turn_weight = _soft_weight(np.square(turn / _TURN).sum(-1))[:, None] / np.full(3, _TURN) ** 2
    move_weight = _soft_weight(np.square(move / _MOVE).sum(-1))[:, None] / _MOVE**2
    weight = np.concatenate([turn_weight, move_weight], 1)
    value = np.concatenate([turn, move], 1)
    count, stencil = len(value), (1.0, -2.0, 1.0)
    for first in range(3):
        side[first : first + count] -= stencil[first] * weight * value
        for second in range(first + 1):
            diagonal = band[6 * (first - second)].reshape(-1, 6)
            diagonal[second : second + count] += stencil[first] * stencil[second] * weight
