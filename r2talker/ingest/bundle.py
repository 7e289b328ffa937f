"""Bundle adjustment: the person's rigid shape and all head poses at once, from image points alone.

Camera frame (upstream.md 2.1): x right, y up, looking along -z; a point X of the head is at R X + t and projects to
(x / -z, y / -z), the normalised coordinates ((u - cx) / f, (cy - v) / f). Gauss-Newton with Levenberg damping (Triggs et al.
2000, "Bundle Adjustment - A Modern Synthesis"); poses are eliminated first, because the smoothness terms make their block
banded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cho_solve_banded, cholesky_banded, solve_triangular
from scipy.linalg.blas import dsyrk
from scipy.spatial.transform import Rotation

from r2talker.ingest.pictures import map_ordered

_ITERATIONS = 40
_STOP = 1e-4
# What a head does from one picture to the next, beyond going on as before (25 fps): rotation in radians, position in metres.
_TURN = np.deg2rad(0.1)
_MOVE = np.array([0.0008, 0.0008, 0.0015])
# Neighbouring pose blocks touch over two pictures, hence 17 lower diagonals.
_BAND = 18
# Pictures whose derivatives are in memory at once.
_TOGETHER = 32


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


def forgive_nods(seen: Sightings, state: Bundle) -> Sightings:
    """The first points of `state` as they were seen, but for the nodding about their middle, which is taken from `state`.

    A mesh net sees where a face is, its turning, its tilt and its size, but half of the nodding.
    """
    shape = state.shape[: seen.points.shape[1]]
    turned = shape @ state.rotation.transpose(0, 2, 1)
    inverse = -1 / (turned[..., 2] + state.translation[:, None, 2])
    middle = turned - turned.mean(1, keepdims=True)
    projected = (turned[..., :2] + state.translation[:, None, :2]) * inverse[..., None]
    nod = np.stack([projected[..., 0] * middle[..., 1], projected[..., 1] * middle[..., 1] - middle[..., 2]], -1)
    nod *= inverse[..., None]
    nod -= nod.mean(1, keepdims=True)
    angle = ((projected - seen.points) * nod).sum((1, 2)) / np.square(nod).sum((1, 2))
    return Sightings(seen.points + angle[:, None, None] * nod, seen.precision, seen.weight)


@dataclass(frozen=True)
class _Equations:
    """Normal equations but for the block between poses and shape, which is made anew where it is needed: it alone grows with
    pictures times points. Banded pose block, the shape's own 3 x 3 blocks, right-hand sides; the shape's are empty if kept.
    """

    band: Float[np.ndarray, "{_BAND} unknowns"]
    shape: Float[np.ndarray, "points 3 3"]
    pose_side: Float[np.ndarray, " unknowns"]
    shape_side: Float[np.ndarray, " coordinates"]


@dataclass(frozen=True)
class _Rows:
    """What some pictures say, whitened: derivatives by pose (turn, move) and by shape, and the residuals."""

    by_pose: Float[np.ndarray, "frames points 2 6"]
    by_shape: Float[np.ndarray, "frames points 2 3"]
    residual: Float[np.ndarray, "frames points 2"]

    def cross(self) -> Float[np.ndarray, "unknowns coordinates"]:
        """The block of the normal equations between these poses and the shape."""
        frames, points = self.residual.shape[:2]
        block = np.empty((frames, 6, points, 3))
        for column in range(6):
            first, second = self.by_pose[:, :, 0, column, None], self.by_pose[:, :, 1, column, None]
            block[:, column] = first * self.by_shape[:, :, 0] + second * self.by_shape[:, :, 1]
        return block.reshape(frames * 6, points * 3)


class _Problem:
    def __init__(self, seen: Sightings, prior: np.ndarray, spread: np.ndarray | None) -> None:
        self.seen, self.prior, self.spread = seen, prior, spread
        # Transposed Cholesky factors of the 2 x 2 precisions, written out: most of the time goes into these small blocks.
        first = np.sqrt(seen.precision[..., 0, 0])
        mixed = seen.precision[..., 0, 1] / np.maximum(first, 1e-12)
        second = np.sqrt(np.maximum(seen.precision[..., 1, 1] - mixed**2, 0))
        self.first, self.mixed, self.second = first, mixed, second

    def blocks(self) -> Iterator[slice]:
        """The pictures, some at a time."""
        frames = len(self.seen.points)
        return (slice(start, min(start + _TOGETHER, frames)) for start in range(0, frames, _TOGETHER))

    def look(self, state: Bundle, some: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points turned and in camera space [frames, points, 3], and the whitened residuals [frames, points, 2]."""
        turned = state.shape @ state.rotation[some].transpose(0, 2, 1)
        camera = turned + state.translation[some, None]
        apart = camera[..., :2] / -camera[..., 2:] - self.seen.points[some]
        first = self.first[some] * apart[..., 0] + self.mixed[some] * apart[..., 1]
        return turned, camera, np.stack([first, self.second[some] * apart[..., 1]], -1)

    def cost(self, state: Bundle) -> float:
        seen = 0.0
        for some in self.blocks():
            residual = self.look(state, some)[2]
            seen += float((_soft(np.square(residual).sum(-1)) * self.seen.weight).sum())
        turn, move = _accelerations(state)
        smooth = _soft(np.square(turn / _TURN).sum(-1)).sum() + _soft(np.square(move / _MOVE).sum(-1)).sum()
        away = 0.0 if self.spread is None else np.square((state.shape - self.prior) / self.spread).sum()
        return seen + float(smooth + away)

    def differentiate(self, state: Bundle, some: slice) -> _Rows:
        """Rows of the linear problem about `state` for some pictures, robust weights included."""
        turned, camera, residual = self.look(state, some)
        weight = np.sqrt(_soft_weight(np.square(residual).sum(-1)) * self.seen.weight)
        inverse = -1 / camera[..., 2]
        u, v = camera[..., 0] * inverse**2, camera[..., 1] * inverse**2
        first, mixed, second = (factor[some] * weight for factor in (self.first, self.mixed, self.second))
        by_pose = np.zeros((*residual.shape, 6))
        by_point = by_pose[..., 3:]
        by_point[:, :, 0, 0], by_point[:, :, 0, 1] = first * inverse, mixed * inverse
        by_point[:, :, 0, 2] = first * u + mixed * v
        by_point[:, :, 1, 1], by_point[:, :, 1, 2] = second * inverse, second * v
        # A turn w moves a point at X by w x X.
        for axis, (after, last) in enumerate(((1, 2), (2, 0), (0, 1))):
            by_pose[..., axis] = (
                turned[:, :, None, after] * by_point[..., last] - turned[:, :, None, last] * by_point[..., after]
            )
        frames, points = residual.shape[:2]
        by_shape = by_point.reshape(frames, points * 2, 3) @ state.rotation[some]
        return _Rows(by_pose, by_shape.reshape(frames, points, 2, 3), residual * weight[..., None])

    def linearise(self, state: Bundle) -> _Equations:
        frames, points = self.seen.points.shape[:2]
        band, pose_side = np.zeros((_BAND, frames * 6)), np.zeros((frames, 6))
        shape, shape_side = np.zeros((points, 3, 3)), np.zeros((points, 3))
        for some in self.blocks():
            rows = self.differentiate(state, some)
            poses = rows.by_pose.reshape(len(rows.residual), points * 2, 6)
            hessian = poses.transpose(0, 2, 1) @ poses
            pose_side[some] = -np.einsum("frj,fr->fj", poses, rows.residual.reshape(len(poses), -1))
            for row in range(6):
                for column in range(row + 1):
                    band[row - column, column + 6 * some.start : 6 * some.stop : 6] += hessian[:, row, column]
            if self.spread is not None:
                vertices = rows.by_shape.transpose(1, 3, 0, 2).reshape(points, 3, -1)
                shape += vertices @ vertices.transpose(0, 2, 1)
                shape_side -= np.einsum("pjr,pr->pj", vertices, rows.residual.transpose(1, 0, 2).reshape(points, -1))
        _add_smoothness(band, pose_side, state)
        if self.spread is None:
            return _Equations(band, np.zeros((0, 3, 3)), pose_side.reshape(-1), np.zeros(0))
        shape += np.diag(self.spread**-2)
        shape_side += (self.prior - state.shape) / self.spread**2
        return _Equations(band, shape, pose_side.reshape(-1), shape_side.reshape(-1))

    def step(self, state: Bundle, equations: _Equations, damping: float) -> Bundle:
        band = equations.band.copy()
        # A pinch of the mean keeps pictures without any weight solvable.
        band[0] = band[0] * (1 + damping) + 1e-9 * band[0].mean()
        try:
            factor = cholesky_banded(band, lower=True, overwrite_ab=True, check_finite=False)
            if self.spread is None:
                shape, side = state.shape, equations.pose_side
            else:
                moves = self.solve_shape(state, equations, factor, damping)
                shape = state.shape + moves
                side = equations.pose_side - self.pull_of_shape(state, moves)
        except LinAlgError:
            return state
        pose_step = cho_solve_banded((factor, True), side, check_finite=False).reshape(-1, 6)
        rotation = Rotation.from_rotvec(pose_step[:, :3]).as_matrix() @ state.rotation
        return Bundle(shape, rotation, state.translation + pose_step[:, 3:])

    def solve_shape(
        self, state: Bundle, equations: _Equations, factor: np.ndarray, damping: float
    ) -> Float[np.ndarray, "points 3"]:
        """The shape's step, poses eliminated: with L the factor of their block and B the block between, the reduced equations
        are C - (L^-1 B)^T L^-1 B, whose rows need no more than the block of pictures before them."""
        points = len(state.shape)
        own = equations.shape.copy()
        own[:, range(3), range(3)] *= 1 + damping
        reduced = np.zeros((points, 3, points, 3), order="C")
        reduced[range(points), :, range(points)] = own
        # Symmetric, so the transpose is as good; BLAS adds to arrays in Fortran's order in place.
        reduced = reduced.reshape(points * 3, -1).T
        side = equations.shape_side.copy()
        before: np.ndarray | None = None

        def gather(some: slice) -> tuple[slice, np.ndarray]:
            rows = slice(some.start * 6, some.stop * 6)
            return rows, np.column_stack([self.differentiate(state, some).cross(), equations.pose_side[rows]])

        for rows, block in map_ordered(gather, self.blocks()):
            before = _eliminate(factor[:, rows], _reach_back(factor, rows.start), block, before)
            reduced = dsyrk(-1.0, before[:, :-1], beta=1.0, c=reduced, trans=1, overwrite_c=1)
            side -= before[:, :-1].T @ before[:, -1]
        moves: np.ndarray = cho_solve(cho_factor(reduced, check_finite=False), side, check_finite=False)
        return moves.reshape(points, 3)

    def pull_of_shape(self, state: Bundle, moves: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " unknowns"]:
        """What a step of the shape does to the right-hand sides of the poses."""
        pulls = []
        for some in self.blocks():
            rows = self.differentiate(state, some)
            moved = np.einsum("fpij,pj->fpi", rows.by_shape, moves).reshape(len(rows.residual), -1)
            pulls.append(np.einsum("frj,fr->fj", rows.by_pose.reshape(*moved.shape, 6), moved))
        return np.concatenate(pulls).reshape(-1)


def _reach_back(factor: Float[np.ndarray, "{_BAND} unknowns"], start: int) -> Float[np.ndarray, "{_BAND}-1 {_BAND}-1"]:
    """How the rows from `start` on hang on those before them, in a lower banded factor."""
    reach = _BAND - 1
    back = np.zeros((reach, reach))
    if start:
        row, column = np.triu_indices(reach)
        back[row, column] = factor[reach + row - column, start - reach + column]
    return back


def _eliminate(
    factor: Float[np.ndarray, "{_BAND} rows"],
    back: Float[np.ndarray, "{_BAND}-1 {_BAND}-1"],
    block: Float[np.ndarray, "rows columns"],
    before: Float[np.ndarray, "rows_before columns"] | None,
) -> Float[np.ndarray, "rows columns"]:
    """The next rows of L^-1 `block`, given the rows before them."""
    reach = _BAND - 1
    if before is not None:
        block[:reach] -= back[: len(block)] @ before[-reach:]
    # Dense, because a triangle for many right-hand sides is what BLAS is good at; the blocks are small.
    triangle = np.zeros((len(block), len(block)))
    for below in range(min(_BAND, len(block))):
        np.fill_diagonal(triangle[below:], factor[below])
    solved: np.ndarray = solve_triangular(triangle, block, lower=True, overwrite_b=True, check_finite=False)
    return solved


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
