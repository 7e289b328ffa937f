"""By how many frames the sound of a clip lags behind its picture, found from how well sound predicts the lips.

Recordings are often a frame or two out of step. The predictor is linear (ridge), sees 160 ms of sound, and is moved to and fro;
its held-out correlation has a broad hump whose centre is compared with that of clips in step.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from r2talker.drive.lips import lip_distances
from r2talker.drive.log_mel import ROWS_PER_FRAME, LogMel

MOST_FRAMES = 4
FEWEST_FRAMES = 200
"""Eight seconds: shorter clips cannot tell, and count as in step."""

IN_STEP_ROWS = 2.5
"""Where the hump of clips in step is centred, in 20 ms rows: lips move ahead of their sound."""

_HALF_WINDOW = 4
_RIDGE = 100.0
_FOLDS = 6
_SECOND = 25
_WEAKEST = 0.2
_HUMP_SHARE = 0.6
_DOUBT = 0.25


@dataclass(frozen=True)
class SoundLag:
    """frames: by which the sound comes late (negative: early). late: the same before rounding, NaN where nothing can be told.

    rows, scores: how well the sound, moved by so many 20 ms rows, predicts the lips (mean held-out correlation).
    """

    frames: int
    late: float
    rows: Int[Tensor, " lags"]
    scores: Float[Tensor, " lags"]


def find_sound_lag(samples: Float[Tensor, " samples"], landmarks: Float[Tensor, "frames 68 3"]) -> int:
    """Frames by which the sound comes late (negative: early), at most 4; 0 where the clip or the sound says too little
    and where less than three quarters of a frame is seen."""
    return measure_sound_lag(samples, landmarks).frames


def measure_sound_lag(samples: Float[Tensor, " samples"], landmarks: Float[Tensor, "frames 68 3"]) -> SoundLag:
    """The lag, and the curve that it was read from; without the curve for clips below FEWEST_FRAMES."""
    if landmarks.shape[0] < FEWEST_FRAMES:
        return SoundLag(0, math.nan, torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    lips = lip_distances(landmarks)
    lips = lips - avg_pool1d(pad(lips.T[:, None], (_SECOND // 2,) * 2, mode="replicate"), _SECOND, stride=1)[:, 0].T
    lips = lips / lips.std(0).clamp_min(1e-9)
    bands = LogMel(24)(samples)
    rows = torch.arange(-8, 14, 2)
    scores = torch.tensor([_predictability(bands, lips, int(row)) for row in rows])
    if scores.max() < _WEAKEST:
        return SoundLag(0, math.nan, rows, scores)
    hump = (scores - _HUMP_SHARE * scores.max()).clamp_min(0)
    late = (float((hump * rows).sum() / hump.sum()) - IN_STEP_ROWS) / ROWS_PER_FRAME
    frames = min(int(abs(late) + _DOUBT), MOST_FRAMES)
    return SoundLag(frames if late > 0 else -frames, late, rows, scores)


def _predictability(rows: Float[Tensor, "rows bands"], lips: Float[Tensor, "frames pairs"], lag: int) -> float:
    """Mean correlation of the lips with their prediction from the rows `lag` later, over folds in time."""
    frames, reach = lips.shape[0], _HALF_WINDOW + abs(lag)
    after = max(0, ROWS_PER_FRAME * frames - rows.shape[0]) + reach
    padded = pad(rows.T[None], (reach, after), mode="replicate")[0].T
    windows = padded.unfold(0, 2 * _HALF_WINDOW, 1)[reach - _HALF_WINDOW + lag :: ROWS_PER_FRAME][:frames].flatten(1)
    windows = (windows - windows.mean(0)) / windows.std(0).clamp_min(1e-6)
    fold = torch.arange(frames) * _FOLDS // frames
    predicted = torch.zeros_like(lips)
    penalty = _RIDGE * torch.eye(windows.shape[1])
    for k in range(_FOLDS):
        known = fold != k
        weights = torch.linalg.solve(windows[known].T @ windows[known] + penalty, windows[known].T @ lips[known])
        predicted[~known] = windows[~known] @ weights
    a, b = predicted - predicted.mean(0), lips - lips.mean(0)
    return float(((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp_min(1e-9)).mean())
