"""Every kernel of a training step and of a frame: its time, and how far it is from what its bytes and operations need at least.

Bytes are those that must pass the second-level cache or the memory, counted from the samples that were evaluated; both are compared
with the measured copy bandwidth and matrix rate. Needs a CUDA device. `python -m benchmarks.bench_kernels`
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ceilings import Ceilings, measure_ceilings
from benchmarks.command import add_methods, conclude, describe_ceilings, new_parser, run
from benchmarks.fused_engine import FusedEngine
from benchmarks.models import build_model, choose_model, encode_codes, sample_cost, without_pose
from benchmarks.scene import Clip, make_clip
from benchmarks.table import Result
from r2talker.device import choose_device
from r2talker.errors import R2TalkerError
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.cuda.kernels import OPS, missing
from r2talker.render.config import RenderSettings
from r2talker.render.renderer import Renderer

TESTS = ("tests/ops/cuda",)
STEPS, RAYS, FRAMES_PER_STEP, WARM = 3000, 16384, 4, 400
REPEATS = 16
LEAST_MICROSECONDS = 2.0
"""Kernels that take less are left out."""


@dataclass(frozen=True)
class Need:
    """The least a kernel must move, in bytes, and compute, in operations of matrix products."""

    moved: float
    operations: float = 0.0


def time_kernels(work: Callable[[], None], times: int) -> dict[str, float]:
    """Microseconds per call of `work`, by kernel."""
    work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as taken:
        for _ in range(times):
            work()
        torch.cuda.synchronize()
    return {event.key: event.device_time_total / times for event in taken.key_averages() if event.device_time_total > 0}


def our_kernels() -> set[str]:
    """Names of the kernels in this package's sources."""
    pattern = re.compile(r"__global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\(")
    return {name for path in OPS.rglob("*.cu") for name in pattern.findall(path.read_text())}


def kernel_rows(what: str, times: dict[str, float], needs: dict[str, Need], ceilings: Ceilings) -> list[Result]:
    """Rows of all kernels that matter, the rest of them as one."""
    rows, rest, ours = [], 0.0, our_kernels()
    for name, microseconds in sorted(times.items(), key=lambda item: -item[1]):
        if name not in ours:
            rest += microseconds
            continue
        if microseconds < LEAST_MICROSECONDS:
            continue
        subject, seconds = f"{what}: {name}", microseconds * 1e-6
        rows.append(Result("kernels", subject, "time", microseconds, "us"))
        if name in needs:
            need = needs[name]
            rows.append(Result("kernels", subject, "of copy", 100 * ceilings.share_of_copy(need.moved, seconds), "%"))
            if need.operations:
                rows.append(
                    Result("kernels", subject, "of matrix", 100 * ceilings.share_of_matrix(need.operations, seconds), "%")
                )
    return [*rows, Result("kernels", f"{what}: PyTorch's own", "time", rest, "us")]


def training_rows(method: str, clip: Clip, device: torch.device, ceilings: Ceilings) -> list[Result]:
    """The kernels of a step, after WARM steps."""
    model = build_model(method, clip.size, device)
    cost = sample_cost(model)
    engine = FusedEngine(model, clip, STEPS, RAYS, FRAMES_PER_STEP)
    engine.fused.advance(WARM)
    times = time_kernels(lambda: engine.fused.advance(1), REPEATS)
    samples = engine.fused.readings()["samples"]
    features = 2.0 * 64 * samples
    needs = {
        "shade_samples": Need(samples * cost.moved + features, samples * cost.operations),
        # The forward pass again, then twice as much for the gradients of activations and of weights.
        "pull_back_networks": Need(2 * features, 3 * samples * cost.operations),
        # Every sector is read, added to and written.
        "spread_features": Need(2 * samples * cost.moved + features),
        "adam_step": Need(4.0 * engine.fused.weights.adam.values.numel()),
    }
    return kernel_rows(f"{method}, step", times, needs, ceilings)


def frame_rows(method: str, clip: Clip, models: Path | None, device: torch.device, ceilings: Ceilings) -> list[Result]:
    """The kernels of one frame of head and torso."""
    model = choose_model(models, method, clip.size, device, torso=True)
    codes = encode_codes(model, clip)
    renderer = Renderer(model, RenderSettings(), without_pose(clip.camera(0)), clip.background, batch=1)
    times = time_kernels(lambda: _draw(renderer, codes, clip), REPEATS)
    samples = renderer.evaluated_samples or 0.0
    cost = sample_cost(model)
    pixels = clip.size**2
    needs = {
        "shade_rays": Need(samples * cost.moved, samples * cost.operations),
        # Background in as halves, picture out as bytes; rays to shade are a third of the pixels here.
        "list_rays": Need(pixels * (8 + 3)),
        "blend_torso": Need(*_torso_need(model, 0.3 * pixels)),
    }
    return kernel_rows(f"{method}, frame", times, needs, ceilings)


def _draw(renderer: Renderer, codes: torch.Tensor, clip: Clip) -> None:
    renderer.draw(codes[:1], clip.eye[:1], clip.c2w[:1])


def _torso_need(model: TalkingHead, pixels: float) -> tuple[float, float]:
    """Sectors of the torso's grid (two per level), halves in and out; products of its networks over the coordinates' part."""
    assert model.torso is not None
    levels = model.torso.grid.layout.levels
    products = 42 * 64 + 64 * 64 + 64 * 2 + (42 + 2 * levels) * 32 + 32 * 32 + 32 * 4
    return pixels * (2 * 32 * levels + 16), pixels * 2 * products


def measure_kernels(
    args: argparse.Namespace, device: torch.device, clip: Clip, ceilings: Ceilings, models: Path | None
) -> list[Result]:
    """All rows of all methods."""
    reason = missing(device)
    if reason is not None:
        raise R2TalkerError(reason)
    results: list[Result] = []
    for method in args.methods:
        results += training_rows(method, clip, device, ceilings)
        results += frame_rows(method, clip, models, device, ceilings)
    return results


def main() -> None:
    """Measure and print."""
    parser = new_parser(__doc__)
    add_methods(parser)
    parser.add_argument("--models", type=Path, help="folder of heads that bench_train saved at this size")
    args = parser.parse_args()
    device = choose_device(args.device)
    ceilings = measure_ceilings(device)
    print(describe_ceilings(ceilings))
    conclude(measure_kernels(args, device, make_clip(args.size, device), ceilings, args.models), args, device, TESTS)


if __name__ == "__main__":
    run(main)
