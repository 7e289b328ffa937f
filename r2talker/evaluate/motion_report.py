"""Scores of a landmark generator on a dataset, and what to print of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.data.dataset import Dataset
from r2talker.data.sound import read_pcm
from r2talker.drive.driver import generate_landmarks
from r2talker.drive.motion import MotionModel, advance_sound
from r2talker.evaluate.motion import (
    SECOND,
    Correlations,
    LipCurves,
    MotionScores,
    VoiceScores,
    correlate_curves,
    lip_curves,
    score_motion,
    without_drift,
)
from r2talker.ops.camera_rays.op import SCENE_SCALE

_BRIDGE, _CHIN = 27, 8


@dataclass(frozen=True)
class ClipScores:
    """scores: against the tracked 3D landmarks. picture_raw, picture_fast: correlations with the distances between the detected
    points in the picture, divided by the height of the face (bridge of the nose to chin). lag: of the clip's sound, in frames,
    which was taken out. frames: how many were measured.
    """

    scores: MotionScores
    picture_raw: Correlations
    picture_fast: Correlations
    sound_lag: int
    frames: int


def evaluate_clip(model: MotionModel, dataset: Dataset, frames: range) -> ClipScores:
    """Scores on `frames`, generated from the whole sound of the clip; ValueError for fewer than 2 seconds."""
    info, lag = dataset.info, int(model.sound_lag)
    device = model.basis.device
    made = generate_landmarks(model, advance_sound(read_pcm(dataset.folder.audio), lag).to(device)).cpu()
    part = slice(frames.start, min(frames.stop, len(made)))
    positions = [dataset.rest + values / info.landmark_scale for values in (made[part], dataset.displacements)]
    distance = float(dataset.c2w[part, :3, 3].norm(dim=-1).mean()) / SCENE_SCALE
    scores = score_motion(
        positions[0],
        positions[1][part],
        reference=lip_curves(positions[1]).opening,
        pixels_per_metre=info.focal * (512 / info.size) / distance,
    )
    ours, seen = lip_curves(positions[0]), picture_curves(dataset.pixels[part])
    fast = correlate_curves(without_drift(ours), without_drift(seen))
    return ClipScores(scores, correlate_curves(ours, seen), fast, lag, part.stop - part.start)


def picture_curves(pixels: Float[Tensor, "frames 68 2"]) -> LipCurves:
    """Opening, width and outer height of the mouth in the picture, relative to the height of the face."""
    height = (pixels[:, _BRIDGE] - pixels[:, _CHIN]).norm(dim=-1).clamp_min(1e-6)
    opening, width, outer = ((pixels[:, a] - pixels[:, b]).norm(dim=-1) / height for a, b in ((62, 66), (48, 54), (51, 57)))
    return LipCurves(opening, width, outer)


def describe_clip(name: str, clip: ClipScores) -> str:
    """The lines about one clip."""
    scores = clip.scores
    rows = [
        ("3D landmarks, raw", scores.raw),
        ("3D landmarks, moving average removed", scores.fast),
        ("picture, raw", clip.picture_raw),
        ("picture, moving average removed", clip.picture_fast),
    ]
    return "\n".join(
        [
            f"{name}: {clip.frames / SECOND:.1f} s held out; the clip's sound came {clip.sound_lag:+d} frames late, taken out",
            "  correlation                           opening  width  height  mean",
            *(f"  {text:<37} {c.opening:7.2f} {c.width:6.2f} {c.height:7.2f} {c.mean:5.2f}" for text, c in rows),
            f"  mouth error {scores.mouth_pixels:.1f} px at 512, {scores.mouth_error * 1000:.2f} mm "
            f"(a still face: {scores.still_error * 1000:.2f} mm); best lag {scores.lag:+d} frames",
            f"  closed-lip recall {scores.closed_recall:.2f}; jitter {scores.jitter * 1000:.2f} mm "
            f"(tracked: {scores.tracked_jitter * 1000:.2f} mm)",
        ]
    )


def describe_voice(name: str, voice: VoiceScores) -> str:
    """The line about one foreign voice."""
    pauses = f"{voice.pause_opening:.2f} of its range in {voice.pauses} frames of pause" if voice.pauses else "no pauses"
    return f"  {name}: opening follows the syllables by {voice.envelope:.2f}; opening {pauses}"


def held_out_part(dataset: Dataset, seconds: float | None) -> range:
    """The last `seconds` of the clip, or the dataset's own held-out frames."""
    if seconds is None:
        return dataset.held_out
    frames = torch.tensor(seconds * SECOND).round().int().item()
    return range(max(0, dataset.info.frames - int(frames)), dataset.info.frames)
