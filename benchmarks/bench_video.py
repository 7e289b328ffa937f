"""A film of 1000 frames: rendering alone, encoding alone, and both together. `python -m benchmarks.bench_video`

Needs PyAV. The renderer is that of a head (bench_train's with `--models`, else an untrained stand-in), or with `--stand-in MS` one
that copies precomputed pictures of the scene and takes MS milliseconds a frame without using the processor, as a GPU does.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from benchmarks.command import conclude, new_parser, run
from benchmarks.models import choose_model, encode_codes, without_pose
from benchmarks.scene import FRAMES, Clip, make_clip
from benchmarks.table import Result
from benchmarks.timing import first_call, summarise
from r2talker import methods
from r2talker.device import choose_device
from r2talker.errors import R2TalkerError
from r2talker.render.config import RenderSettings
from r2talker.render.host import copy_to_host, lay_out, leaves_as_planes
from r2talker.render.renderer import Renderer

TESTS = ("tests/media", "tests/render/test_renderer.py", "tests/ops/cuda/test_yuv420.py")
BATCH = 8
Batches = Callable[[], Iterator[UInt8[Tensor, "batch height width 3"]]]
"""Starts a rendering from its first frame."""


def precomputed(clip: Clip, frames: int, seconds: float) -> Batches:
    """Pictures of the scene copied into a ring of buffers, after waiting `seconds` a frame."""
    ring = [clip.pictures.new_empty(BATCH, *clip.background.shape) for _ in range(2)]

    def draw() -> Iterator[Tensor]:
        for number, some in enumerate(_batches(frames)):
            time.sleep(seconds * len(some))
            yield torch.index_select(clip.pictures, 0, some.to(clip.pictures.device), out=ring[number % 2][: len(some)])

    return draw


def rendered(clip: Clip, frames: int, method: str, models: Path | None) -> Batches:
    """Head and torso of a method."""
    model = choose_model(models, method, clip.size, clip.background.device, torso=True)
    renderer = Renderer(model, RenderSettings(), without_pose(clip.camera(0)), clip.background, batch=BATCH)
    codes = encode_codes(model, clip)

    def draw() -> Iterator[Tensor]:
        for some in _batches(frames):
            place = some.to(codes.device)
            yield renderer.draw(codes[place], clip.eye[place], clip.c2w[place])

    return draw


def bring(batches: Batches, device: torch.device) -> Iterator[UInt8[np.ndarray, "batch *picture"]]:
    """Render and bring to the host in the layout that the encoder gets from `device`."""
    return copy_to_host(lay_out(batches(), device))


def render_alone(batches: Batches, device: torch.device) -> int:
    """Render and bring to the host; returns the number of frames."""
    return sum(len(batch) for batch in bring(batches, device))


def encode_alone(
    path: Path, pictures: UInt8[np.ndarray, "some *picture"], size: int, device: torch.device, frames: int
) -> None:
    """Encode pictures in memory, over and over."""
    from r2talker.media.write import VideoWriter

    with VideoWriter(path, width=size, height=size) as writer:
        write = writer.write_planar if leaves_as_planes(device) else writer.write
        for picture in itertools.islice(itertools.cycle(pictures), frames):
            write(picture)


def render_and_encode(path: Path, batches: Batches, size: int, device: torch.device) -> None:
    """As `Avatar.render_video` does it."""
    from r2talker.media.threaded import ThreadedWriter
    from r2talker.media.write import VideoWriter

    with ThreadedWriter(VideoWriter(path, width=size, height=size)) as writer:
        write = writer.write_planar if leaves_as_planes(device) else writer.write
        for batch in bring(batches, device):
            write(batch)


def measure_film(batches: Batches, clip: Clip, frames: int, *, repeats: int) -> Iterator[Result]:
    """Medians over rounds of all three, which take turns so that a busy machine disturbs them alike."""
    device, size = clip.background.device, clip.size
    # The pictures that are encoded alone are the ones that this renderer makes.
    pictures = np.concatenate(list(itertools.islice(bring(batches, device), -(-FRAMES // BATCH))))[:FRAMES]
    seconds: dict[str, list[float]] = {"rendering alone": [], "encoding alone": [], "together": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        for _ in range(repeats):
            seconds["rendering alone"].append(first_call(lambda: render_alone(batches, device), device))
            seconds["encoding alone"].append(first_call(lambda: encode_alone(path, pictures, size, device, frames), device))
            seconds["together"].append(first_call(lambda: render_and_encode(path, batches, size, device), device))
    medians = {name: summarise(rounds).median for name, rounds in seconds.items()}
    name = f"{frames} frames, {size} x {size}"
    for quantity, median in medians.items():
        yield Result("video", name, quantity, median, "s")
    slower = max(medians["rendering alone"], medians["encoding alone"])
    yield Result("video", name, "together / slower alone", medians["together"] / slower, "")


def _batches(frames: int) -> Iterator[Tensor]:
    """Numbers of the scene's frames, over and over, BATCH at a time."""
    return iter((torch.arange(frames) % FRAMES).split(BATCH))


def _source(args: argparse.Namespace, clip: Clip, frames: int) -> Batches:
    if args.stand_in is not None:
        return precomputed(clip, frames, args.stand_in / 1e3)
    return rendered(clip, frames, args.method, args.models)


def main() -> None:
    """Measure and print."""
    parser = new_parser(__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="length of the film")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--method", default=methods.DEFAULT, choices=methods.available(), help="method of the head")
    parser.add_argument("--models", type=Path, help="folder of heads that bench_train saved at this size")
    parser.add_argument("--stand-in", type=float, metavar="MS", help="use a renderer that takes MS milliseconds a frame")
    args = parser.parse_args()
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise R2TalkerError("this benchmark encodes with PyAV, which is not installed; pip install av") from error
    device, frames = choose_device(args.device), 40 if args.quick else args.frames
    clip = make_clip(args.size, device)
    results = list(measure_film(_source(args, clip, frames), clip, frames, repeats=1 if args.quick else args.repeats))
    conclude(results, args, device, TESTS)


if __name__ == "__main__":
    run(main)
