"""`r2talker render`: an avatar speaks into an mp4."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.drive.config import Smoothing
from r2talker.errors import R2TalkerError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from r2talker.avatar import Avatar
    from r2talker.data.poses import Recording

COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0)}
KINDS = {29: "deepspeech", 32: "wav2vec2", 44: "esperanto", 1024: "hubert"}
"""What `r2talker features` calls windows of a width."""
OTHER_CAMERA = 0.01
"""Relative difference of focal lengths from which poses count as made with another camera."""
LOST, RESTLESS = 0.01, 4.0
"""Share of landmarks beyond the landmark grid, and movement relative to the clip's, from which a file of landmarks is doubtful."""


@dataclass(frozen=True)
class RenderArguments:
    """Render an avatar at 25 frames per second into an H.264 mp4 with the driving sound, and a poster png beside it."""

    avatar: Positional[Path]
    """Avatar folder."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Video to write (.mp4)."""
    audio: Path | None = None
    """Sound file to speak, any rate and format; without any drive the clip's own motion is replayed."""
    landmarks: Path | None = None
    """.npy of landmark displacements, (T, 68, 3), (T, 204) or (1, T, 204), instead of sound: aud_idexp*.npy and the like."""
    features: Path | None = None
    """.npy of audio feature windows, (T, 16, K), for methods driven by audio: aud_eo.npy, aud_ds.npy, aud.npy and the like."""
    pose: int | None = None
    """Hold the head pose of this tracked frame, counted from the first of --data-range; by default the clip's poses are replayed,
    mirrored at the ends."""
    poses: Path | None = None
    """File of head poses instead: transforms_*.json of a dataset, whose eye values (eye_ratio) are replayed with them if it has any,
    or .npy of camera-to-world matrices (T, 4, 4)."""
    data_range: tuple[int, int] = (0, -1)
    """Replay frames A to B - 1 of the clip, or of --poses, only; B = -1 is the end."""
    head: Literal["replay", "speech"] = "replay"
    """How head and brows move: the clip's motion to and fro, or its stretches joined anew to fit the loudness of the sound."""
    blinks: Literal["clip", "new", "none"] = "clip"
    """Blinks where the clip has them, new ones with the clip's shapes and timing, or none."""
    eye: float | None = None
    """Constant eye opening in percent of the picture; by default the clip's is replayed. New blinks close it all the same."""
    smoothing: Smoothing = field(default_factory=Smoothing)
    background: str | None = None
    """Picture file, or colour: white, black, or R,G,B of 0 to 255; by default the clip's clean background."""
    size: int | None = None
    """Side of the video in pixels; by default that of training."""
    frames: int | None = None
    """Stop after this many frames."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render; auto takes a CUDA device when there is one."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(RenderArguments, "render", arguments)
    if args.output.suffix.lower() != ".mp4":
        raise R2TalkerError(f"{args.output} must end in .mp4")
    if args.pose is not None and args.poses is not None:
        raise R2TalkerError("--pose holds one pose and --poses gives many; choose one")
    from r2talker.avatar import Avatar
    from r2talker.drive.life import LifeStyle
    from r2talker.drive_plan import read_samples

    avatar = Avatar.load(args.avatar, device=args.device)
    samples, background = read_samples(args.audio), _background(args.background)
    landmarks, features = _landmarks(args.landmarks), _features(args.features, avatar)
    if landmarks is not None:
        _doubt_landmarks(landmarks, args, avatar)
    recording = None if args.poses is None else _recording(args.poses, args, avatar)
    if recording is None:
        avatar = avatar.within(*args.data_range)
    with ProgressDisplay() as progress:
        avatar.render_video(
            args.output,
            audio=samples,
            landmarks=landmarks,
            features=features,
            poses=args.pose if recording is None else recording.c2w,
            eye=args.eye if args.eye is not None or recording is None else recording.eye,
            life=LifeStyle(args.head, args.blinks),
            smoothing=args.smoothing,
            background=background,
            size=args.size,
            frames=args.frames,
            progress=progress,
        )
    print(f"wrote {args.output} and {args.output.with_suffix('.png')}")


def _recording(path: Path, args: RenderArguments, avatar: "Avatar") -> "Recording":
    """The chosen frames of a file of poses, smoothed; says so when they were made with another camera."""
    from dataclasses import replace

    from r2talker.data.poses import read_recording
    from r2talker.drive.poses import choose_frames, smooth_poses

    whole = read_recording(path)
    recording = whole.part(choose_frames(len(whole.c2w), *args.data_range))
    own = avatar.info.focal / avatar.info.size
    if recording.focal is not None and abs(recording.focal / own - 1) > OTHER_CAMERA:
        print(
            f"note: the poses of {path} were made with a focal length of {recording.focal:.2f} sides of the picture, the avatar has "
            f"{own:.2f} and keeps it: the head may look too near or too far",
            file=sys.stderr,
        )
    return replace(recording, c2w=smooth_poses(recording.c2w, args.smoothing.smooth_path))


def _landmarks(path: Path | None) -> "Tensor | None":
    if path is None:
        return None
    values = _numbers(path)
    shape = tuple(values.shape)
    if not (shape[1:] in ((68, 3), (204,)) or (len(shape) == 3 and shape[0] == 1 and shape[2] == 204)):
        other = "; audio features are given with --features" if shape[1:2] == (16,) else ""
        raise R2TalkerError(
            f"{path} holds an array of shape {list(shape)}; expected (T, 68, 3), (T, 204) or (1, T, 204){other}"
        )
    return values.reshape(-1, 68, 3)


def _doubt_landmarks(landmarks: "Tensor", args: RenderArguments, avatar: "Avatar") -> None:
    """Say when landmarks look like those of another unit, or leave the grid (upstream.md 10, defect 13); they are used all the same."""
    import torch

    drive, limit = avatar.model.method.drive, args.smoothing.landmark_limit
    if drive.kind != "landmarks" or limit is not None:
        return
    moves = landmarks.std(0, correction=0).mean() / torch.tensor(avatar.info.statistics.landmark_std).mean().clamp_min(1e-9)
    lost = (landmarks.abs() > 1).any(-1).float().mean()
    advice = "--landmark-limit 2.3 holds them near what the clip did"
    if moves > RESTLESS:
        print(
            f"note: the landmarks of {args.landmarks} move {moves:.1f} times as much as those of the clip, as if their unit were another; "
            f"{advice}",
            file=sys.stderr,
        )
    elif lost > LOST and not drive.normalise:
        print(
            f"note: {lost:.0%} of the landmarks of {args.landmarks} leave [-1, 1], beyond which the avatar takes no notice of them; {advice}",
            file=sys.stderr,
        )


def _features(path: Path | None, avatar: "Avatar") -> "Tensor | None":
    if path is None:
        return None
    values = _numbers(path)
    shape, width = list(values.shape), avatar.info.model.feature_width
    if values.ndim != 3 or shape[1] != 16:
        other = "; landmarks are given with --landmarks" if shape[-2:] == [68, 3] or shape[-1] == 204 else ""
        raise R2TalkerError(f"{path} holds an array of shape {shape}; expected (T, 16, K){other}")
    # A width of 0 is a method driven by landmarks, which says so itself.
    if width and shape[2] != width:
        fitting = f": `r2talker features SOUND --kind {KINDS[width]}` makes them" if width in KINDS else ""
        heard = KINDS.get(shape[2], "other")
        raise R2TalkerError(
            f"{path} holds {heard} windows of width {shape[2]}; {avatar.info.method} listens to {avatar.info.feature} windows of "
            f"width {width}, (T, 16, {width}){fitting}"
        )
    return values


def _numbers(path: Path) -> "Tensor":
    """The array of a .npy file as float32, refusing what a face cannot follow."""
    import numpy as np
    import torch

    from r2talker.files import read_npy

    array = read_npy(path)
    if array.dtype.kind not in "fiu" or array.size == 0 or not np.isfinite(array).all():
        raise R2TalkerError(
            f"{path} holds {array.dtype} {list(array.shape)}; expected finite numbers, at least one frame of them"
        )
    return torch.from_numpy(array.astype(np.float32))


def _background(text: str | None) -> "np.ndarray | tuple[int, int, int] | None":
    if text is None:
        return None
    if text in COLOURS:
        return COLOURS[text]
    parts = text.split(",")
    if len(parts) == 3 and all(part.strip().isdigit() and int(part) < 256 for part in parts):
        red, green, blue = (int(part) for part in parts)
        return red, green, blue
    import cv2
    import numpy as np

    picture = cv2.imread(text, cv2.IMREAD_COLOR)
    if picture is None:
        raise R2TalkerError(f"--background {text} is neither a readable picture nor a colour such as 255,255,255")
    return np.ascontiguousarray(picture[..., ::-1])
