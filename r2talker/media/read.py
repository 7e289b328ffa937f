"""Pictures and sound in: any container that FFmpeg reads, through PyAV, as plain arrays on one clock.

Zero of the clock is the first picture of the clip, so that picture k of `read_video` and sample `k * rate / fps` of
`read_audio` belong together even where the two tracks start at different times.
"""

import contextlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from jaxtyping import Float32, UInt8

from r2talker.errors import R2TalkerError


@dataclass(frozen=True)
class VideoInfo:
    """What a clip's header says: width and height in pixels as shown (rotation applied), frames None where it does not say."""

    width: int
    height: int
    fps: float
    seconds: float
    frames: int | None
    has_sound: bool


def probe_video(path: Path) -> VideoInfo:
    """Read a clip's header and its first picture.

    Raises R2TalkerError when the file is missing, unreadable, or has no picture.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        first = next(iter(_decoded(container, stream, path)), None)
        if first is None:
            raise R2TalkerError(f"{path} holds no picture that can be decoded; give a complete video file")
        turned = first.rotation % 180 != 0
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = container.duration / av.time_base if container.duration else 0.0
        return VideoInfo(
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            fps=fps,
            seconds=seconds,
            frames=stream.frames or None,
            has_sound=bool(container.streams.audio),
        )


def read_video(
    path: Path, *, fps: float = 25.0, size: tuple[int, int] | None = None, wanted: Container[int] | None = None
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Yield RGB pictures at a constant `fps`, one at a time: at k / fps seconds the picture whose own time is nearest.

    size: (width, height) to scale to, None = as stored; rotation metadata is applied. wanted: numbers k of the pictures to
    yield, None = all; the others are decoded, for those that follow, but cost nothing more. Raises R2TalkerError when the file is
    missing, not a video, or damaged.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        for number, frame in enumerate(_at_rate(_decoded(container, stream, path), fps, float(stream.average_rate or fps))):
            if wanted is not None and number not in wanted:
                continue
            picture = frame.to_ndarray(format="rgb24")
            if frame.rotation:
                picture = np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))
            if size is not None and size != (picture.shape[1], picture.shape[0]):
                picture = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(*size, interpolation="AREA").to_ndarray()
            yield picture


def read_audio(path: Path, *, rate: int = 16000) -> Float32[np.ndarray, " samples"]:
    """Read a sound file, or the sound of a clip, as mono in [-1, 1] (mean of the channels) at `rate` Hz.

    In a clip, sample 0 sounds with the first picture: an earlier start is cut, a later one filled with silence. Raises
    R2TalkerError when the file is missing, unreadable, damaged, or has no sound.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            raise R2TalkerError(f"{path} has no sound track; give a file with speech")
        stream = container.streams.audio[0]
        own_rate, start, parts = stream.rate, None, []
        to_float = av.AudioResampler(format="fltp")
        for frame in _decoded(container, stream, path):
            if start is None:
                start = float(frame.time or 0.0)
            own_rate = frame.rate
            parts += [piece.to_ndarray().mean(0) for piece in to_float.resample(frame)]
        if not parts:
            raise R2TalkerError(f"{path} has a sound track without any sound in it; give a file with speech")
        video = container.streams.video
        is_clip = bool(video) and video[0].start_time is not None and video[0].average_rate is not None
        lead = (start or 0.0) - float(video[0].start_time * video[0].time_base) if is_clip else 0.0
    mono = np.concatenate(parts)
    shift = round(lead * own_rate)
    mono = np.concatenate([np.zeros(shift, mono.dtype), mono]) if shift > 0 else mono[-shift:]
    if own_rate != rate:
        mono = soxr.resample(mono, own_rate, rate)
    return np.clip(mono, -1.0, 1.0).astype(np.float32)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.exists():
        raise R2TalkerError(f"{path} does not exist; give the path of a video or sound file")
    if path.is_dir():
        raise R2TalkerError(f"{path} is a folder; give the path of a video or sound file")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        reason = "permission denied" if isinstance(error, PermissionError) else "not a video or sound file, or damaged"
        raise R2TalkerError(f"cannot read {path}: {reason}; check the file or convert it to mp4") from error
    with container:
        yield container


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise R2TalkerError(f"{path} has no pictures; give a video")
    return container.streams.video[0]


def _decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Frames of one stream; damage becomes an R2TalkerError that says where."""
    seconds = 0.0
    try:
        for frame in container.decode(stream):
            seconds = frame.time if frame.time is not None else seconds
            yield frame
    except (av.FFmpegError, OSError) as error:
        raise R2TalkerError(f"{path} is damaged after {seconds:.1f} s; repair it or cut it before that point") from error


def _at_rate(frames: Iterator[Any], fps: float, own_fps: float) -> Iterator[Any]:
    """Pick for every tick k / fps the frame nearest in time; the last frame lasts one frame of its own rate."""
    start, count, held, held_time = 0.0, 0, None, 0.0
    for index, frame in enumerate(frames):
        time = float(frame.time) if frame.time is not None else index / own_fps
        if held is None:
            start, held = time, frame
            continue
        time -= start
        # Half-way ticks go to the later frame; the small term keeps equal rates free of rounding.
        while count / fps < (held_time + time) / 2 - 1e-6:
            yield held
            count += 1
        held, held_time = frame, time
    while held is not None and count / fps < held_time + 1 / own_fps - 0.5 / fps + 1e-6:
        yield held
        count += 1
