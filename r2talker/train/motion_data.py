"""What the landmark generator learns from: windows of features beside coefficients of the person's lower face."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.drive.lips import lip_distances
from r2talker.drive.log_mel import HOP, ROWS_PER_FRAME
from r2talker.drive.motion import BROWS, EYELIDS, LANDMARKS, MotionModel
from r2talker.drive.speaker import quietest_speech
from r2talker.train.motion_augment import alter_sound, coloured_noise

RUN = 4
"""Consecutive frames that are drawn together, so that velocities can be compared."""

CLOSED_QUANTILE = 0.08
_FRAME_SAMPLES = HOP * ROWS_PER_FRAME
_SILENT_SECONDS = 4
# 4 dB: a band in which the training voice hardly moves is not blown up.
_LEAST_BAND_STD = 0.1
_MOUTH, _NOSE = slice(48, 68), slice(27, 36)


@dataclass(frozen=True)
class Person:
    """Training frames as coefficients, and each component's share of the weighted variance relative to the first."""

    coefficients: Float[Tensor, "frames components"]
    importance: Float[Tensor, " components"]


@dataclass(frozen=True)
class MotionData:
    """Training frames of the clip and of its altered copies, one after the other.

    windows: normalised features. targets: coefficients. source: the frame of the clip that each belongs to. weight: 2 where the
    lips are closed, else 1. starts: items from which RUN consecutive ones can be drawn. The first items are the clip itself.
    silence: windows of silence and steady noise. importance: weight of each squared error of a coefficient. lips: from them
    to the distances of LIP_PAIRS in standard deviations.
    """

    windows: Float[Tensor, "items window bands"]
    targets: Float[Tensor, "items components"]
    source: Int[Tensor, " items"]
    weight: Float[Tensor, " items"]
    starts: Int[Tensor, " starts"]
    silence: Float[Tensor, "silent window bands"]
    importance: Float[Tensor, " components"]
    lips: Float[Tensor, "components pairs"]


def learn_person(model: MotionModel, landmarks: Float[Tensor, "frames 68 3"], eye: Float[Tensor, " frames"] | None) -> Person:
    """Fill the model's landmark statistics from the training frames.

    Components: PCA of jaw, nose and mouth with the mouth weighted and depth, which the tracker sees badly, played down.
    """
    weight = torch.ones(LANDMARKS, 3)
    weight[_MOUTH], weight[_NOSE] = 3.0, 0.5
    weight[BROWS] = weight[EYELIDS] = 0.0
    weight[:, 2] *= 0.5
    mean = landmarks.mean(0)
    offset = ((landmarks - mean) * weight).flatten(1)
    _, _, directions = torch.linalg.svd(offset, full_matrices=False)
    count = min(model.config.components, directions.shape[0])
    scores = offset @ directions[:count].T
    spread = scores.std(0).clamp_min(1e-6)
    seen = weight.flatten() > 0
    basis = torch.zeros(count, LANDMARKS * 3)
    basis[:, seen] = (directions[:count] * spread[:, None])[:, seen] / weight.flatten()[seen]
    model.basis.zero_()
    model.basis[:count] = basis.unflatten(1, (LANDMARKS, 3)).to(model.basis)
    model.landmark_mean.copy_(mean)
    model.landmark_min.copy_(landmarks.amin(0))
    model.landmark_max.copy_(landmarks.amax(0))
    model.known.copy_(landmarks[torch.linspace(0, landmarks.shape[0] - 1, model.config.remembered).long()])
    model.pace.copy_(landmarks[:, _MOUTH].diff(dim=0).square().mean().sqrt())
    if eye is not None:
        _learn_eyelids(model, landmarks - mean, eye)
    coefficients = torch.zeros(landmarks.shape[0], model.config.components)
    coefficients[:, :count] = scores / spread
    opening = lip_distances(landmarks)[:, :3].mean(1)
    closed = opening <= torch.quantile(opening, CLOSED_QUANTILE)
    model.closed.copy_(coefficients[closed].mean(0))
    importance = torch.zeros(model.config.components)
    importance[:count] = (spread / spread[0]).square()
    return Person(coefficients, importance)


def _learn_eyelids(model: MotionModel, offset: Float[Tensor, "frames 68 3"], eye: Float[Tensor, " frames"]) -> None:
    """Least squares of the eyelid points on the eye value."""
    centred = eye - eye.mean()
    slope = (offset * centred[:, None, None]).sum(0) / centred.square().sum().clamp_min(1e-12)
    model.eye_slope[EYELIDS] = slope[EYELIDS].to(model.eye_slope)
    model.eye_mean.copy_(eye.mean())


def learn_voice(model: MotionModel, samples: Float[Tensor, " samples"]) -> None:
    """Fill the model's statistics of the training voice: mean and spread of its bands over speech."""
    rows = model.log_mel(samples)
    model.quietest.fill_(quietest_speech(rows))
    speech = rows[rows.mean(1) > model.quietest]
    model.band_mean.copy_(speech.mean(0))
    model.band_std.copy_(speech.std(0).clamp_min(_LEAST_BAND_STD))


def gather_motion_data(
    model: MotionModel,
    samples: Float[Tensor, " samples"],
    landmarks: Float[Tensor, "frames 68 3"],
    person: Person,
    variants: int,
    generator: torch.Generator,
) -> MotionData:
    """Features of the training sound and of `variants` altered copies of it, with the targets at the same moments."""
    frames = landmarks.shape[0]
    opening = lip_distances(landmarks)[:, :3].mean(1)
    closed_weight = 1.0 + (opening <= torch.quantile(opening, CLOSED_QUANTILE)).float()
    coefficients = person.coefficients
    windows, targets, source, starts = [_windows(model, samples, frames)], [coefficients], [torch.arange(frames)], []
    for _ in range(variants):
        altered = alter_sound(samples, generator)
        time = torch.arange(int((frames - 1) / altered.speed) + 1) * altered.speed
        left = time.long().clamp(max=frames - 2)
        windows.append(_windows(model, altered.samples, time.shape[0]))
        targets.append(torch.lerp(coefficients[left], coefficients[left + 1], (time - left)[:, None]))
        source.append(time.round().long())
    first = 0
    for part in source:
        starts.append(torch.arange(first, first + max(part.shape[0] - RUN + 1, 0)))
        first += part.shape[0]
    distances = lip_distances(landmarks).std(0).clamp_min(1e-6)
    every = torch.cat(source)
    return MotionData(
        windows=torch.cat(windows),
        targets=torch.cat(targets),
        source=every,
        weight=closed_weight[every],
        starts=torch.cat(starts),
        silence=_silent_windows(model, samples, generator),
        importance=person.importance,
        lips=lip_distances(model.basis.cpu()) / distances,
    )


def _windows(model: MotionModel, samples: Float[Tensor, " samples"], frames: int) -> Float[Tensor, "frames window bands"]:
    return model.unmoved(model.windows(model.hear(model.log_mel(samples)).features, frames))


def _silent_windows(
    model: MotionModel, samples: Float[Tensor, " samples"], generator: torch.Generator
) -> Float[Tensor, "silent window bands"]:
    """Digital silence, and steady noise of several colours 30 to 60 dB below the speech, each a few seconds long."""
    power = samples.square().mean().sqrt()
    length = _SILENT_SECONDS * 25
    silence = [torch.zeros(length * _FRAME_SAMPLES)]
    for decibel in (30, 40, 50, 60):
        for slope in (0.0, 1.0):
            noise = coloured_noise(length * _FRAME_SAMPLES, slope=slope, generator=generator)
            silence.append(noise * power * 10 ** (-decibel / 20))
    return torch.cat([_windows(model, sound, length) for sound in silence])
