"""What moves every frame of a rendering: drives of all kinds become windows, eye values and camera poses."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.avatar_format import AvatarInfo
from r2talker.conditions import limit_landmarks, window_conditions
from r2talker.drive.config import Smoothing
from r2talker.drive.driver import listen_through
from r2talker.drive.life import Life, LifeStyle, Performance, Track
from r2talker.drive.log_mel import LogMel, audio_windows, frame_count, frame_loudness
from r2talker.drive.motion import MotionModel
from r2talker.drive.poses import mirrored_indices
from r2talker.errors import R2TalkerError
from r2talker.types import DriveSpec


@dataclass(frozen=True)
class DrivePlan:
    """Everything that moves a rendering of T frames: condition windows, eye values, camera poses.

    memory: share of the previous frame's encoded condition that each frame keeps (`Smoothing.smooth_lips`).
    """

    windows: Float[Tensor, "frames window *shape"]
    eye: Float[Tensor, " frames"]
    c2w: Float[Tensor, "frames 4 4"]
    memory: float = 0.0


class DriveArguments(TypedDict, total=False):
    """What `Planner.plan` takes, for those who hand it on."""

    audio: str | Path | Float[np.ndarray, " samples"] | None
    landmarks: Float[Tensor, "frames 68 3"] | None
    features: Float[Tensor, "frames 16 width"] | None
    poses: Float[Tensor, "frames 4 4"] | int | None
    eye: float | Float[Tensor, " recorded"] | None
    life: LifeStyle | None
    smoothing: Smoothing | None
    frames: int | None


@dataclass(frozen=True)
class Planner:
    """The part of an avatar that decides what moves it.

    drive: what its method's windows hold. track: what is replayed. trained_eye: eye values of all training frames. motion: sound to
    landmarks, or None.
    """

    info: AvatarInfo
    drive: DriveSpec
    track: Track
    trained_eye: Float[Tensor, " clip"]
    motion: MotionModel | None

    @property
    def device(self) -> torch.device:
        """Where plans are made."""
        return self.track.c2w.device

    def plan(
        self,
        *,
        audio: str | Path | Float[np.ndarray, " samples"] | None = None,
        landmarks: Float[Tensor, "frames 68 3"] | None = None,
        features: Float[Tensor, "frames 16 width"] | None = None,
        poses: Float[Tensor, "frames 4 4"] | int | None = None,
        eye: float | Float[Tensor, " recorded"] | None = None,
        life: LifeStyle | None = None,
        smoothing: Smoothing | None = None,
        frames: int | None = None,
    ) -> DrivePlan:
        """Decide what moves every frame.

        Give one of audio (a sound file, or 16 kHz mono samples in [-1, 1]), landmarks (displacements, for methods driven by
        landmarks) or features (windows, for methods driven by audio); with none the clip's own motion is replayed.

        poses: [T, 4, 4] camera-to-world in NGP space, the number of a tracked frame to hold, or None to replay the clip's poses,
        mirrored at the ends. eye: opening in percent of the picture instead of the clip's, a constant or values that are replayed to
        and fro. life: how head, brows and eyes move (by default as in the clip). smoothing: of what is replayed and of the drive;
        poses that are given are taken as they are. frames: stop after so many.
        R2TalkerError when the drive does not fit the method.
        """
        given = [
            name for name, value in (("audio", audio), ("landmarks", landmarks), ("features", features)) if value is not None
        ]
        if len(given) > 1:
            raise R2TalkerError(f"an avatar is driven by one thing at a time, got {' and '.join(given)}")
        if frames is not None and frames < 1:
            raise R2TalkerError(f"at least one frame must be rendered, got frames = {frames}")
        samples = None if audio is None else torch.from_numpy(read_samples(audio)).to(self.device)
        sequence = self._sequence(samples, landmarks, features)
        if len(sequence) == 0:
            raise R2TalkerError("there is nothing to render: the drive is shorter than one frame (40 ms); give a longer one")
        total = len(sequence) if frames is None else min(frames, len(sequence))
        smoothing = smoothing or Smoothing()
        shown = self._perform(sequence, samples, eye, life or LifeStyle(), smoothing)
        if samples is not None and self.drive.kind == "landmarks":
            sequence = shown.landmarks
        if smoothing.landmark_limit is not None:
            if self.drive.kind != "landmarks":
                raise R2TalkerError(
                    f"{self.info.method} is driven by audio features; only landmarks can be held within a limit"
                )
            sequence = limit_landmarks(sequence, self.info.statistics, smoothing.landmark_limit)
        windows = window_conditions(sequence, self.drive, self.info.statistics, edge=self.info.window_edge)
        c2w = shown.c2w if poses is None else self._poses(poses, len(sequence))
        return DrivePlan(windows[:total], self.eyes_in_reach(shown.eye[:total]), c2w[:total], smoothing.smooth_lips)

    def eyes_in_reach(self, eye: Float[Tensor, "*frames"]) -> Float[Tensor, "*frames"]:
        """Eye values between the narrowest and the widest of the training frames; beyond them the whole face breaks.

        Models of the reference, and by its rules, are shown any value, as it does.
        """
        if not self.info.own_rules:
            return eye
        trained = self.trained_eye.to(eye)
        return eye.clamp(trained.min(), trained.max())

    def _sequence(
        self,
        samples: Float[Tensor, " samples"] | None,
        landmarks: Float[Tensor, "frames 68 3"] | None,
        features: Float[Tensor, "frames 16 width"] | None,
    ) -> Tensor:
        kind, width = self.drive.kind, self.info.model.feature_width
        if kind == "audio":
            if landmarks is not None:
                raise R2TalkerError(f"{self.info.method} is driven by audio features, not landmarks; pass features or audio")
            if features is not None:
                if features.ndim != 3 or features.shape[1:] != (16, width):
                    raise R2TalkerError(f"expected features of shape [frames, 16, {width}], got {list(features.shape)}")
                return features.to(self.device, torch.float32)
            if samples is None and self.track.features is not None:
                return self.track.features
            if samples is None:
                raise R2TalkerError(f"{self.info.method} has no motion of its own to replay; pass audio or features")
            return self._features(samples)
        if features is not None:
            raise R2TalkerError(f"{self.info.method} is driven by landmarks, not audio features; pass landmarks or audio")
        if landmarks is not None:
            if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 3):
                raise R2TalkerError(f"expected landmarks of shape [frames, 68, 3], got {list(landmarks.shape)}")
            return landmarks.to(self.device, torch.float32)
        if samples is None:
            return self.track.displacements
        if self.motion is None:
            raise R2TalkerError(
                "this avatar has no landmark generator (it was trained without sound); pass landmarks instead of audio"
            )
        return listen_through(self.motion, samples).landmarks

    def _features(self, samples: Float[Tensor, " samples"]) -> Tensor:
        if self.info.feature != "mel":
            raise R2TalkerError(
                f"this avatar listens to {self.info.feature!r} features, which r2talker cannot compute; pass features"
            )
        log_mel = LogMel(self.info.model.feature_width).to(self.device)
        return audio_windows(log_mel(samples), frame_count(len(samples)), padding=log_mel.silence)

    def _perform(
        self,
        sequence: Tensor,
        samples: Float[Tensor, " samples"] | None,
        eye: float | Float[Tensor, " recorded"] | None,
        style: LifeStyle,
        smoothing: Smoothing,
    ) -> Performance:
        """What head, brows and eyes do beside the frames of the drive."""
        if style.head == "speech" and (samples is None or self.track.loudness is None):
            which = "the drive" if samples is None else "the clip of this avatar"
            raise R2TalkerError(
                f"the head can only follow speech where there is sound, and {which} has none; replay the clip's motion"
            )
        if isinstance(eye, Tensor):
            if eye.ndim != 1 or len(eye) == 0:
                raise R2TalkerError(f"expected eye values of shape [frames], at least one, got {list(eye.shape)}")
            eye = eye.to(self.track.eye)
        loudness = torch.zeros(len(sequence)) if samples is None else frame_loudness(samples)
        landmarks = sequence if sequence.shape[1:] == (68, 3) else self.track.displacements.new_zeros(len(sequence), 68, 3)
        slope = None if self.motion is None else self.motion.eye_slope
        life = Life(self.track, style, eye=eye, eye_slope=slope, smoothing=smoothing)
        return life.advance(landmarks, loudness)

    def _poses(self, poses: Float[Tensor, "frames 4 4"] | int, frames: int) -> Tensor:
        if isinstance(poses, int):
            if not 0 <= poses < len(self.track.c2w):
                raise R2TalkerError(f"the clip has poses 0 to {len(self.track.c2w) - 1}, got {poses}")
            return self.track.c2w[poses].expand(frames, 4, 4)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4) or len(poses) == 0:
            raise R2TalkerError(f"expected poses of shape [frames, 4, 4], got {list(poses.shape)}")
        return poses.to(self.device, torch.float32)[mirrored_indices(frames, len(poses)).to(self.device)]


def read_samples(audio: str | Path | Float[np.ndarray, " samples"] | None) -> Float[np.ndarray, " samples"] | None:
    """16 kHz mono samples of a sound file; arrays and None pass through. R2TalkerError for a file shorter than one frame."""
    if audio is None or isinstance(audio, np.ndarray):
        return audio
    from r2talker.media.read import read_audio

    samples = read_audio(Path(audio))
    if frame_count(len(samples)) == 0:
        raise R2TalkerError(f"{audio} is shorter than one frame (40 ms); give a file with speech")
    return samples
