"""Pictures and sound out: a streamed H.264/AAC file, wav and PNG, all written beside the target and then renamed."""

import contextlib
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
import soundfile
from jaxtyping import Float, UInt8
from numpy import ndarray

from r2talker.errors import R2TalkerError
from r2talker.files import replacing, write_bytes

AUDIO_BIT_RATE = 128_000
RETRY = "free some space or choose another folder"


class VideoWriter:
    """Streams pictures, RGB or planar, and one mono sound track into an mp4; use it in a `with` statement.

    The file appears under its name only when the block ends without an exception; otherwise nothing is left. Sound is encoded
    beside the pictures, never ahead of them, and ends with the last picture, so memory does not grow with length. Odd widths
    and heights are padded to even ones by repeating the last column or row, as yuv420p demands.

    audio: mono samples in [-1, 1] at `audio_rate` Hz, or None for a silent file. quality: constant rate factor of H.264, 0
    (largest file) to 51; 18 is hard to tell from the source.

    Raises R2TalkerError when the file cannot be written or no picture was given, ValueError for a picture of another size.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: float = 25.0,
        audio: Float[ndarray, " samples"] | None = None,
        audio_rate: int = 16000,
        quality: int = 18,
    ) -> None:
        self.path = Path(path)
        self.width, self.height = width, height
        self.rate = Fraction(fps).limit_denominator(1001)
        self.audio = None if audio is None else np.clip(np.asarray(audio, np.float32), -1, 1)
        self.audio_rate = audio_rate
        self.quality = quality
        self.frames = 0
        self._samples_done = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "VideoWriter":
        temporary = self._stack.enter_context(replacing(self.path))
        try:
            self._open(temporary)
        except av.FFmpegError as error:
            self._stack.close()
            raise self._failure(error) from error
        return self

    def write(self, rgb: UInt8[ndarray, "height width 3"]) -> None:
        """Append one picture, and the sound that belongs to it."""
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 [{self.height}, {self.width}, 3] for {self.path}, got {rgb.dtype} {list(rgb.shape)}"
            )
        self._encode(_to_planes(rgb))

    def write_planar(self, planes: UInt8[ndarray, "rows even_width"]) -> None:
        """Append one picture given as yuv420p (limited-range BT.601), and the sound that belongs to it.

        planes: [3/2 height, width] for height and width padded to even ones: the bytes of Y, Cb and Cr one after the other.
        """
        wanted = (3 * _even(self.height) // 2, _even(self.width))
        if planes.shape != wanted or planes.dtype != np.uint8:
            raise ValueError(f"expected planes uint8 {list(wanted)} for {self.path}, got {planes.dtype} {list(planes.shape)}")
        self._encode(planes)

    def _encode(self, planes: UInt8[ndarray, "rows even_width"]) -> None:
        try:
            frame = _to_frame(planes)
            frame.pts = self.frames
            frame.time_base = 1 / self.rate
            self._container.mux(self._video.encode(frame))
            self.frames += 1
            self._write_sound(int(self.frames / self.rate * self.audio_rate))
        except av.FFmpegError as error:
            raise self._failure(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
            else:
                # What is being abandoned may fail again while closing; the first exception is the one to report.
                with contextlib.suppress(av.FFmpegError):
                    self._container.close()
        except BaseException as late:
            self._stack.__exit__(type(late), late, late.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def _open(self, temporary: Path) -> None:
        even_width, even_height = _even(self.width), _even(self.height)
        codec, options = _choose_encoder(even_width, even_height, self.quality)
        self._container: Any = av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"})
        self._video: Any = self._container.add_stream(codec, rate=self.rate, options=options)
        _describe_pictures(self._video.codec_context, even_width, even_height, 1 / self.rate)
        # PyAV's default cuts pictures into slices: files 2 % larger, and little for many cores to do in a small picture.
        self._video.codec_context.thread_type = "FRAME"
        self._sound: Any = None
        if self.audio is not None:
            self._sound = self._container.add_stream("aac", rate=self.audio_rate, layout="mono")
            self._sound.bit_rate = AUDIO_BIT_RATE

    def _write_sound(self, end: int) -> None:
        """Encode the samples up to number `end`."""
        if self.audio is None:
            return
        chunk = self.audio[self._samples_done : end]
        if len(chunk) == 0:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk)[None], format="fltp", layout="mono")
        frame.sample_rate = self.audio_rate
        frame.pts = self._samples_done
        frame.time_base = Fraction(1, self.audio_rate)
        self._container.mux(self._sound.encode(frame))
        self._samples_done += len(chunk)

    def _finish(self) -> None:
        try:
            if self.frames:
                self._container.mux(self._video.encode(None))
                if self._sound is not None:
                    self._container.mux(self._sound.encode(None))
            self._container.close()
        except av.FFmpegError as error:
            raise self._failure(error) from error
        if self.frames == 0:
            raise R2TalkerError(f"cannot write {self.path}: there is not one picture to put into it; give at least one frame")

    def _failure(self, error: av.FFmpegError) -> R2TalkerError:
        return R2TalkerError(f"cannot write {self.path}: {error.strerror or error}; {RETRY}")


def write_wav(path: Path, samples: Float[ndarray, " samples"], rate: int = 16000) -> None:
    """Write mono samples in [-1, 1] as 16-bit PCM, atomically."""
    with replacing(Path(path)) as temporary:
        try:
            soundfile.write(temporary, np.clip(samples, -1, 1), rate, subtype="PCM_16", format="WAV")
        except soundfile.LibsndfileError as error:
            raise R2TalkerError(f"cannot write {path}: {error.error_string}; {RETRY}") from error


def write_png(path: Path, rgb: UInt8[ndarray, "height width 3"]) -> None:
    """Write one picture as PNG, atomically."""
    done, content = cv2.imencode(".png", rgb[..., ::-1])
    if not done:
        raise ValueError(f"cannot encode {rgb.dtype} {list(rgb.shape)} as {path}")
    write_bytes(Path(path), content.tobytes())


def _even(side: int) -> int:
    return side + side % 2


def _to_frame(planes: UInt8[ndarray, "rows even_width"]) -> Any:
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def _to_planes(rgb: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "rows even_width"]:
    """The picture as limited-range BT.601 yuv420p, padded to even sides; chroma is the mean of 2 x 2 pixels.

    BT.601 and not 709 because readers that ignore the file's colour tags (OpenCV among them) assume it. OpenCV converts because
    swscale takes two to three times as long; it takes chroma from one pixel of four, hence the mean before.
    """
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        height, width = rgb.shape[:2]
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    means = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    blocks = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
    planes[height:] = cv2.cvtColor(blocks, cv2.COLOR_RGB2YUV_I420)[height:]
    return planes


def _describe_pictures(context: Any, width: int, height: int, time_base: Fraction) -> None:
    context.width, context.height = width, height
    context.pix_fmt = "yuv420p"
    context.time_base = time_base
    # Numbers of ITU-T H.273: limited range, SMPTE 170M matrix (BT.601), BT.709 primaries and transfer (sRGB's nearest).
    context.color_range, context.colorspace = 1, 6
    context.color_primaries, context.color_trc = 1, 1


@lru_cache
def _choose_encoder(width: int, height: int, quality: int) -> tuple[str, dict[str, str]]:
    """The GPU's encoder if one picture of this size really passes through it, else x264."""
    options = {"rc": "vbr", "cq": str(quality), "b": "0", "preset": "p4"}
    try:
        context: Any = av.CodecContext.create("h264_nvenc", "w")
        _describe_pictures(context, width, height, Fraction(1, 25))
        context.options = options
        context.encode(_to_frame(_to_planes(np.zeros((height, width, 3), np.uint8))))
        context.encode(None)
    except (av.FFmpegError, ValueError):
        return "libx264", {"crf": str(quality), "preset": "veryfast"}
    return "h264_nvenc", options
