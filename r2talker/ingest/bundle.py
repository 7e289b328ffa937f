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
# What a head does from one picture to the next, beyond going on as before (25 fps): rotation in radians, position in metres.
_TURN = np.deg2rad(0.1)
_MOVE = np.array([0.0008, 0.0008, 0.0015])
# Neighbouring pose blocks touch over two pictures, hence 17 lower diagonals.
_BAND = 18


@dataclass(frozen=True)
class Sightings:
    """Where points were seen: normalised coordinates, and the inverse covariance of each (all zero: not seen).

    weight: how much of what a point says is its own; the points of one face share part of their error.
    """

    points: Float[np.ndarray, "frames points 2"]
    precision: Float[np.ndarray, "frames points 2 2"]
    weight: Float[np.ndarray, " points"]

    def join(self, other: "Sightings") -> "Sightings":
        """These points, then the other ones."""
        return Sightings(
            np.concatenate([self.points, other.points], 1),
            np.concatenate([self.precision, other.precision], 1),
            np.concatenate([self.weight, other.weight]),
        )


@dataclass(frozen=True)
class Bundle:
    """shape: rigid points in the head frame; rotation, translation: head to camera."""

    shape: Float[np.ndarray, "points 3"]
    rotation: Float[np.ndarray, "frames 3 3"]
    translation: Float[np.ndarray, "frames 3"]


def adjust_bundle(seen: Sightings, start: Bundle, spread: Float[np.ndarray, " 3"] | None = None) -> Bundle:
    """Improve shape and poses so that the points project to where they were seen and the poses are smooth.

    Residuals beyond their standard deviation count less (soft L1). start: a shape in metres and poses near the truth. spread:
    standard deviation of the true shape about the given one, metres; None keeps the shape and moves the poses alone.
    """
    problem = _Problem(seen, start.shape, spread)
    state, damping = start, 1e-3
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
    return state


def find_residual(seen: Sightings, state: Bundle) -> Float[np.ndarray, "frames points 2"]:
    """Where the points project minus where they were seen, normalised coordinates."""
    camera = state.shape @ state.rotation.transpose(0, 2, 1) + state.translation[:, None]
    return camera[..., :2] / -camera[..., 2:] - seen.points


@dataclass(frozen=True)
class _Equations:
    """Normal equations: banded pose block, pose-shape block, shape block, right-hand sides; the shape's are empty if kept."""

    band: np.ndarray
    cross: np.ndarray
    shape: np.ndarray
    pose_side: np.ndarray
    shape_side: np.ndarray


class _Problem:
    def __init__(self, seen: Sightings, prior: np.ndarray, spread: np.ndarray | None) -> None:
        self.seen, self.prior, self.spread = seen, prior, spread
        # Transposed Cholesky factors of the 2 x 2 precisions, written out: most of the time goes into these small blocks.
        first = np.sqrt(seen.precision[..., 0, 0])
        mixed = seen.precision[..., 0, 1] / np.maximum(first, 1e-12)
        second = np.sqrt(np.maximum(seen.precision[..., 1, 1] - mixed**2, 0))
        self.first, self.mixed, self.second = first, mixed, second

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """Multiply [frames, points, 2, ...] so that its square is measured in standard deviations."""
        shape = self.first.shape + (1,) * (values.ndim - 3)
        first, mixed, second = (factor.reshape(shape) for factor in (self.first, self.mixed, self.second))
        return np.stack([first * values[:, :, 0] + mixed * values[:, :, 1], second * values[:, :, 1]], 2)

    def cost(self, state: Bundle) -> float:
        squares = np.square(self.whiten(find_residual(self.seen, state))).sum(-1)
        turn, move = _accelerations(state)
        smooth = _soft(np.square(turn / _TURN).sum(-1)).sum() + _soft(np.square(move / _MOVE).sum(-1)).sum()
        away = 0.0 if self.spread is None else np.square((state.shape - self.prior) / self.spread).sum()
        return float((_soft(squares) * self.seen.weight).sum() + smooth + away)

    def linearise(self, state: Bundle) -> _Equations:
        frames, points = self.seen.points.shape[:2]
        by_pose, by_point = _derivatives(state)
        residual = self.whiten(find_residual(self.seen, state))
        scale = np.sqrt(_soft_weight(np.square(residual).sum(-1)) * self.seen.weight)[..., None]
        residual = (residual * scale).reshape(frames, points * 2, 1)
        by_pose = self.whiten(by_pose) * scale[..., None]
        rows = by_pose.reshape(frames, points * 2, 6)
        hessian = rows.transpose(0, 2, 1) @ rows
        pose_side = -(rows.transpose(0, 2, 1) @ residual)[..., 0]
        band = np.zeros((_BAND, frames * 6))
        for row in range(6):
            for column in range(row + 1):
                band[row - column, column::6] += hessian[:, row, column]
        _add_smoothness(band, pose_side, state)
        if self.spread is None:
            return _Equations(band, np.zeros((frames * 6, 0)), np.zeros((0, 0)), pose_side.reshape(-1), np.zeros(0))
        by_shape = self.whiten(np.einsum("fpij,fjk->fpik", by_point, state.rotation)) * scale[..., None]
        cross = by_pose[:, :, 0, :, None] * by_shape[:, :, 0, None] + by_pose[:, :, 1, :, None] * by_shape[:, :, 1, None]
        blocks = by_shape.transpose(1, 3, 0, 2).reshape(points, 3, frames * 2)
        shape = np.zeros((points, 3, points, 3))
        shape[np.arange(points), :, np.arange(points)] = blocks @ blocks.transpose(0, 2, 1) + np.diag(self.spread**-2)
        pull = residual.reshape(frames, points, 2).transpose(1, 0, 2).reshape(points, frames * 2, 1)
        shape_side = -(blocks @ pull)[..., 0] + (self.prior - state.shape) / self.spread**2
        return _Equations(
            band,
            cross.transpose(0, 2, 1, 3).reshape(frames * 6, points * 3),
            shape.reshape(points * 3, -1),
            pose_side.reshape(-1),
            shape_side.reshape(-1),
        )

    def step(self, state: Bundle, equations: _Equations, damping: float) -> Bundle:
        band, shape = equations.band.copy(), equations.shape.copy()
        # A pinch of the mean keeps pictures without any weight solvable.
        band[0] = band[0] * (1 + damping) + 1e-9 * band[0].mean()
        shape[np.diag_indices_from(shape)] *= 1 + damping
        try:
            solved = solveh_banded(band, np.column_stack([equations.cross, equations.pose_side]), lower=True)
            shape_step = np.zeros(0)
            if self.spread is not None:
                reduced = shape - equations.cross.T @ solved[:, :-1]
                shape_step = cho_solve(cho_factor(reduced), equations.shape_side - equations.cross.T @ solved[:, -1])
        except LinAlgError:
            return state
        pose_step = (solved[:, -1] - solved[:, :-1] @ shape_step).reshape(-1, 6)
        rotation = Rotation.from_rotvec(pose_step[:, :3]).as_matrix() @ state.rotation
        moved = state.shape if self.spread is None else state.shape + shape_step.reshape(-1, 3)
        return Bundle(moved, rotation, state.translation + pose_step[:, 3:])


def _derivatives(state: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Of the projections [frames, points, 2, .]: by a turn and a move of the pose (6), and by a move in camera space (3)."""
    turned = state.shape @ state.rotation.transpose(0, 2, 1)
    camera = turned + state.translation[:, None]
    inverse = -1 / camera[..., 2]
    u, v = camera[..., 0] * inverse**2, camera[..., 1] * inverse**2
    zero = np.zeros_like(inverse)
    x, y, z = np.moveaxis(turned, -1, 0)
    by_point = np.stack([np.stack([inverse, zero, u], -1), np.stack([zero, inverse, v], -1)], -2)
    by_turn = np.stack(
        [
            np.stack([u * y, inverse * z - u * x, -inverse * y], -1),
            np.stack([v * y - inverse * z, -v * x, inverse * x], -1),
        ],
        -2,
    )
    return np.concatenate([by_turn, by_point], -1), by_point


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
