"""The ray marcher: golden counts and distances, the lattice against the walk, gradients, laws."""

import numpy as np
import pytest
import torch

from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.occupancy.op import cell_centres, pack_bits
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.types import Rays, Samples
from tests.golden.regenerate import golden, occupancy
from tests.tolerances import assert_close

BOX = (-1.0, -0.5, -1.0, 1.0, 0.5, 1.0)
IMPLS = ("reference", "lattice", "compiled")


def golden_rays() -> Rays:
    d = torch.from_numpy(golden("ops")["rays/d"])
    return Rays(torch.from_numpy(golden("ops")["rays/o"]).expand_as(d), d)


def bitfield() -> torch.Tensor:
    return torch.from_numpy(occupancy().bitfield)


def march(rays: Rays, bits: torch.Tensor, impl: str, **options: object) -> Samples:
    span = intersect_aabb(rays.origins, rays.directions, BOX)
    return march_rays(rays.origins, rays.directions, span.near, span.far, bits, impl=impl, **options)  # type: ignore[arg-type]


def random_rays(count: int) -> Rays:
    rng = torch.Generator().manual_seed(count)
    origins = torch.randn(count, 3, generator=rng)
    origins = 2.5 * origins / origins.norm(dim=1, keepdim=True)
    directions = torch.rand(count, 3, generator=rng) - 0.5 - origins
    return Rays(origins, directions / directions.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("max_steps", [16, 64, 256])
def test_golden(max_steps: int, impl: str) -> None:
    samples = march(golden_rays(), bitfield(), impl, max_steps=max_steps)
    stored = golden("ops")
    assert_close(samples.counts, stored[f"march{max_steps}/count"], "exact")
    expected = stored[f"march{max_steps}/t_end"]
    table = np.full_like(expected, np.nan)
    for row, ray in enumerate(stored[f"march{max_steps}/ray_id"]):
        t_end = samples.t_end[samples.offsets[ray] :][: samples.counts[ray]][: table.shape[1]]
        table[row, : len(t_end)] = t_end.numpy()
    assert_close(table, expected, "golden march")


@pytest.mark.parametrize("rays", [0, 1, 63, 1000])
@pytest.mark.parametrize("max_steps", [16, 200])
@pytest.mark.parametrize("impl", IMPLS[1:])
def test_fast_forms_equal_walk(impl: str, rays: int, max_steps: int) -> None:
    batch = random_rays(rays)
    noise = torch.rand(rays, generator=torch.Generator().manual_seed(3))
    fast, slow = (march(batch, bitfield(), form, max_steps=max_steps, noise=noise) for form in (impl, "reference"))
    assert rays < 2 or slow.counts.sum() > rays
    assert_close(fast.counts, slow.counts, "exact")
    assert_close(fast.offsets, slow.offsets, "exact")
    assert_close(fast.ray_index, slow.ray_index, "exact")
    for name in ("t_end", "delta", "positions", "directions"):
        assert_close(getattr(fast, name), getattr(slow, name), "march lattice")


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("value", [0, 255])
def test_empty_and_full_grids(impl: str, value: int) -> None:
    rays = random_rays(63)
    samples = march(rays, torch.full((128**3 // 8,), value, dtype=torch.uint8), impl, max_steps=16)
    if value == 0:
        assert samples.counts.sum() == 0
        assert samples.positions.shape == (0, 3)
    else:
        span = intersect_aabb(rays.origins, rays.directions, BOX)
        assert (samples.counts > 0).tolist() == (span.near < span.far).tolist()
        assert samples.counts.max() == 16
        assert_close(
            samples.t_end[samples.offsets[samples.counts > 0]] - samples.delta[0],
            span.near[samples.counts > 0],
            "march lattice",
        )


@pytest.mark.parametrize("impl", IMPLS)
def test_samples_lie_in_occupied_cells_at_the_start_of_their_step(impl: str) -> None:
    grid = (cell_centres(32).norm(dim=1) < 0.4).float()[None]
    rays = random_rays(200)
    samples = march(rays, pack_bits(grid, 0.5), impl, grid_size=32, max_steps=16)
    assert len(samples.t_end) > 0
    assert samples.positions.norm(dim=1).max() < 0.4 + 2 * 3**0.5 / 32
    t = samples.t_end - samples.delta
    back = rays.origins[samples.ray_index] + t[:, None] * rays.directions[samples.ray_index]
    assert_close(samples.positions, back, "march lattice")
    assert_close(samples.offsets, samples.counts.cumsum(0) - samples.counts, "exact")
    same_ray = samples.ray_index[1:] == samples.ray_index[:-1]
    assert (samples.t_end[1:] > samples.t_end[:-1])[same_ray].all()


def test_a_second_cascade_is_walked() -> None:
    bits = torch.full((2 * 32**3 // 8,), 255, dtype=torch.uint8)
    rays = random_rays(20)
    samples = march_rays(rays.origins, rays.directions, torch.zeros(20), torch.full((20,), 3.0), bits, grid_size=32, bound=2.0)
    assert_close(samples.counts, torch.full((20,), 14), "exact")
    for impl in ("lattice", "compiled"):
        with pytest.raises(ValueError, match="single cascade"):
            march_rays(rays.origins, rays.directions, torch.zeros(20), torch.ones(20), bits, grid_size=32, bound=2.0, impl=impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_positions_follow_the_rays(impl: str) -> None:
    rays = random_rays(63)
    rays = Rays(rays.origins.requires_grad_(), rays.directions.requires_grad_())
    samples = march(rays, bitfield(), impl)
    cotangent = torch.randn(len(samples.t_end), 3, generator=torch.Generator().manual_seed(0))
    d_origins, d_directions = torch.autograd.grad(samples.positions, (rays.origins, rays.directions), cotangent)
    t = (samples.t_end - samples.delta)[:, None]
    assert_close(d_origins, torch.zeros(63, 3).index_add(0, samples.ray_index, cotangent), "march gradient")
    assert_close(d_directions, torch.zeros(63, 3).index_add(0, samples.ray_index, t * cotangent), "march gradient")


@pytest.mark.parametrize("corner", [0, 77, 128**3 - 1])
def test_one_occupied_cell_is_found(corner: int) -> None:
    grid = torch.zeros(1, 128**3)
    grid[0, corner] = 1
    centre = cell_centres(128)[corner] * (1 - 1 / 128)
    origin = torch.tensor([[0.3, 2.5, -0.2]])
    aim = torch.nn.functional.normalize(centre - origin, dim=1)
    found = [
        march_rays(origin, aim, torch.zeros(1), torch.full((1,), 5.0), pack_bits(grid, 0.5), max_steps=1024, impl=impl)  # type: ignore[arg-type]
        for impl in IMPLS
    ]
    assert found[0].counts[0] > 0
    for samples in found[1:]:
        assert_close(samples.t_end, found[0].t_end, "march lattice")


def test_wrong_input_is_named() -> None:
    rays = random_rays(4)
    with pytest.raises(ValueError, match="float32 on a CPU"):
        march(Rays(rays.origins.double(), rays.directions.double()), bitfield(), "compiled")
    with pytest.raises(ValueError, match="near must be"):
        march_rays(rays.origins, rays.directions, torch.zeros(3), torch.ones(4), bitfield())
    with pytest.raises(ValueError, match="bitfield must be"):
        march_rays(rays.origins, rays.directions, torch.zeros(4), torch.ones(4), bitfield()[1:])


@pytest.mark.gpu
def test_gpu_equals_cpu() -> None:
    rays = golden_rays()
    cpu = march(rays, bitfield(), "lattice")
    gpu = march(Rays(rays.origins.cuda(), rays.directions.cuda()), bitfield().cuda(), "lattice")
    assert_close(gpu.counts, cpu.counts, "exact")
    assert_close(gpu.t_end, cpu.t_end, "march lattice")
