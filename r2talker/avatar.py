"""An avatar: what training leaves and everything else loads."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from r2talker import methods
from r2talker.avatar_format import (
    AvatarFolder,
    AvatarInfo,
    load_part,
    read_avatar_info,
    read_weights,
    write_avatar_info,
    write_weights,
)
from r2talker.conditions import limit_landmarks, window_conditions
from r2talker.device import choose_device
from r2talker.drive.config import Smoothing
from r2talker.drive.driver import listen_through
from r2talker.drive.life import Life, LifeStyle, Performance, Track
from r2talker.drive.log_mel import LogMel, audio_windows, frame_count, frame_loudness
from r2talker.drive.motion import MotionModel
from r2talker.drive.poses import choose_frames, mirrored_indices
from r2talker.drive.smoothing import Memory
from r2talker.errors import R2TalkerError
from r2talker.files import write_bytes
from r2talker.model.head import FrameCode
from r2talker.model.talking_head import TalkingHead
from r2talker.progress import Progress, Silent
from r2talker.render.frame import render_frame
from r2talker.render.host import copy_to_host, lay_out, leaves_as_planes
from r2talker.render.renderer import Renderer
from r2talker.types import Camera, Frame

BATCH = 256
"""Windows encoded at once."""
GPU_BATCH = 8
"""Pictures drawn at once on a GPU; a CPU gains nothing from it and hands over every picture as it comes."""


@dataclass(frozen=True)
class DrivePlan:
    """Everything that moves a rendering of T frames: condition windows, eye values, camera poses.

    memory: share of the previous frame's encoded condition that each frame keeps (`Smoothing.smooth_lips`).
    """

    windows: Float[Tensor, "frames window *shape"]
    eye: Float[Tensor, " frames"]
    c2w: Float[Tensor, "frames 4 4"]
    memory: float = 0.0


@dataclass
class Avatar:
    """A talking head ready to render; `load` reads one, `render` yields its pictures, `render_video` writes them.

    background: the clip's clean plate, [H, W, 3] bytes. motion: sound to landmarks of this person, or None if never trained.
    """

    info: AvatarInfo
    model: TalkingHead
    track: Track
    background: UInt8[np.ndarray, "height width 3"]
    motion: MotionModel | None = None

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None) -> "Avatar":
        """Read an avatar folder; `device` defaults to CUDA when there is one. R2TalkerError says what is missing."""
        folder = AvatarFolder(Path(path))
        where = choose_device(device or "auto")
        info = read_avatar_info(folder)
        tensors = read_weights(folder, where)
        model = TalkingHead(info.model, methods.get(info.method)).to(where)
        load_part(model, "model", tensors, folder.weights)
        motion = None
        if info.motion is not None:
            motion = MotionModel(info.motion).to(where)
            load_part(motion, "motion", tensors, folder.weights)
            motion.eval()
        try:
            c2w, eye, displacements = (tensors[f"track.{name}"] for name in ("c2w", "eye", "displacements"))
            track = Track(c2w, eye, displacements, tensors.get("track.loudness"), tensors.get("track.features"))
        except KeyError as error:
            raise R2TalkerError(f"{folder.weights} has no tensor {error.args[0]}; copy the whole avatar again") from error
        plate = cv2.imread(str(folder.background), cv2.IMREAD_COLOR)
        if plate is None:
            raise R2TalkerError(f"cannot read {folder.background}; copy the whole avatar folder or train it again")
        return cls(info, model.eval().requires_grad_(False), track, np.ascontiguousarray(plate[..., ::-1]), motion)

    def save(self, path: str | Path) -> None:
        """Write the avatar folder; `avatar.json` comes last."""
        folder = AvatarFolder(Path(path))
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors.update({f"track.{name}": value for name, value in vars(self.track).items() if value is not None})
        if self.motion is not None:
            tensors.update({f"motion.{key}": value for key, value in self.motion.state_dict().items()})
        folder.info.unlink(missing_ok=True)
        write_weights(folder, tensors)
        plate = cv2.imencode(".png", np.ascontiguousarray(self.background[..., ::-1]))[1]
        write_bytes(folder.background, plate.tobytes())
        write_avatar_info(folder, self.info)

    @property
    def device(self) -> torch.device:
        """Where the avatar renders."""
        return self.track.c2w.device

    def within(self, first: int, last: int) -> "Avatar":
        """The same avatar replaying only frames `first` to `last` - 1 of its clip, to the end for -1; R2TalkerError if it has fewer."""
        return replace(self, track=self.track.part(choose_frames(len(self.track.c2w), first, last)))

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
        drive = self.model.method.drive
        samples = None if audio is None else torch.from_numpy(read_samples(audio)).to(self.device)
        sequence = self._sequence(samples, landmarks, features)
        if len(sequence) == 0:
            raise R2TalkerError("there is nothing to render: the drive is shorter than one frame (40 ms); give a longer one")
        total = len(sequence) if frames is None else min(frames, len(sequence))
        smoothing = smoothing or Smoothing()
        shown = self._perform(sequence, samples, eye, life or LifeStyle(), smoothing)
        if samples is not None and drive.kind == "landmarks":
            sequence = shown.landmarks
        if smoothing.landmark_limit is not None:
            if drive.kind != "landmarks":
                raise R2TalkerError(
                    f"{self.info.method} is driven by audio features; only landmarks can be held within a limit"
                )
            sequence = limit_landmarks(sequence, self.info.statistics, smoothing.landmark_limit)
        windows = window_conditions(sequence, drive, self.info.statistics, edge=self.info.window_edge)
        c2w = shown.c2w if poses is None else self._poses(poses, len(sequence))
        return DrivePlan(windows[:total], self.eyes_in_reach(shown.eye[:total]), c2w[:total], smoothing.smooth_lips)

    def render(
        self,
        *,
        audio: str | Path | Float[np.ndarray, " samples"] | None = None,
        landmarks: Float[Tensor, "frames 68 3"] | None = None,
        features: Float[Tensor, "frames 16 width"] | None = None,
        poses: Float[Tensor, "frames 4 4"] | int | None = None,
        eye: float | Float[Tensor, " recorded"] | None = None,
        life: LifeStyle | None = None,
        smoothing: Smoothing | None = None,
        background: UInt8[np.ndarray, "height width 3"] | tuple[int, int, int] | None = None,
        size: int | None = None,
        frames: int | None = None,
    ) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
        """Yield 8-bit RGB pictures at 25 per second; see `plan` for what moves them. size: side in pixels, by default that of training."""
        plan = self.plan(
            audio=audio,
            landmarks=landmarks,
            features=features,
            poses=poses,
            eye=eye,
            life=life,
            smoothing=smoothing,
            frames=frames,
        )
        for batch in self.render_batches(plan, background=background, size=size):
            yield from batch

    def eyes_in_reach(self, eye: Float[Tensor, "*frames"]) -> Float[Tensor, "*frames"]:
        """Eye values between the narrowest and the widest of the training frames; beyond them the whole face breaks.

        Models of the reference, and by its rules, are shown any value, as it does.
        """
        if not self.info.own_rules:
            return eye
        trained = self.track.eye.to(eye)
        return eye.clamp(trained.min(), trained.max())

    def render_batches(
        self,
        plan: DrivePlan,
        *,
        background: UInt8[np.ndarray, "height width 3"] | tuple[int, int, int] | None = None,
        size: int | None = None,
    ) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
        """Yield the 8-bit pictures of a plan, several at a time on a GPU, where copying them overlaps with drawing the next."""
        yield from copy_to_host(self._draw(plan, background, self._side(size)))

    def render_plan(
        self,
        plan: DrivePlan,
        *,
        background: UInt8[np.ndarray, "height width 3"] | tuple[int, int, int] | None = None,
        size: int | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames of a plan one by one, with alpha and depth; memory does not grow with their number."""
        side = self._side(size)
        plate = torch.from_numpy(self._plate(background, side)).to(self.device).float() / 255
        for start, codes in self._codes(plan):
            for index, code in enumerate(codes, start):
                frame = FrameCode(code, plan.eye[index], self.model.head.individual_codes[0])
                yield render_frame(self.model, self.camera(plan.c2w[index], side), frame, plate, self.info.render)

    def render_video(
        self,
        path: str | Path,
        *,
        audio: str | Path | Float[np.ndarray, " samples"] | None = None,
        landmarks: Float[Tensor, "frames 68 3"] | None = None,
        features: Float[Tensor, "frames 16 width"] | None = None,
        poses: Float[Tensor, "frames 4 4"] | int | None = None,
        eye: float | Float[Tensor, " recorded"] | None = None,
        life: LifeStyle | None = None,
        smoothing: Smoothing | None = None,
        background: UInt8[np.ndarray, "height width 3"] | tuple[int, int, int] | None = None,
        size: int | None = None,
        frames: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Write an H.264 video with the driving sound, and a poster picture beside it (same name, `.png`); returns the frame count."""
        from r2talker.media.threaded import ThreadedWriter
        from r2talker.media.write import VideoWriter, write_png

        samples = read_samples(audio)
        plan = self.plan(
            audio=samples,
            landmarks=landmarks,
            features=features,
            poses=poses,
            eye=eye,
            life=life,
            smoothing=smoothing,
            frames=frames,
        )
        side, progress = self._side(size), progress or Silent()
        target = Path(path)
        progress.begin("render", len(plan.windows))
        drawn = self._draw(plan, background, side)
        poster = torch.empty(side, side, 3, dtype=torch.uint8, device=self.device)
        leaving = lay_out(_copying(drawn, len(plan.windows) // 2, poster), self.device)
        done = 0
        with ThreadedWriter(VideoWriter(target, width=side, height=side, audio=samples)) as writer:
            write = writer.write_planar if leaves_as_planes(self.device) else writer.write
            for batch in copy_to_host(leaving):
                write(batch)
                done += len(batch)
                progress.advance(done)
        write_png(target.with_suffix(".png"), poster.cpu().numpy())
        progress.end(f"{len(plan.windows)} frames in {target}, poster {target.with_suffix('.png')}")
        return len(plan.windows)

    def camera(self, c2w: Float[Tensor, "4 4"], size: int) -> Camera:
        """The clip's camera at a pose and picture size."""
        full = self.info.size
        return Camera(c2w, self.info.focal, self.info.focal, full / 2, full / 2, full, full).resized(size, size)

    def _codes(self, plan: DrivePlan) -> Iterator[tuple[int, Float[Tensor, "frames code"]]]:
        """Condition codes of a plan's frames, BATCH at a time, each with the number of its first frame."""
        contract, memory = self.model.head.contract, Memory(plan.memory)
        for start in range(0, len(plan.windows), BATCH):
            with torch.no_grad():
                codes = contract.code(memory.advance(contract.embed(plan.windows[start : start + BATCH])))
            yield start, codes

    def _draw(
        self, plan: DrivePlan, background: UInt8[np.ndarray, "height width 3"] | tuple[int, int, int] | None, side: int
    ) -> Iterator[UInt8[Tensor, "batch side side 3"]]:
        """Pictures of a plan as they lie in the renderer's buffers."""
        plate = torch.from_numpy(self._plate(background, side)).to(self.device)
        batch = GPU_BATCH if self.device.type == "cuda" else 1
        renderer = Renderer(self.model, self.info.render, self.camera(torch.eye(4), side), plate, batch=batch)
        for start, codes in self._codes(plan):
            for first in range(0, len(codes), renderer.batch):
                some = codes[first : first + renderer.batch]
                frames = slice(start + first, start + first + len(some))
                yield renderer.draw(some, plan.eye[frames], plan.c2w[frames])

    def _sequence(
        self,
        samples: Float[Tensor, " samples"] | None,
        landmarks: Float[Tensor, "frames 68 3"] | None,
        features: Float[Tensor, "frames 16 width"] | None,
    ) -> Tensor:
        kind, width = self.model.method.drive.kind, self.info.model.feature_width
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

    def _side(self, size: int | None) -> int:
        if size is not None and size < 1:
            raise R2TalkerError(f"the size is the picture's side in pixels and must be positive, got {size}")
        return self.info.size if size is None else size

    def _plate(self, background: np.ndarray | tuple[int, int, int] | None, side: int) -> np.ndarray:
        plate = self.background if background is None else np.asarray(background, np.uint8)
        if plate.ndim == 1:
            return np.broadcast_to(plate, (side, side, 3)).copy()
        return cv2.resize(plate, (side, side), interpolation=cv2.INTER_AREA)


def _copying(
    batches: Iterator[UInt8[Tensor, "batch side side 3"]], number: int, into: UInt8[Tensor, "side side 3"]
) -> Iterator[UInt8[Tensor, "batch side side 3"]]:
    """The batches as they come; picture `number` of them all is copied as it passes."""
    for batch in batches:
        if 0 <= number < len(batch):
            into.copy_(batch[number])
        number -= len(batch)
        yield batch


def read_samples(audio: str | Path | Float[np.ndarray, " samples"] | None) -> Float[np.ndarray, " samples"] | None:
    """16 kHz mono samples of a sound file; arrays and None pass through. R2TalkerError for a file shorter than one frame."""
    if audio is None or isinstance(audio, np.ndarray):
        return audio
    from r2talker.media.read import read_audio

    samples = read_audio(Path(audio))
    if frame_count(len(samples)) == 0:
        raise R2TalkerError(f"{audio} is shorter than one frame (40 ms); give a file with speech")
    return samples
