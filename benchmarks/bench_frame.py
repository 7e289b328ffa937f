"""Time, memory and distance from the ceilings of one frame of the scene, per method, plain and by the renderer.

`python -m benchmarks.bench_frame [--models FOLDER]`: heads that bench_train saved, or else an untrained stand-in.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.ceilings import Ceilings, measure_ceilings
from benchmarks.command import add_methods, conclude, describe_ceilings, new_parser, run
from benchmarks.first_frame import measure_first_frame
from benchmarks.models import choose_model, count_samples, encode_codes, frame_code, sample_cost, without_pose
from benchmarks.scene import FRAMES, Clip, make_clip
from benchmarks.table import Result
from benchmarks.timing import Timing, measure, peak_memory
from r2talker.device import choose_device
from r2talker.evaluate.metrics import psnr
from r2talker.model.talking_head import TalkingHead
from r2talker.render.config import RenderSettings
from r2talker.render.frame import render_frame
from r2talker.render.renderer import Renderer

TESTS = ("tests/ops/cuda", "tests/render")
BATCH = 8
"""Frames per draw where images per second are counted."""
COUNTED = range(0, FRAMES, 15)
"""Frames whose samples are averaged."""


@dataclass(frozen=True)
class Subject:
    """One model on the scene, ready to be drawn."""

    model: TalkingHead
    clip: Clip
    codes: Float[Tensor, "frames code"]
    settings: RenderSettings

    def plain(self, frame: int) -> UInt8[Tensor, "height width 3"]:
        """A frame in plain torch, rays included, as bytes."""
        code = frame_code(self.model, self.clip, self.codes, frame)
        plate = self.clip.background.float() / 255
        picture = render_frame(self.model, self.clip.camera(frame), code, plate, self.settings)
        return (picture.rgb * 255).round().to(torch.uint8)

    def renderer(self, batch: int) -> Renderer:
        """A renderer of the model."""
        return Renderer(self.model, self.settings, without_pose(self.clip.camera(0)), self.clip.background, batch=batch)

    def draw(self, renderer: Renderer, start: int) -> UInt8[Tensor, "batch height width 3"]:
        """As many frames as the renderer draws at once, from `start`."""
        frames = slice(start, start + renderer.batch)
        return renderer.draw(self.codes[frames], self.clip.eye[frames], self.clip.c2w[frames])


def measure_method(
    method: str, clip: Clip, models: Path | None, device: torch.device, ceilings: Ceilings, *, repeats: int
) -> Iterator[Result]:
    """Rows of one method: head alone and whole frame, each plain and by the renderer."""
    for torso in (False, True):
        model = choose_model(models, method, clip.size, device, torso=torso)
        subject = Subject(model, clip, encode_codes(model, clip), RenderSettings())
        scope = "head + torso" if torso else "head"
        drawers = {"plain": subject.plain, "renderer": _single(subject)}
        for engine, draw in drawers.items():
            name = f"{method}, {scope}, {engine}"
            # Plain torch takes hundreds of times as long; a few frames tell enough.
            timing = measure(_cycling(draw, 1), device, repeats=repeats if engine == "renderer" else max(2, repeats // 10))
            yield from _timing_rows(name, timing)
            yield Result("frame", name, "peak memory", peak_memory(_cycling(draw, 1), device) / 2**20, "MiB")
            if not torso:
                yield from _ratio_rows(name, subject, ceilings, timing, fused=engine == "renderer")
        yield from _batch_rows(f"{method}, {scope}, renderer", subject, device, repeats)


def measure_conditioning(method: str, clip: Clip, models: Path | None, device: torch.device, *, repeats: int) -> Result:
    """Encoding the condition of a known clip, per frame."""
    model = choose_model(models, method, clip.size, device)
    timing = measure(lambda: encode_codes(model, clip), device, repeats=repeats)
    return Result("frame", f"{method}, conditioning", "median", timing.median / FRAMES * 1e3, "ms")


def _single(subject: Subject) -> Callable[[int], Tensor]:
    renderer = subject.renderer(1)
    return lambda frame: subject.draw(renderer, frame)


def _cycling(draw: Callable[[int], Tensor], step: int) -> Callable[[], Tensor]:
    """A draw of the next frames at every call."""
    starts = itertools.cycle(range(0, FRAMES - step + 1, step))
    return lambda: draw(next(starts))


def _timing_rows(name: str, timing: Timing) -> Iterator[Result]:
    for quantity, seconds in (("median", timing.median), ("p95", timing.p95), ("least", timing.least)):
        yield Result("frame", name, quantity, seconds * 1e3, "ms")


def _ratio_rows(name: str, subject: Subject, ceilings: Ceilings, timing: Timing, *, fused: bool) -> Iterator[Result]:
    """Samples, and the least bytes and operations that they need against what the machine could have done in the time."""
    clip, model = subject.clip, subject.model
    samples = _evaluated(subject) if fused else None
    if samples is None:
        samples = sum(count_samples(model, clip.camera(frame), subject.settings) for frame in COUNTED) / len(COUNTED)
    cost = sample_cost(model)
    yield Result("frame", name, "samples", samples, "")
    yield Result("frame", name, "of copy", 100 * ceilings.share_of_copy(samples * cost.moved, timing.median), "%")
    yield Result("frame", name, "of matrix", 100 * ceilings.share_of_matrix(samples * cost.operations, timing.median), "%")


def _evaluated(subject: Subject) -> float | None:
    """Samples per frame that the renderer evaluates, which ends rays early; None when it draws plainly."""
    renderer = subject.renderer(1)
    counts = []
    for frame in COUNTED:
        subject.draw(renderer, frame)
        counts.append(renderer.evaluated_samples)
    known = [count for count in counts if count is not None]
    return sum(known) / len(known) if known else None


def _batch_rows(name: str, subject: Subject, device: torch.device, repeats: int) -> Iterator[Result]:
    """Images per second in batches, and how far the pictures are from plain ones."""
    renderer = subject.renderer(BATCH)
    timing = measure(_cycling(lambda start: subject.draw(renderer, start), BATCH), device, repeats=max(1, repeats // 4))
    yield Result("frame", name, f"{BATCH} at once", BATCH / timing.median, "images/s")
    drawn = subject.draw(renderer, 0)
    apart = min(psnr(drawn[frame].float() / 255, subject.plain(frame).float() / 255) for frame in range(BATCH))
    yield Result("frame", name, "against plain", apart, "dB")


def measure_frames(
    args: argparse.Namespace, device: torch.device, clip: Clip, ceilings: Ceilings, models: Path | None
) -> list[Result]:
    """All rows of all methods."""
    repeats = 2 if args.quick else args.repeats
    print(f"heads: {models or 'untrained stand-ins'}", flush=True)
    results: list[Result] = []
    for method in args.methods:
        results += measure_method(method, clip, models, device, ceilings, repeats=repeats)
        results.append(measure_conditioning(method, clip, models, device, repeats=repeats))
        if not args.quick:
            first = measure_first_frame(method, device, args.size, models)
            name = f"{method}, head + torso, renderer"
            results.append(Result("frame", name, "first frame, nothing cached", first.cold, "s"))
            results.append(Result("frame", name, "first frame, kernels cached", first.warm, "s"))
        print(f"{method} done", flush=True)
    return results


def main() -> None:
    """Measure and print."""
    parser = new_parser(__doc__)
    add_methods(parser)
    parser.add_argument("--models", type=Path, help="folder of heads that bench_train saved at this size")
    parser.add_argument("--repeats", type=int, default=200, help="timed frames")
    args = parser.parse_args()
    device = choose_device(args.device)
    ceilings = measure_ceilings(device, repeats=3 if args.quick else 20)
    print(describe_ceilings(ceilings))
    conclude(measure_frames(args, device, make_clip(args.size, device), ceilings, args.models), args, device, TESTS)


if __name__ == "__main__":
    run(main)
