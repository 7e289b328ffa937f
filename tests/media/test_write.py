"""What `media.write` leaves on disk, read back with PyAV."""

import itertools
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
import torch

from r2talker.errors import R2TalkerError
from r2talker.media.write import VideoWriter, _choose_encoder, write_png, write_wav
from r2talker.ops.yuv420.op import rgb_to_yuv420
from tests.tolerances import TOLERANCES

COLOUR_AFTER_H264 = TOLERANCES["colour after H.264"].atol
SOUND_AFTER_AAC_SECONDS = TOLERANCES["sound after AAC"].atol
RATE = 16000


def make_frames(count: int, height: int, width: int) -> list[np.ndarray]:
    """A smooth colour gradient that drifts, so that chroma subsampling costs little."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = 40 + 160 * rows / height, 60 + 120 * columns / width
    return [np.stack([red, green, np.full_like(red, 50.0 + 5 * index)], -1).astype(np.uint8) for index in range(count)]


def read_pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_sound(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        blocks = [frame.to_ndarray()[0] for frame in container.decode(audio=0) if frame.pts >= 0]
    return np.concatenate(blocks), rate


def write_clip(path: Path, frames: list[np.ndarray], **options) -> None:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width=width, height=height, **options) as writer:
        for frame in frames:
            writer.write(frame)


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001])
def test_pictures_come_back(tmp_path: Path, fps: float) -> None:
    frames = make_frames(12, 64, 96)
    write_clip(tmp_path / "clip.mp4", frames, fps=fps)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-4)
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert not container.streams.audio
    back = read_pictures(tmp_path / "clip.mp4")
    assert len(back) == len(frames)
    for sent, got in zip(frames, back, strict=True):
        assert np.abs(sent.astype(float) - got).mean() < COLOUR_AFTER_H264


def test_opencv_sees_the_same_colours(tmp_path: Path) -> None:
    frames = make_frames(3, 64, 64)
    write_clip(tmp_path / "clip.mp4", frames)
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    found, bgr = capture.read()
    capture.release()
    assert found
    assert np.abs(frames[0].astype(float) - bgr[..., ::-1]).mean() < COLOUR_AFTER_H264


def test_colours_of_neighbouring_pixels_are_averaged(tmp_path: Path) -> None:
    """Stripes finer than the halved chroma keep their mean colour instead of taking that of every other stripe."""
    stripes = np.full((64, 64, 3), 100, np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 160, 160
    write_clip(tmp_path / "clip.mp4", [stripes] * 3)
    back = read_pictures(tmp_path / "clip.mp4")[1]
    assert np.abs(back.mean((0, 1)) - stripes.mean((0, 1))).max() < COLOUR_AFTER_H264


def test_the_encoder_is_tried_once_per_size(tmp_path: Path) -> None:
    _choose_encoder.cache_clear()
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, make_frames(2, 32, 32))
    assert _choose_encoder.cache_info().misses == 1


def test_sound_is_in_step(tmp_path: Path) -> None:
    seconds = 2.0
    time = np.arange(int(seconds * RATE)) / RATE
    burst = np.where((time > 1.0) & (time < 1.2), np.sin(2 * np.pi * 440 * time), 0).astype(np.float32)
    write_clip(tmp_path / "clip.mp4", make_frames(50, 32, 32), audio=burst, audio_rate=RATE)
    sound, rate = read_sound(tmp_path / "clip.mp4")
    assert rate == RATE
    assert len(sound) / rate == pytest.approx(seconds, abs=SOUND_AFTER_AAC_SECONDS)
    loud = np.flatnonzero(np.abs(sound) > 0.3) / rate
    assert loud.min() == pytest.approx(1.0, abs=SOUND_AFTER_AAC_SECONDS)
    assert loud.max() == pytest.approx(1.2, abs=SOUND_AFTER_AAC_SECONDS)


def test_sound_ends_with_the_last_picture(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", make_frames(25, 32, 32), audio=np.full(10 * RATE, 0.1, np.float32))
    sound, rate = read_sound(tmp_path / "clip.mp4")
    assert len(sound) / rate == pytest.approx(1.0, abs=SOUND_AFTER_AAC_SECONDS)


def test_sound_and_pictures_alternate_in_the_file(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", make_frames(100, 32, 32), audio=np.zeros(4 * RATE, np.float32))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    changes = sum(before != after for before, after in itertools.pairwise(kinds))
    assert changes > 4


def test_odd_sizes_are_padded(tmp_path: Path) -> None:
    frames = make_frames(4, 51, 33)
    write_clip(tmp_path / "clip.mp4", frames)
    back = read_pictures(tmp_path / "clip.mp4")
    assert back[0].shape == (52, 34, 3)
    assert np.abs(frames[0].astype(float) - back[0][:51, :33]).mean() < COLOUR_AFTER_H264


@pytest.mark.parametrize(("height", "width"), [(64, 96), (51, 33), (34, 50)])
def test_planes_make_the_same_film(tmp_path: Path, height: int, width: int) -> None:
    frames = make_frames(12, height, width)
    write_clip(tmp_path / "rgb.mp4", frames)
    with VideoWriter(tmp_path / "planes.mp4", width=width, height=height) as writer:
        for planes in rgb_to_yuv420(torch.from_numpy(np.stack(frames))).numpy():
            writer.write_planar(planes)
    both = zip(read_pictures(tmp_path / "planes.mp4"), read_pictures(tmp_path / "rgb.mp4"), frames, strict=True)
    for planar, plain, sent in both:
        assert np.abs(planar.astype(float) - plain).mean() < TOLERANCES["planes or pictures"].atol
        assert np.abs(planar[:height, :width].astype(float) - sent).mean() < COLOUR_AFTER_H264


def test_planes_bring_their_sound(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", width=32, height=32, audio=np.full(10 * RATE, 0.1, np.float32)) as writer:
        for _ in range(25):
            writer.write_planar(np.full((48, 32), 128, np.uint8))
    sound, rate = read_sound(tmp_path / "clip.mp4")
    assert len(sound) / rate == pytest.approx(1.0, abs=SOUND_AFTER_AAC_SECONDS)


@pytest.mark.parametrize(
    "planes", [np.zeros((32, 32, 3), np.uint8), np.zeros((48, 31), np.uint8), np.zeros((48, 32), np.int16)]
)
def test_planes_of_another_size_are_refused(tmp_path: Path, planes: np.ndarray) -> None:
    # 31 x 31 pixels are padded to 32 x 32.
    with (
        pytest.raises(ValueError, match=r"planes uint8 \[48, 32\] for .*clip\.mp4, got"),
        VideoWriter(tmp_path / "clip.mp4", width=31, height=31) as writer,
    ):
        writer.write_planar(planes)
    assert list(tmp_path.iterdir()) == []


def write_all(path: Path, frames: Iterable[np.ndarray]) -> None:
    with VideoWriter(path, width=32, height=32) as writer:
        for frame in frames:
            writer.write(frame)


def frames_then_failure() -> Iterator[np.ndarray]:
    yield from make_frames(3, 32, 32)
    raise KeyError("stop")


def test_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_all(tmp_path / "clip.mp4", frames_then_failure())
    assert list(tmp_path.iterdir()) == []


def test_exception_keeps_the_older_file(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", make_frames(2, 32, 32))
    before = (tmp_path / "clip.mp4").read_bytes()
    with pytest.raises(KeyError), VideoWriter(tmp_path / "clip.mp4", width=32, height=32):
        raise KeyError("stop")
    assert (tmp_path / "clip.mp4").read_bytes() == before


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match=r"clip\.mp4"), VideoWriter(tmp_path / "clip.mp4", width=32, height=32):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_picture_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="32, 32, 3"), VideoWriter(tmp_path / "clip.mp4", width=32, height=32) as writer:
        writer.write(np.zeros((16, 32, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def write_noise(path: Path) -> None:
    write_clip(path, list(np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3), np.uint8)))


def write_hum(path: Path) -> None:
    write_wav(path, np.zeros(100_000, np.float32))


def write_picture(path: Path) -> None:
    write_png(path, np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))


WRITERS = [(write_noise, "out.mp4"), (write_hum, "out.wav"), (write_picture, "out.png")]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_folder_that_cannot_be_written(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
    with pytest.raises(R2TalkerError, match=f"folder/{name}"):
        write(tmp_path / "folder" / name)


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_full_disk_leaves_nothing(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    """A limit on the file size stands in for the full disk: both end in a failing write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(R2TalkerError, match="cannot write"):
            write(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_wav_comes_back(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 1000, dtype=np.float32)
    write_wav(tmp_path / "speech.wav", samples, 22050)
    back, rate = soundfile.read(tmp_path / "speech.wav", dtype="float32")
    assert rate == 22050
    np.testing.assert_allclose(back, samples, atol=1 / 32768)


def test_png_is_lossless(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_png(tmp_path / "picture.png", picture)
    assert (cv2.imread(str(tmp_path / "picture.png"))[..., ::-1] == picture).all()
