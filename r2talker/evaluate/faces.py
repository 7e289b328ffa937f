"""The face in films, as the same detector sees it in the truth: landmarks, openings, and when the lips move."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8

from r2talker.data.points import eye_values
from r2talker.drive.sound_lag import SoundLag, measure_sound_lag
from r2talker.evaluate.areas import REFERENCE
from r2talker.evaluate.motion import MOST_LAG, SECOND, correlation

if TYPE_CHECKING:
    from r2talker.face.detector import FaceDetector

FEWEST = 25
"""Frames with a face that readings over time need."""

WEAKEST = 0.5
"""Openings that correlate less than this, however moved, say nothing about when the lips move."""

Points = Float[np.ndarray, "68 3"]
UNSEEN = np.full((68, 3), np.nan, np.float32)
"""Landmarks of a picture without a face."""

_MOUTH = slice(48, 68)


class FaceReader:
    """Finds the 68 landmarks of single pictures; make one with `open_faces`."""

    def __init__(self, detector: "FaceDetector") -> None:
        self._detector = detector

    def read(self, picture: UInt8[np.ndarray, "height width 3"]) -> Points:
        """Column, row, depth in pixels; NaN where no face is found."""
        from r2talker.face.topology import mesh_to_68

        found = self._detector.detect(np.ascontiguousarray(picture))
        return UNSEEN if found is None else mesh_to_68(found.mesh)


@contextmanager
def open_faces() -> Iterator[FaceReader | None]:
    """A reader for the block, or None on a machine without MediaPipe."""
    if find_spec("mediapipe") is None:
        yield None
        return
    from r2talker.face.detector import FaceDetector

    with FaceDetector(tracking=False) as detector:
        yield FaceReader(detector)


def landmark_distance(made: Points, true: Points, part: slice, height: int) -> float:
    """LMD (upstream.md 9): mean distance in the picture of the points of `part`, each set relative to its own mean, px at 512."""
    a, b = made[part, :2], true[part, :2]
    return float(np.linalg.norm((a - a.mean(0)) - (b - b.mean(0)), axis=-1).mean()) * REFERENCE / height


def mouth_distance(made: Points, true: Points, height: int) -> float:
    """`landmark_distance` of the lips' points 48 to 67."""
    return landmark_distance(made, true, _MOUTH, height)


def face_distance(made: Points, true: Points, height: int) -> float:
    """`landmark_distance` of all 68 points."""
    return landmark_distance(made, true, slice(None), height)


def mouth_opening(points: Points, height: int) -> float:
    """Distance of the inner lips' middles (62 to 66) in the picture, px at 512."""
    return float(np.linalg.norm(points[62, :2] - points[66, :2])) * REFERENCE / height


def eye_opening(points: Points, height: int) -> float:
    """Area of both eyes in percent of a square of the picture's height (upstream.md 2.7)."""
    return float(eye_values(points[None, :, :2], height)[0])


@dataclass(frozen=True)
class LipTiming:
    """How the opening of a film's mouth follows the truth's.

    correlation: Pearson's, frame by frame. late: milliseconds by which the film's mouth comes late (negative: early),
    NaN where it does not follow the truth's well enough to tell.
    """

    correlation: float
    late: float


def time_lips(made: Float[np.ndarray, " frames"], true: Float[np.ndarray, " frames"]) -> LipTiming | None:
    """Compare openings frame by frame, NaN where there is no face; None with fewer than FEWEST faces in either.

    The lag is where the openings, without their moving average of a second, correlate best when the film is moved by at most
    MOST_LAG frames: the top of the parabola through the best correlation, which must reach WEAKEST, and its neighbours.
    """
    known = np.isfinite(made) & np.isfinite(true)
    if known.sum() < FEWEST:
        return None
    lags, faster = list(range(-MOST_LAG, MOST_LAG + 1)), [_without_drift(_bridged(values)) for values in (made, true)]
    count = len(made)
    scores = []
    for lag in lags:
        late, early = faster[0][max(lag, 0) : count + min(lag, 0)], faster[1][max(-lag, 0) : count - max(lag, 0)]
        scores.append(correlation(torch.from_numpy(late), torch.from_numpy(early)))
    whole = correlation(torch.from_numpy(made[known]), torch.from_numpy(true[known]))
    return LipTiming(whole, 1000 / SECOND * _top(lags, scores) if max(scores) >= WEAKEST else math.nan)


def time_sound(points: Float[np.ndarray, "frames 68 3"], samples: Float[np.ndarray, " samples"]) -> SoundLag:
    """By how much the sound comes late against the lips of a film (negative: early), as docs/motion.md measures it.

    points: landmarks from the detector, column, row, depth; samples: 16 kHz, from the first of these frames on.
    """
    bridged = np.stack([_bridged(column) for column in points.reshape(len(points), -1).T], axis=1).reshape(points.shape)
    # Upwards and to the front, as landmarks of the head frame are.
    upright = bridged * np.array([1.0, -1.0, -1.0])
    return measure_sound_lag(torch.from_numpy(samples).float(), torch.from_numpy(upright).float())


def _bridged(values: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
    """Values with straight lines across missing ones; zeros if all are missing."""
    known = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(len(values)), known, values[known]) if len(known) else np.zeros(len(values))


def _without_drift(values: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
    """Without the moving average of a second; ends are repeated."""
    padded = np.pad(values, SECOND // 2, mode="edge")
    return values - np.convolve(padded, np.full(SECOND, 1 / SECOND), mode="valid")


def _top(lags: list[int], scores: list[float]) -> float:
    best = max(sorted(range(len(lags)), key=lambda k: abs(lags[k])), key=lambda k: scores[k])
    if not 0 < best < len(lags) - 1:
        return float(lags[best])
    left, middle, right = scores[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return lags[best] + (0.0 if math.isclose(bend, 0.0, abs_tol=1e-12) else 0.5 * (left - right) / bend)
