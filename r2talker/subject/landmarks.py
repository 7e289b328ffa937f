"""The 68 points of the iBUG scheme on the procedural face, exact: they move by the same map as the drawn skin."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from r2talker.subject.face import MOUTH_HALF_WIDTH, Expression, Influence, brow_line, eye_opening, lip_height, lip_line
from r2talker.subject.shape import CENTRE, INNER_CORNER, OUTER_CORNER, cast, face_distance
from r2talker.subject.skin import skin_points

# The head frame has the outer eye corners this far in front of its origin (metres).
CORNER_DEPTH = 0.065
LOWER_SIDE = (*range(3, 14), *range(55, 60), *range(65, 68))


class Landmarks:
    """Rest points of the 68 landmarks, ready to be moved.

    shift: what to add to the depth z of modelled points to bring them into the head frame.
    """

    def __init__(self) -> None:
        points = _bare_points()
        self._upper, self._lower = (Influence.of(points, side) for side in ("upper", "lower"))
        self._on_lower = np.isin(np.arange(68), LOWER_SIDE)
        self.shift = 0.0
        self.shift = float(CORNER_DEPTH - self.place(Expression())[[36, 45], 2].mean())

    def place(self, expression: Expression) -> Float[ndarray, "68 3"]:
        """Positions in the head frame, metres."""
        points = np.where(self._on_lower[:, None], self._lower.apply(expression), self._upper.apply(expression)).astype(
            np.float64
        )
        return points + np.array([0, 0, self.shift])


def _bare_points() -> Float[ndarray, "68 3"]:
    front = np.array(_front_positions())
    return np.concatenate([_jaw_points(), skin_points(front[:, 0], front[:, 1])]).astype(np.float32)


def _jaw_points() -> Float[ndarray, "17 3"]:
    """The outline of the face as seen from the front, from ear to ear over the chin."""
    around = np.radians(np.linspace(22, -90, 9, dtype=np.float32))
    lean = np.radians(np.linspace(0, 65, 200, dtype=np.float32))
    psi, eta = np.meshgrid(around, lean, indexing="ij")
    towards = np.stack([np.cos(psi) * np.cos(eta), np.sin(psi) * np.cos(eta), np.sin(eta)], -1)
    surface = cast(np.arctan2(towards[..., 0], towards[..., 2]), np.arcsin(towards[..., 1]), face_distance)
    furthest = np.argmax(np.hypot(surface[..., 0], surface[..., 1] - CENTRE[1]), 1)
    right = surface[np.arange(9), furthest]
    right[-1, 0] = 0
    return np.concatenate([right * np.array([-1, 1, 1]), right[-2::-1]])


def _front_positions() -> list[tuple[float, float]]:
    """(x, y) of points 17 to 67 at rest."""
    brow = np.linspace(0.0495, 0.0145, 5)
    left_brow = [(-float(x), float(brow_line(np.array(x)))) for x in brow]
    right_brow = [(-x, y) for x, y in reversed(left_brow)]
    nose = [(0.0, 0.030), (0.0, 0.0145), (0.0, -0.001), (0.0, -0.0155)]
    nose += [(-0.0130, -0.0235), (-0.0065, -0.0262), (0.0, -0.0275), (0.0065, -0.0262), (0.0130, -0.0235)]
    outer, inner = OUTER_CORNER, INNER_CORNER
    near_outer, near_inner = (inner[0] + q * (outer[0] - inner[0]) for q in (0.68, 0.33))
    lids = {x: tuple(float(y) for y in eye_opening(np.array(x))) for x in (near_outer, near_inner)}
    left_eye = [(-outer[0], outer[1]), (-near_outer, lids[near_outer][1]), (-near_inner, lids[near_inner][1])]
    left_eye += [(-inner[0], inner[1]), (-near_inner, lids[near_inner][0]), (-near_outer, lids[near_outer][0])]
    right_eye = [(-left_eye[k][0], left_eye[k][1]) for k in (3, 2, 1, 0, 5, 4)]
    return left_brow + right_brow + nose + left_eye + right_eye + _mouth_positions()


def _mouth_positions() -> list[tuple[float, float]]:
    def at(share: float, side: str | None = None) -> tuple[float, float]:
        x = np.array(share * MOUTH_HALF_WIDTH)
        y = float(lip_line(x))
        if side == "upper":
            y += float(lip_height(x, "upper"))
        elif side == "lower":
            y -= float(lip_height(x, "lower"))
        return float(x), y

    outer = [at(-1), *(at(s, "upper") for s in (-0.64, -0.22, 0, 0.22, 0.64)), at(1)]
    outer += [at(s, "lower") for s in (0.66, 0.33, 0, -0.33, -0.66)]
    inner = [at(s) for s in (-0.88, -0.35, 0, 0.35, 0.88, 0.35, 0, -0.35)]
    return outer + inner
