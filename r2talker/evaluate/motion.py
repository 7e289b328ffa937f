"""How well sound moves the lips: generated against tracked landmarks on frames that were not trained on.

Lip distances are those between 3D points, in the head frame. Correlations are Pearson's; `fast` ones after removing a
one-second moving average, because slow drifts of posture and mood are not in the sound.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from r2talker.drive.driver import generate_landmarks
from r2talker.drive.log_mel import HOP, ROWS_PER_FRAME, LogMel
from r2talker.drive.motion import MotionModel, advance_sound

SECOND = 25
MOST_LAG = 5
CLOSED_SHARE = 0.2
PAUSE_DECIBEL = 30.0
PAUSE_FRAMES = 5

_MOUTH = slice(48, 68)
_FRAME_SAMPLES = HOP * ROWS_PER_FRAME


@dataclass(frozen=True)
class LipCurves:
    """Inner lip opening (62-66), mouth width (48-54), outer lip height (51-57), in the unit of the landmarks."""

    opening: Float[Tensor, " frames"]
    width: Float[Tensor, " frames"]
    height: Float[Tensor, " frames"]


@dataclass(frozen=True)
class Correlations:
    """Correlation of generated with tracked lip curves."""

    opening: float
    width: float
    height: float

    @property
    def mean(self) -> float:
        return (self.opening + self.width + self.height) / 3


@dataclass(frozen=True)
class MotionScores:
    """raw, fast: correlations as they are and without the moving average of a second.

    mouth_error: mean distance of the 20 mouth points, metres; mouth_pixels: the same within the picture plane, pixels (NaN
    without a scale). still_error: mouth_error of a face that never moves from the tracked mean. lag: frames by which the
    generated curves come late (negative: early) where they fit best. closed_recall: share of the frames with closed lips in
    which the generated lips are closed too. jitter, tracked_jitter: root mean square second difference of the mouth points,
    metres.
    """

    raw: Correlations
    fast: Correlations
    mouth_error: float
    mouth_pixels: float
    still_error: float
    lag: int
    closed_recall: float
    jitter: float
    tracked_jitter: float


@dataclass(frozen=True)
class VoiceScores:
    """How a voice without a picture moves the lips.

    envelope: correlation of the opening with the syllable envelope. pause_opening: mean opening in pauses, as a share of its
    range (5 to 95 %) in the whole utterance; NaN without pauses. pauses: frames that count as pauses.
    """

    envelope: float
    pause_opening: float
    pauses: int


def lip_curves(landmarks: Float[Tensor, "frames 68 3"]) -> LipCurves:
    """Lip distances of landmark positions (displacements plus the rest shape)."""
    opening, width, height = ((landmarks[:, a] - landmarks[:, b]).norm(dim=-1) for a, b in ((62, 66), (48, 54), (51, 57)))
    return LipCurves(opening, width, height)


def evaluate_motion(
    model: MotionModel,
    samples: Float[Tensor, " samples"],
    landmarks: Float[Tensor, "frames 68 3"],
    frames: slice,
    *,
    landmark_base: Float[Tensor, "68 3"],
    landmark_scale: float = 1.0,
    pixels_per_metre: float | None = None,
) -> MotionScores:
    """Scores of `model` on `frames` of the clip it was trained on, generated from the whole sound of the clip.

    The lag of the clip's sound that training found is removed first. landmark_base (metres) and landmark_scale (units of
    `landmarks` per metre) are those of DatasetInfo. pixels_per_metre: at the face, that is focal / distance; give the focal
    length at 512 for pixels at 512. Raises ValueError for fewer than 2 seconds of frames.
    """
    generated = generate_landmarks(model, advance_sound(samples, int(model.sound_lag))).to(landmarks)
    count = min(generated.shape[0], landmarks.shape[0])
    made, tracked = (landmark_base + values[:count] / landmark_scale for values in (generated, landmarks))
    openings = lip_curves(tracked).opening
    return score_motion(made[frames], tracked[frames], reference=openings, pixels_per_metre=pixels_per_metre)


def score_motion(
    generated: Float[Tensor, "frames 68 3"],
    tracked: Float[Tensor, "frames 68 3"],
    *,
    reference: Float[Tensor, " others"] | None = None,
    pixels_per_metre: float | None = None,
) -> MotionScores:
    """Compare positions in metres. `reference`: tracked openings of the person that say what closed is (else `tracked`)."""
    if tracked.shape[0] < 2 * SECOND:
        raise ValueError(f"at least {2 * SECOND} frames are needed, got {tracked.shape[0]}")
    made, true = lip_curves(generated), lip_curves(tracked)
    offset = (generated - tracked)[:, _MOUTH]
    flat = offset[..., :2].norm(dim=-1).mean().item()
    return MotionScores(
        raw=correlate_curves(made, true),
        fast=correlate_curves(without_drift(made), without_drift(true)),
        mouth_error=offset.norm(dim=-1).mean().item(),
        mouth_pixels=float("nan") if pixels_per_metre is None else flat * pixels_per_metre,
        still_error=(tracked - tracked.mean(0))[:, _MOUTH].norm(dim=-1).mean().item(),
        lag=best_lag(made, true),
        closed_recall=_closed_recall(made.opening, true.opening, true.opening if reference is None else reference),
        jitter=_jitter(generated),
        tracked_jitter=_jitter(tracked),
    )


def best_lag(made: LipCurves, true: LipCurves) -> int:
    """Frames (at most 5) by which `made` comes later than `true` where the sum of the three fast correlations is largest."""
    made, true = without_drift(made), without_drift(true)

    def fit(lag: int) -> float:
        late = slice(max(lag, 0), None if lag >= 0 else lag)
        early = slice(max(-lag, 0), None if lag <= 0 else -lag)
        return correlate_curves(_cut(made, late), _cut(true, early)).mean

    # The smallest shift wins a tie.
    return max(sorted(range(-MOST_LAG, MOST_LAG + 1), key=abs), key=fit)


@torch.no_grad()
def evaluate_voice(model: MotionModel, samples: Float[Tensor, " samples"]) -> VoiceScores:
    """Scores of a voice of which there is no picture: opening with the syllables, closing in the pauses."""
    displacement = generate_landmarks(model, samples).cpu()
    # Along y, because the rest shape is not at hand.
    opening = displacement[:, 62, 1] - displacement[:, 66, 1]
    frames = opening.shape[0]
    envelope = syllable_envelope(samples, frames)
    quiet = envelope < envelope.max() - PAUSE_DECIBEL / 40
    pause = avg_pool1d(pad(quiet.float()[None, None], (PAUSE_FRAMES // 2,) * 2), PAUSE_FRAMES, stride=1)[0, 0] > 0.99
    low, high = (torch.quantile(opening, q) for q in (0.05, 0.95))
    share = (opening - low) / (high - low).clamp_min(1e-9)
    loud = envelope.clamp_min(envelope.max() - PAUSE_DECIBEL / 40)
    return VoiceScores(
        envelope=correlation(opening, loud),
        pause_opening=share[pause].mean().item() if pause.any() else float("nan"),
        pauses=int(pause.sum()),
    )


def syllable_envelope(samples: Float[Tensor, " samples"], frames: int) -> Float[Tensor, " frames"]:
    """Loudness around each frame over about 120 ms, mean log-mel value (1 unit is 40 dB)."""
    rows = LogMel(24)(samples.cpu().float())
    level = pad(rows.mean(1)[None, None], (2, ROWS_PER_FRAME * frames + 4), mode="replicate")
    return avg_pool1d(level, 6, stride=ROWS_PER_FRAME)[0, 0, :frames]


def correlation(a: Float[Tensor, " frames"], b: Float[Tensor, " frames"]) -> float:
    """Pearson's; 0 if either does not vary."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    size = (a.norm() * b.norm()).item()
    return (a @ b).item() / size if size > 1e-15 else 0.0


def correlate_curves(made: LipCurves, true: LipCurves) -> Correlations:
    """Curve by curve."""
    return Correlations(
        correlation(made.opening, true.opening), correlation(made.width, true.width), correlation(made.height, true.height)
    )


def without_drift(curves: LipCurves) -> LipCurves:
    """The curves without their moving average of a second; ends are repeated."""

    def remove(curve: Tensor) -> Tensor:
        padded = pad(curve[None, None], (SECOND // 2, SECOND // 2), mode="replicate")
        return curve - avg_pool1d(padded, SECOND, stride=1)[0, 0]

    return LipCurves(remove(curves.opening), remove(curves.width), remove(curves.height))


def _cut(curves: LipCurves, part: slice) -> LipCurves:
    return LipCurves(curves.opening[part], curves.width[part], curves.height[part])


def _closed_recall(made: Tensor, true: Tensor, reference: Tensor) -> float:
    """Closed: within the lowest fifth of the person's range of openings (5 to 95 %)."""
    low, high = (torch.quantile(reference, q) for q in (0.05, 0.95))
    limit = low + CLOSED_SHARE * (high - low)
    closed: Bool[Tensor, " frames"] = true <= limit
    return (made[closed] <= limit).float().mean().item() if closed.any() else float("nan")


def _jitter(landmarks: Float[Tensor, "frames 68 3"]) -> float:
    return landmarks[:, _MOUTH].diff(n=2, dim=0).square().sum(-1).mean().sqrt().item()
