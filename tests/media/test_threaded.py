"""Encoding in a thread: the same file, held back when slow, and nothing left behind whatever goes wrong."""

import itertools
import resource
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from r2talker.errors import R2TalkerError
from r2talker.media.threaded import ThreadedWriter
from r2talker.media.write import VideoWriter
from r2talker.ops.yuv420.op import rgb_to_yuv420

SIZE = 32


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def film(path: Path) -> VideoWriter:
    """Without loss, because x264 does not always decide alike twice."""
    return VideoWriter(path, width=SIZE, height=SIZE, quality=0)


class Slow(VideoWriter):
    """Takes `seconds` for a picture and remembers how many it has begun."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__(path, width=SIZE, height=SIZE)
        self.seconds, self.begun = seconds, 0

    def write(self, rgb: np.ndarray) -> None:
        self.begun += 1
        time.sleep(self.seconds)
        super().write(rgb)


class Noting(VideoWriter):
    """Remembers what it was given."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, width=SIZE, height=SIZE)
        self.given: list[np.ndarray] = []

    def write(self, rgb: np.ndarray) -> None:
        self.given.append(rgb)
        super().write(rgb)

    def write_planar(self, planes: np.ndarray) -> None:
        self.given.append(planes)
        super().write_planar(planes)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "r2talker-encoder":
            # It has said that it is finished and needs no more than its last line.
            thread.join(1)
            assert not thread.is_alive()


def batches_then_failure() -> Iterator[np.ndarray]:
    for _ in range(4):
        yield pictures(8)
    raise KeyError("stop")


def press_ctrl_c(after: float) -> None:
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(after, signal.pthread_kill, (main, signal.SIGINT)).start()


def test_the_film_is_that_of_the_writer(tmp_path: Path) -> None:
    frames = pictures(11)
    with film(tmp_path / "plain.mp4") as writer:
        for frame in frames:
            writer.write(frame)
    with ThreadedWriter(film(tmp_path / "threaded.mp4")) as threaded:
        for start in range(0, 11, 3):
            threaded.write(frames[start : start + 3])
    assert np.array_equal(decoded(tmp_path / "threaded.mp4"), decoded(tmp_path / "plain.mp4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.mp4", "threaded.mp4"]


def test_pictures_and_planes_keep_their_order(tmp_path: Path) -> None:
    writer = Noting(tmp_path / "film.mp4")
    frames = pictures(11)
    planes = rgb_to_yuv420(torch.from_numpy(frames)).numpy()
    with ThreadedWriter(writer) as threaded:
        threaded.write(frames[:3])
        threaded.write_planar(planes[3:7])
        threaded.write(frames[7:8])
        threaded.write_planar(planes[8:])
    wanted = [planes[number] if number in (3, 4, 5, 6, 8, 9, 10) else frames[number] for number in range(11)]
    assert all(np.array_equal(got, one) for got, one in zip(writer.given, wanted, strict=True))
    assert len(decoded(tmp_path / "film.mp4")) == 11


def test_planes_that_do_not_fit_reach_the_renderer(tmp_path: Path) -> None:
    def write_planes() -> None:
        with ThreadedWriter(film(tmp_path / "film.mp4")) as threaded:
            threaded.write_planar(np.zeros((2, SIZE, SIZE), np.uint8))

    with pytest.raises(ValueError, match="expected planes uint8"):
        write_planes()
    assert list(tmp_path.iterdir()) == []


def test_rendering_goes_on_meanwhile(tmp_path: Path) -> None:
    """Every picture is handed over while it is being encoded, and encoded while the next one is rendered."""
    begun, rendered = threading.Semaphore(0), threading.Semaphore(0)

    class Meeting(VideoWriter):
        def write(self, rgb: np.ndarray) -> None:
            begun.release()
            assert rendered.acquire(timeout=20), "rendering waited for the end of this picture"
            super().write(rgb)

    with ThreadedWriter(Meeting(tmp_path / "film.mp4", width=SIZE, height=SIZE)) as threaded:
        for picture in pictures(10):
            threaded.write(picture[None])
            assert begun.acquire(timeout=20)
            rendered.release()
    assert len(decoded(tmp_path / "film.mp4")) == 10


def test_a_slow_encoder_holds_the_renderer_back(tmp_path: Path) -> None:
    writer, ahead = Slow(tmp_path / "film.mp4", 0.02), 2
    with ThreadedWriter(writer, ahead=ahead) as threaded:
        for number in range(1, 13):
            threaded.write(pictures(1))
            # One more is in the encoder's hands.
            assert number - writer.begun <= ahead
    assert writer.frames == 12


def write_all(threaded: ThreadedWriter, batches: Iterable[np.ndarray]) -> None:
    with threaded:
        for batch in batches:
            threaded.write(batch)


def test_the_encoders_error_reaches_the_renderer(tmp_path: Path) -> None:
    written = itertools.count()
    batches = (np.zeros((1, 8, 8, 3), np.uint8) for number in written if number < 1000)
    with pytest.raises(ValueError, match="expected uint8"):
        write_all(ThreadedWriter(film(tmp_path / "film.mp4"), ahead=1), batches)
    assert next(written) < 1000
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_last_batch_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        write_all(ThreadedWriter(film(tmp_path / "film.mp4")), [pictures(2), np.zeros((1, 8, 8, 3), np.uint8)])
    assert list(tmp_path.iterdir()) == []


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match=r"film\.mp4.*not one picture"), ThreadedWriter(film(tmp_path / "film.mp4")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the file size stands in for the full disk, as in test_write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(R2TalkerError, match="cannot write"):
            write_all(ThreadedWriter(film(tmp_path / "film.mp4")), [pictures(4)] * 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_starts_no_thread(tmp_path: Path) -> None:
    (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
    with pytest.raises(R2TalkerError, match=r"folder/film\.mp4"), ThreadedWriter(film(tmp_path / "folder" / "film.mp4")):
        pass


@pytest.mark.parametrize("before", [None, b"the film of yesterday"])
def test_an_exception_drops_what_waits(tmp_path: Path, before: bytes | None) -> None:
    if before is not None:
        (tmp_path / "film.mp4").write_bytes(before)
    writer = Slow(tmp_path / "film.mp4", 0.05)
    with pytest.raises(KeyError):
        write_all(ThreadedWriter(writer), batches_then_failure())
    assert writer.begun < 8
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({} if before is None else {"film.mp4": before})


def test_ctrl_c_while_held_back(tmp_path: Path) -> None:
    writer = Slow(tmp_path / "film.mp4", 0.05)
    press_ctrl_c(0.3)
    with pytest.raises(KeyboardInterrupt):
        write_all(ThreadedWriter(writer, ahead=1), [pictures(2)] * 50)
    assert 0 < writer.begun < 100
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_pressed_twice_while_the_last_pictures_are_encoded(tmp_path: Path) -> None:
    writer = Slow(tmp_path / "film.mp4", 0.2)
    press_ctrl_c(0.3)
    press_ctrl_c(0.35)
    with pytest.raises(KeyboardInterrupt):
        write_all(ThreadedWriter(writer), [pictures(100)])
    assert 0 < writer.begun < 100
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_where_calls_are_restarted(tmp_path: Path) -> None:
    """As asyncio leaves it: a wait without end would not notice."""
    signal.siginterrupt(signal.SIGINT, False)
    try:
        writer = Slow(tmp_path / "film.mp4", 0.05)
        press_ctrl_c(0.3)
        with pytest.raises(KeyboardInterrupt):
            write_all(ThreadedWriter(writer), [pictures(100)])
        assert 0 < writer.begun < 100
    finally:
        signal.siginterrupt(signal.SIGINT, True)


def test_at_least_one_batch_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ThreadedWriter(film(tmp_path / "film.mp4"), ahead=0)
