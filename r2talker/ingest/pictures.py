"""Reading and writing the many small pictures of a dataset, and working on them with all cores."""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from r2talker.errors import R2TalkerError
from r2talker.files import PARTIAL, write_bytes
from r2talker.ingest.steady import read_steady
from r2talker.ingest.step import Workspace

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ordered(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` on as many threads as there are cores; few items are in flight, so memory does not grow with their number.

    OpenCV lets go of Python's lock, hence threads are enough. Its own threads rest meanwhile: they would only wait for a core.
    """
    workers = os.cpu_count() or 1
    own_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            cv2.setNumThreads(own_threads)
            for future in waiting:
                future.cancel()


def prepare_folder(folder: Path, *, keep: bool = False) -> None:
    """Make `folder` exist and hold nothing, so that pictures of an earlier, longer clip do not stay behind.

    keep: only what a killed run left half-written goes.
    """
    try:
        if folder.exists() and not keep:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob(PARTIAL):
            half.unlink()
    except OSError as error:
        raise R2TalkerError(f"cannot write {folder}: {error.strerror or error}; choose another dataset folder") from error


def read_clip(
    workspace: Workspace, crop: tuple[int, int, int], size: int, wanted: list[int] | None = None
) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
    """The clip's RGB pictures at 25 fps, steadied where the camera moved, cut to the square `crop` (left, top, side) and scaled to `size`.

    wanted: numbers of the pictures to read, rising, None = all.
    """
    left, top, side = crop
    for picture in read_steady(workspace, wanted):
        square = picture[top : top + side, left : left + side]
        if side != size:
            square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if size < side else cv2.INTER_CUBIC)
        yield square


def read_rgb(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Decode one colour picture."""
    return _decode(path, cv2.IMREAD_COLOR)[..., ::-1]


def read_gray(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Decode one picture of a single channel."""
    return _decode(path, cv2.IMREAD_GRAYSCALE)


def write_jpeg(path: Path, rgb: UInt8[np.ndarray, "height width 3"], quality: int) -> None:
    """Write an RGB picture as a JPEG with tables of its own; pictures of this size get no smaller by being progressive."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    write_bytes(path, encode(path.suffix, rgb[..., ::-1], options))


def encode(suffix: str, pixels: UInt8[np.ndarray, "height width *channels"], options: list[int]) -> bytes:
    """Encode pixels in OpenCV's channel order (BGR, BGRA)."""
    return cv2.imencode(suffix, np.ascontiguousarray(pixels), options)[1].tobytes()


def _decode(path: Path, mode: int) -> UInt8[np.ndarray, "..."]:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; ingest the clip again") from error
    pixels = cv2.imdecode(content, mode) if content.size else None
    if pixels is None:
        raise R2TalkerError(f"{path} is not a picture; delete it and ingest the clip again")
    return pixels
