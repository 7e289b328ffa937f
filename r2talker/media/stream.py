"""Pictures and sound on their way to somebody who is looking now: every picture leaves at once, none waits for another."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np
from jaxtyping import Float32, Int16, UInt8

from r2talker.errors import R2TalkerError

FRAME_RATE = 25
OPUS_RATE = 16000
OPUS_LAG = 104
"""6.5 ms, by which libopus looks ahead (its pre-skip of 312 samples at 48 kHz)."""
KEY_FRAMES = 50
"""A picture that needs no other comes at least every so many."""


class PictureEncoder:
    """H.264 in Annex B form, one packet per picture, parameter sets before every key picture; the GPU's encoder where it works.

    width, height: even. quality: constant rate factor, 0 (best) to 51. ValueError for a picture of another size.
    """

    def __init__(self, width: int, height: int, *, quality: int = 23) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"PictureEncoder: sides must be even, got {width} x {height}")
        self.width, self.height = width, height
        self.name, options = _choose_encoder(width, height, quality)
        self._context = _context(self.name, width, height, options)
        self._count = 0

    def encode(self, rgb: UInt8[np.ndarray, "height width 3"], *, key: bool = False) -> tuple[bytes, bool]:
        """The packet of one picture, and whether it can be decoded without those before."""
        if rgb.shape != (self.height, self.width, 3):
            raise ValueError(f"PictureEncoder: expected [{self.height}, {self.width}, 3], got {list(rgb.shape)}")
        frame = video_frame(rgb)
        frame.pts = self._count
        frame.pict_type = av.video.frame.PictureType.I if key else av.video.frame.PictureType.NONE
        self._count += 1
        packets = self._context.encode(frame)
        return b"".join(bytes(packet) for packet in packets), any(packet.is_keyframe for packet in packets)


class SoundEncoder:
    """Opus (RFC 6716), one packet per frame of 40 ms of mono 16 kHz; what is decoded of it comes OPUS_LAG samples late."""

    def __init__(self, *, bit_rate: int = 32000) -> None:
        self._context: Any = av.CodecContext.create("libopus", "w")
        self._context.sample_rate, self._context.format, self._context.layout = OPUS_RATE, "s16", "mono"
        self._context.bit_rate = bit_rate
        self._context.options = {"frame_duration": "40", "application": "voip"}
        self._context.open()
        self._count = 0

    def encode(self, samples: Int16[np.ndarray, " 640"]) -> bytes:
        """The packet of one frame."""
        packets = self._context.encode(sound_frame(samples, OPUS_RATE, self._count))
        self._count += len(samples)
        return b"".join(bytes(packet) for packet in packets)


def encodes_opus() -> bool:
    """Whether this PyAV has an encoder for Opus."""
    return "libopus" in av.codecs_available


def codec_string(packet: bytes) -> str:
    """RFC 6381 name of the profile and level in a key packet's parameter set, such as avc1.42c01e."""
    start = packet.find(b"\x00\x00\x01\x67")
    if start < 0 or len(packet) < start + 7:
        raise ValueError("codec_string: the packet has no sequence parameter set")
    return "avc1." + packet[start + 4 : start + 7].hex()


def encode_jpeg(rgb: UInt8[np.ndarray, "height width 3"], *, quality: int = 80) -> bytes:
    """One picture as JPEG."""
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def decode_picture(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """A picture file's content as RGB; R2TalkerError for anything else."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if picture is None:
        raise R2TalkerError("this is not a picture that can be read; send PNG or JPEG")
    return np.ascontiguousarray(picture[..., ::-1])


def decode_sound(content: bytes, *, rate: int = 16000, most_seconds: float = 300.0) -> Float32[np.ndarray, " samples"]:
    """A sound file's content (wav, mp3, ...) as mono at `rate`; R2TalkerError for anything else, or for more than `most_seconds`."""
    import io

    parts: list[np.ndarray] = []
    try:
        with av.open(io.BytesIO(content)) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            for frame in container.decode(audio=0):
                parts += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
                if sum(map(len, parts)) > most_seconds * rate:
                    raise R2TalkerError(f"the sound is longer than {most_seconds:g} s; send it in pieces")
            parts += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except (av.FFmpegError, IndexError, OSError) as error:
        raise R2TalkerError("this is not a sound file that can be read; send wav or mp3") from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if len(samples) == 0:
        raise R2TalkerError("there is no sound in the file; send wav or mp3 with speech")
    return np.clip(samples, -1, 1).astype(np.float32)


class Recorder:
    """Writes what a session shows and says into an mp4 while it happens; use `close` once at the end.

    Pictures may be missing: the last one then stays. Sizes other than the first are scaled to it.
    """

    def __init__(self, path: str, *, rate: int = 16000) -> None:
        self.path, self.rate = path, rate
        self._container: Any = av.open(path, "w", format="mp4", options={"movflags": "faststart"})
        self._sound: Any = self._container.add_stream("aac", rate=rate, layout="mono")
        self._video: Any = self._container.add_stream("libx264", rate=FRAME_RATE, options={"preset": "veryfast", "crf": "20"})
        self._video.pix_fmt = "yuv420p"
        self._size: tuple[int, int] | None = None
        self._samples, self._shown = 0, -1
        self._waiting: list[tuple[np.ndarray, int]] = []

    def picture(self, rgb: UInt8[np.ndarray, "height width 3"], number: int) -> None:
        """The picture of frame `number` since the beginning; older ones than the last are left out."""
        if number <= self._shown:
            return
        if self._size is None:
            self._size = (rgb.shape[1], rgb.shape[0])
            self._video.width, self._video.height = self._size
            _describe_colours(self._video.codec_context)
            self._container.start_encoding()
            for samples, at in self._waiting:
                self._encode_sound(samples, at)
            self._waiting.clear()
        if (rgb.shape[1], rgb.shape[0]) != self._size:
            rgb = cv2.resize(rgb, self._size, interpolation=cv2.INTER_LINEAR)
        frame = video_frame(rgb)
        frame.pts, frame.time_base, self._shown = number, Fraction(1, FRAME_RATE), number
        self._container.mux(self._video.encode(frame))

    def sound(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """The next samples; they follow the beginning without a gap."""
        if self._size is None:
            self._waiting.append((samples, self._samples))
        else:
            self._encode_sound(samples, self._samples)
        self._samples += len(samples)

    def close(self) -> int:
        """End the file; returns the number of the last picture plus one, 0 when there was none and no file is left."""
        if self._size is not None:
            self._container.mux(self._video.encode(None))
            self._container.mux(self._sound.encode(None))
        self._container.close()
        return self._shown + 1

    def _encode_sound(self, samples: np.ndarray, at: int) -> None:
        self._container.mux(self._sound.encode(sound_frame(samples, self.rate, at)))


def video_frame(rgb: UInt8[np.ndarray, "height width 3"]) -> Any:
    """The picture as limited-range BT.601 yuv420p; chroma from one pixel of four, which is quick."""
    frame = av.VideoFrame.from_ndarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
    frame.time_base = Fraction(1, FRAME_RATE)
    return frame


def sound_frame(samples: Int16[np.ndarray, " samples"], rate: int, start: int) -> Any:
    """Mono samples whose first is number `start`."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame


def _describe_colours(context: Any) -> None:
    # Numbers of ITU-T H.273: limited range, SMPTE 170M matrix (BT.601), BT.709 primaries and transfer (sRGB's nearest).
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 6, 1, 1


def _context(name: str, width: int, height: int, options: dict[str, str]) -> Any:
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FRAME_RATE), Fraction(FRAME_RATE)
    context.gop_size, context.max_b_frames = KEY_FRAMES, 0
    context.options = options
    _describe_colours(context)
    context.open()
    return context


@lru_cache
def _choose_encoder(width: int, height: int, quality: int) -> tuple[str, dict[str, str]]:
    """The GPU's encoder if one picture of this size really passes through it, else x264."""
    options = {
        "preset": "p3",
        "tune": "ull",
        "zerolatency": "1",
        "delay": "0",
        "rc": "vbr",
        "cq": str(quality),
        "forced-idr": "1",
    }
    try:
        context = _context("h264_nvenc", width, height, options)
        if not context.encode(video_frame(np.zeros((height, width, 3), np.uint8))):
            raise ValueError("the encoder holds pictures back")
    except (av.FFmpegError, ValueError):
        # One thread: slices or frames in parallel would cost the renderer its processors.
        return "libx264", {"preset": "superfast", "tune": "zerolatency", "crf": str(quality), "x264-params": "threads=1"}
    return "h264_nvenc", options
