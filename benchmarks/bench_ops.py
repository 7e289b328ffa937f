"""Single operations on the samples of one frame of the scene, with the distance from the ceilings.

Bytes are the fewest that a lone operation must move through the device's memory: every input read once, every output written
once, a backward pass reading its forward's inputs again. `python -m benchmarks.bench_ops`
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.ceilings import Ceilings, measure_ceilings
from benchmarks.command import conclude, describe_ceilings, new_parser, run
from benchmarks.models import encode_codes, frame_code, sample_cost, stand_in
from benchmarks.scene import Clip, make_clip
from benchmarks.table import Result
from benchmarks.timing import Work, measure
from r2talker import methods
from r2talker.device import choose_device
from r2talker.model.parameters import ParameterGroup
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.composite.op import composite
from r2talker.ops.grid_encode.op import grid_encode
from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.ray_aabb.op import NearFar, intersect_aabb
from r2talker.ops.yuv420.op import rgb_to_yuv420
from r2talker.render.config import RenderSettings
from r2talker.train.phase import make_optimizer
from r2talker.types import Rays, Samples

FRAME = 0
PICTURES = 8
"""Pictures converted at once, as many as `Avatar` draws at once on a GPU."""
TESTS = (
    "tests/ops/test_grid_encode.py",
    "tests/ops/test_march_rays.py",
    "tests/ops/test_composite.py",
    "tests/ops/cuda/test_yuv420.py",
    "tests/golden/test_models.py",
)


@dataclass(frozen=True)
class Operation:
    """Something to time: the fewest bytes it moves, and the operations of its matrix products."""

    name: str
    work: Work
    moved: float
    operations: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """One frame of the scene seen by a stand-in model."""

    model: TalkingHead
    clip: Clip
    rays: Rays
    bounds: NearFar
    samples: Samples
    settings: RenderSettings


def make_inputs(size: int, device: torch.device) -> Inputs:
    """Rays and samples of a frame."""
    settings, clip = RenderSettings(), make_clip(size, device)
    model = stand_in(methods.DEFAULT, size, device)
    rays = generate_rays(clip.camera(FRAME))
    bounds = intersect_aabb(rays.origins, rays.directions, settings.aabb, min_near=settings.min_near)
    return Inputs(model, clip, rays, bounds, march(model, rays, bounds, settings), settings)


def march(model: TalkingHead, rays: Rays, bounds: NearFar, settings: RenderSettings) -> Samples:
    """The samples of rays in a model's occupied cells."""
    return march_rays(
        rays.origins, rays.directions, bounds.near, bounds.far, model.occupancy.bitfield,
        max_steps=settings.max_steps, dt_gamma=settings.growth,
    )  # fmt: skip


def list_operations(inputs: Inputs) -> Iterator[Operation]:
    """All that is timed."""
    yield _marching(inputs)
    yield from _encoding(inputs)
    yield _networks(inputs)
    yield from _compositing(inputs)
    yield _adam(inputs)
    yield _planes(inputs)


def size_of(*tensors: Tensor) -> int:
    """Bytes of tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _marching(inputs: Inputs) -> Operation:
    rays, bounds, samples = inputs.rays, inputs.bounds, inputs.samples
    # A whole picture's rays share one origin, which counts once.
    read = size_of(rays.directions, bounds.near, bounds.far, inputs.model.occupancy.bitfield)
    written = size_of(*(getattr(samples, name) for name in samples.__dataclass_fields__))
    return Operation("march_rays", lambda: march(inputs.model, rays, bounds, inputs.settings), read + written)


def _encoding(inputs: Inputs) -> Iterator[Operation]:
    grid, x = inputs.model.head.position_grid, inputs.samples.positions
    table = grid.embeddings.detach().clone().requires_grad_(True)
    out = grid_encode(x, table, grid.layout)
    cotangent = torch.randn_like(out)
    forward = size_of(x, table, out)

    def encode() -> Tensor:
        with torch.no_grad():
            return grid_encode(x, table, grid.layout)

    yield Operation("grid_encode forward", encode, forward)
    backward = forward + size_of(x, cotangent, table)
    both = _with_gradients([table], lambda: [grid_encode(x, table, grid.layout)], [cotangent])
    yield Operation("grid_encode forward + backward", both, backward)


def _networks(inputs: Inputs) -> Operation:
    model, samples = inputs.model, inputs.samples
    code = frame_code(model, inputs.clip, encode_codes(model, inputs.clip), FRAME)

    def evaluate() -> object:
        with torch.no_grad():
            return model.head(samples.positions, samples.directions, code)

    count = len(samples.positions)
    moved = size_of(samples.positions, samples.directions, model.head.position_grid.embeddings) + count * 4 * 4
    return Operation("head forward", evaluate, moved, count * sample_cost(model).operations)


def _compositing(inputs: Inputs) -> Iterator[Operation]:
    samples, count = inputs.samples, len(inputs.samples.positions)
    rays = len(inputs.rays.origins)
    sigma = (torch.rand(count, device=samples.delta.device) * 50).requires_grad_(True)
    rgb = torch.rand(count, 3, device=samples.delta.device).requires_grad_(True)

    def add_up() -> list[Tensor]:
        s = samples
        done = composite(sigma, rgb, s.delta, s.t_end, s.offsets, s.counts, ray_index=s.ray_index)
        return [done.image, done.weights_sum]

    def forward() -> list[Tensor]:
        with torch.no_grad():
            return add_up()

    read = size_of(sigma, rgb, samples.delta, samples.t_end, samples.offsets, samples.counts)
    written = rays * 6 * 4
    yield Operation("composite forward", forward, read + written)
    cotangents = [torch.randn(rays, 3, device=sigma.device), torch.randn(rays, device=sigma.device)]
    again = read + size_of(*cotangents, sigma, rgb)
    work = _with_gradients([sigma, rgb], add_up, cotangents)
    yield Operation("composite forward + backward", work, read + written + again)


def _adam(inputs: Inputs) -> Operation:
    groups = inputs.model.head_groups(1e-2, 1e-3)
    copies = [torch.nn.Parameter(parameter.detach().clone()) for group in groups for parameter in group.parameters]
    for copy in copies:
        copy.grad = torch.randn_like(copy)
    optimizer = make_optimizer([ParameterGroup("all", copies, 1e-9)])
    # Reads parameter, gradient and two moments, writes all but the gradient.
    return Operation("adam, all parameters of a head", optimizer.step, 7 * size_of(*copies))


def _planes(inputs: Inputs) -> Operation:
    rgb = inputs.clip.background.expand(PICTURES, -1, -1, -1).contiguous()
    moved = size_of(rgb, rgb_to_yuv420(rgb))
    return Operation(f"rgb to yuv420p, {PICTURES} pictures", lambda: rgb_to_yuv420(rgb), moved)


def _with_gradients(leaves: list[Tensor], work: Callable[[], list[Tensor]], cotangents: list[Tensor]) -> Work:
    return lambda: torch.autograd.grad(work(), leaves, cotangents)


def measure_operation(operation: Operation, ceilings: Ceilings, device: torch.device, *, repeats: int) -> Iterator[Result]:
    """Rows of one operation."""
    timing = measure(operation.work, device, repeats=repeats)
    for quantity, seconds in (("median", timing.median), ("p95", timing.p95)):
        yield Result("ops", operation.name, quantity, seconds * 1e3, "ms")
    yield Result("ops", operation.name, "of copy", 100 * ceilings.share_of_copy(operation.moved, timing.median), "%")
    if operation.operations:
        share = ceilings.share_of_matrix(operation.operations, timing.median)
        yield Result("ops", operation.name, "of matrix", 100 * share, "%")


def measure_operations(args: argparse.Namespace, device: torch.device, ceilings: Ceilings) -> list[Result]:
    """All rows."""
    repeats = 2 if args.quick else 50
    inputs = make_inputs(args.size, device)
    print(f"{len(inputs.rays.origins)} rays, {len(inputs.samples.positions)} samples", flush=True)
    results: list[Result] = []
    for operation in list_operations(inputs):
        results += measure_operation(operation, ceilings, device, repeats=repeats)
    return results


def main() -> None:
    """Measure and print."""
    args = new_parser(__doc__).parse_args()
    device = choose_device(args.device)
    ceilings = measure_ceilings(device, repeats=3 if args.quick else 20)
    print(describe_ceilings(ceilings))
    conclude(measure_operations(args, device, ceilings), args, device, TESTS)


if __name__ == "__main__":
    run(main)
