"""Compositing: golden vectors, a plain loop, gradients, laws; the rounds used for pictures."""

import math

import pytest
import torch
from torch import Tensor

from r2talker.ops.composite.op import Composited, RayState, accumulate, composite
from tests.golden.regenerate import golden
from tests.tolerances import assert_close


def stored(name: str) -> Tensor:
    return torch.from_numpy(golden("ops")[f"composite/{name}"])


IMPLS = ("reference", "compiled")


@pytest.mark.parametrize("impl", IMPLS)
def test_golden(impl: str) -> None:
    offsets, counts = stored("offset_count").long().unbind(1)
    delta, t_end = stored("delta_and_t_end").unbind(1)
    leaves = [stored(name).requires_grad_() for name in ("sigma", "rgb", "ambient")]
    result = composite(leaves[0], leaves[1], delta, t_end, offsets, counts, ambient=leaves[2], impl=impl)  # type: ignore[arg-type]
    for name in ("image", "weights_sum", "ambient_sum"):
        assert_close(getattr(result, name), stored(name), "golden composite")
    assert_close(result.depth, stored("depth_sum"), "golden composite")
    outputs = (result.image, result.weights_sum, result.ambient_sum)
    cotangents = [stored(f"grad_{name}") for name in ("image", "weights_sum", "ambient_sum")]
    for name, grad in zip(("sigma", "rgb", "ambient"), torch.autograd.grad(outputs, leaves, cotangents), strict=True):
        largest = stored(f"grad_{name}").abs().max()
        assert_close(grad / largest, stored(f"grad_{name}") / largest, "golden composite gradient")


def random_samples(rays: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """sigma, rgb, delta, t_end, offsets, counts, ambient; every third ray is empty."""
    rng = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 12, (rays,), generator=rng)
    counts[::3] = 0
    total = int(counts.sum())
    sigma = torch.exp(2 * torch.randn(total, generator=rng, dtype=dtype) + 2)
    rgb, ambient = torch.rand(total, 3, generator=rng, dtype=dtype), torch.rand(total, generator=rng, dtype=dtype)
    delta = 0.03 + 0.1 * torch.rand(total, generator=rng, dtype=dtype)
    return sigma, rgb, delta, torch.rand(total, generator=rng, dtype=dtype) + 3, counts.cumsum(0) - counts, counts, ambient


def loop(
    sigma: Tensor, rgb: Tensor, delta: Tensor, t_end: Tensor, offsets: Tensor, counts: Tensor, ambient: Tensor
) -> Composited:
    """Upstream.md 5.4, sentence by sentence."""
    rays = len(counts)
    out = Composited(torch.zeros(rays, 3), torch.zeros(rays), torch.zeros(rays), torch.zeros(rays))
    for ray in range(rays):
        passed = 1.0
        for k in range(int(offsets[ray]), int(offsets[ray] + counts[ray])):
            alpha = 1 - math.exp(-float(sigma[k] * delta[k]))
            out.image[ray] += alpha * passed * rgb[k]
            out.weights_sum[ray] += alpha * passed
            out.depth[ray] += alpha * passed * t_end[k]
            out.ambient_sum[ray] += ambient[k]
            passed *= 1 - alpha
            if passed < 1e-4:
                break
    return out


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("rays", [0, 1, 63, 1000])
def test_equals_the_loop(rays: int, impl: str) -> None:
    *samples, ambient = random_samples(rays, rays)
    result, expected = composite(*samples, ambient=ambient, impl=impl), loop(*samples, ambient)  # type: ignore[arg-type]
    for name in ("image", "weights_sum", "depth", "ambient_sum"):
        assert_close(getattr(result, name), getattr(expected, name), "composite loop")


def test_gradients() -> None:
    sigma, rgb, delta, t_end, offsets, counts, ambient = random_samples(8, 5, torch.float64)

    def visible(sigma: Tensor, rgb: Tensor, ambient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = composite(sigma, rgb, delta, t_end, offsets, counts, ambient=ambient)
        return out.image, out.weights_sum, out.ambient_sum

    leaves = [values.requires_grad_() for values in (sigma / 10, rgb, ambient)]
    assert torch.autograd.gradcheck(visible, tuple(leaves))
    assert not composite(leaves[0], rgb, delta, t_end, offsets, counts).depth.requires_grad


@pytest.mark.parametrize("rays", [0, 1, 63, 5000])
def test_compiled_gradients_equal_reference(rays: int) -> None:
    sigma, rgb, *rest, ambient = random_samples(rays, rays)
    rng = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(rays, 3, generator=rng), torch.randn(rays, generator=rng), torch.randn(rays, generator=rng)]
    grads = []
    for impl in IMPLS:
        leaves = [values.clone().requires_grad_() for values in (sigma, rgb, ambient)]
        out = composite(leaves[0], leaves[1], *rest, ambient=leaves[2], impl=impl)  # type: ignore[arg-type]
        assert not out.depth.requires_grad
        grads.append(torch.autograd.grad((out.image, out.weights_sum, out.ambient_sum), leaves, cotangents))
    for slow, fast in zip(*grads, strict=True):
        largest = slow.abs().max() if len(slow) else 1.0
        assert_close(fast / largest, slow / largest, "golden composite gradient")


def test_compiled_is_refused_what_it_cannot_do() -> None:
    sigma, rgb, delta, t_end, offsets, counts, _ = random_samples(5, 0)
    with pytest.raises(ValueError, match="'compiled' needs"):
        composite(sigma.double(), rgb, delta, t_end, offsets, counts, impl="compiled")


def test_ray_index_changes_nothing() -> None:
    *samples, ambient = random_samples(63, 1)
    ray_index = torch.repeat_interleave(samples[5])
    for impl in IMPLS:
        named = composite(*samples, ambient=ambient, ray_index=ray_index, impl=impl)  # type: ignore[arg-type]
        assert_close(named.image, composite(*samples, impl=impl).image, "exact")  # type: ignore[arg-type]


@pytest.mark.parametrize("impl", IMPLS)
def test_extremes_stay_finite_and_weights_stay_below_one(impl: str) -> None:
    sigma = torch.tensor([0.0, 1e-30, 1e30, math.inf, 5.0, math.inf, math.inf], requires_grad=True)
    rgb = torch.ones(7, 3)
    rays = (torch.tensor([0, 5]), torch.tensor([5, 2]))
    out = composite(sigma, rgb, torch.full((7,), 0.03), torch.ones(7), *rays, impl=impl)  # type: ignore[arg-type]
    (grad,) = torch.autograd.grad(out.image.sum() + out.weights_sum.sum(), sigma)
    assert_close(out.weights_sum, torch.ones(2), "composite loop")
    assert grad.isfinite().all()
    *samples, _ = random_samples(500, 2)
    assert composite(*samples, impl=impl).weights_sum.max() <= 1 + 1e-6  # type: ignore[arg-type]


def test_wrong_input_is_named() -> None:
    sigma, rgb, delta, t_end, offsets, counts, _ = random_samples(5, 0)
    with pytest.raises(ValueError, match="rgb must be"):
        composite(sigma, rgb[1:], delta, t_end, offsets, counts)


def test_rounds_add_up_to_all_samples() -> None:
    rng = torch.Generator().manual_seed(4)
    rays, steps = 63, 12
    sigma = torch.exp(2 * torch.randn(rays, steps, generator=rng))
    rgb, t_end = torch.rand(rays, steps, 3, generator=rng), torch.rand(rays, steps, generator=rng).cumsum(1)
    delta, counts = torch.full((rays, steps), 0.05), torch.randint(0, steps + 1, (rays,), generator=rng)
    valid = torch.arange(steps) < counts[:, None]
    state = RayState(torch.zeros(rays), torch.zeros(rays), torch.zeros(rays, 3), torch.ones(rays, dtype=torch.bool))
    for part in (slice(0, 1), slice(1, 4), slice(4, 12)):
        state = accumulate(state, sigma[:, part], rgb[:, part], delta[:, part], t_end[:, part], valid[:, part])
    expected = composite(sigma[valid], rgb[valid], delta[valid], t_end[valid], counts.cumsum(0) - counts, counts)
    # One more sample of weight below the threshold may be added (upstream.md 5.5).
    assert (state.image - expected.image).abs().max() < 1e-4
    assert (state.weights_sum - expected.weights_sum).abs().max() < 1e-4
    assert state.alive.tolist() == (valid.all(1) & (state.weights_sum < 1 - 1e-4)).tolist()


def test_a_ray_ends_after_the_sample_that_starts_in_the_dark() -> None:
    def state(weight: float) -> RayState:
        return RayState(torch.tensor([weight]), torch.zeros(1), torch.zeros(1, 3), torch.tensor([True]))

    def one(value: float) -> Tensor:
        return torch.full((1, 1), value)

    arguments = (one(50.0), torch.ones(1, 1, 3), one(1.0), one(2.0), torch.tensor([[True]]))
    lit, dark = accumulate(state(0.5), *arguments), accumulate(state(0.99995), *arguments)
    assert lit.alive.item()
    assert not dark.alive.item()
    assert_close(dark.weights_sum, torch.ones(1), "composite loop")
    dead = RayState(dark.weights_sum * 0, dark.depth, dark.image, torch.tensor([False]))
    assert accumulate(dead, *arguments).weights_sum.item() == 0


@pytest.mark.gpu
def test_gpu_equals_cpu() -> None:
    *samples, ambient = random_samples(1000, 9)
    cpu = composite(*samples, ambient=ambient)
    gpu = composite(*(values.cuda() for values in samples), ambient=ambient.cuda())
    for name in ("image", "weights_sum", "depth", "ambient_sum"):
        assert_close(getattr(gpu, name), getattr(cpu, name), "gpu")
