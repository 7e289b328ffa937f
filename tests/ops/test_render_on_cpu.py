"""Heads and torsos in machine code: folded matrices, pictures and blends against the plain composition."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from r2talker.ops.camera_rays.op import background_coords, pose_vector
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.grid_encode.op import grid_encode
from r2talker.ops.occupancy.op import cell_centres, pack_bits
from r2talker.ops.render_head import compiled as head_kernel
from r2talker.ops.render_head import fold
from r2talker.ops.render_head import reference as head_reference
from r2talker.ops.render_head.networks import AmbientNetworks, HeadNetworks
from r2talker.ops.render_torso import compiled as torso_kernel
from r2talker.ops.render_torso import networks as torso_networks
from r2talker.ops.render_torso import reference as torso_reference
from r2talker.ops.render_torso.follow import Follow
from r2talker.ops.render_torso.networks import TorsoNetworks
from r2talker.ops.sh_encode.op import sh_encode
from r2talker.types import Rays
from tests.golden.models import golden_camera
from tests.tolerances import assert_close

MARCHING = head_reference.Marching((-1, -0.5, -1, 1, 0.5, 1), 16, 1 / 256, 0.05, 1e-4)
GRIDS = {
    "tiled": GridLayout(3, 4, base=16, finest=128, levels=6, log2_table=14),
    "hash": GridLayout(3, 2, base=16, finest=128, levels=7, log2_table=13, kind="hash"),
}


def network(rng: torch.Generator, outputs: int, inputs: int) -> Tensor:
    return torch.randn(outputs, inputs, generator=rng) * (1.5 / inputs**0.5)


def head_of(layout: GridLayout, *, film: bool = True, eye: bool = True, density: float = 3.0) -> HeadNetworks:
    rng = torch.Generator().manual_seed(7)
    table = 2 * torch.rand(layout.rows, layout.channels, generator=rng) - 1
    third = network(rng, 65, 64)
    third[0] = third[0].abs() * density
    return HeadNetworks(
        layout, table, network(rng, 64, layout.features + int(eye)), network(rng, 64, 64), third, network(rng, 64, 84),
        network(rng, 3, 64), None, film, eye,
    )  # fmt: skip


def codes(net: HeadNetworks) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    return 0.3 * torch.randn(net.code_width, generator=rng), torch.tensor(0.4), torch.randn(4, generator=rng)


def rays_of(count: int) -> Rays:
    rng = torch.Generator().manual_seed(count)
    origins = torch.tensor([[0.0, 3.0, 0.0]]) + 0.1 * torch.randn(count, 3, generator=rng)
    aims = torch.randn(count, 3, generator=rng) * torch.tensor([0.3, 0.1, 0.3])
    return Rays(origins, torch.nn.functional.normalize(aims - origins, dim=1))


def ball() -> Tensor:
    return pack_bits((cell_centres(128).norm(dim=1) < 0.4).float()[None], 0.5)


class TestFold:
    @pytest.mark.parametrize("film", [True, False])
    @pytest.mark.parametrize("eye", [True, False])
    def test_equals_the_networks_with_gradients(self, eye: bool, film: bool) -> None:
        net = head_of(GRIDS["tiled"], film=film, eye=eye)
        named = {f.name: getattr(net, f.name) for f in fields(net) if isinstance(getattr(net, f.name), Tensor)}
        leaves = {name: values.double().requires_grad_() for name, values in named.items()}
        net = replace(net, **leaves)
        code, eye_value, individual = (values.double().requires_grad_() for values in codes(net))
        rng = torch.Generator().manual_seed(0)
        positions, directions = (rays_of(50).directions.double().requires_grad_() for _ in range(2))
        expected = head_reference.radiance(net, positions / 4, directions, code, eye_value, individual)
        folded = fold.fold_head(
            (net.first, net.second, net.third), (net.color, net.rgb), individual,
            eye=eye_value if eye else None, film=code.reshape(2, 2, -1) if film else None,
        )  # fmt: skip
        exponent, rgb = fold.evaluate(folded, grid_encode(positions / 4, net.table, net.layout), sh_encode(directions))
        result = (exponent.exp(), rgb)
        inputs = [*leaves.values(), individual, *([eye_value] if eye else []), *([code] if film else []), positions, directions]
        cotangents = [torch.randn(values.shape, generator=rng, dtype=torch.float64) for values in expected]
        for got, want in zip(result, expected, strict=True):
            assert_close(got, want, "folded, float64")
        for got, want in zip(
            torch.autograd.grad(result, inputs, cotangents), torch.autograd.grad(expected, inputs, cotangents), strict=True
        ):
            assert_close(got / want.abs().max(), want / want.abs().max(), "folded, float64")

    @pytest.mark.parametrize("count", [0, 1, 63, 1000])
    def test_machine_code_equals_plain_torch_with_gradients(self, count: int) -> None:
        rng = torch.Generator().manual_seed(count)
        features, directions = torch.randn(count, 44, generator=rng), torch.randn(count, 16, generator=rng)
        matrices = [network(rng, 64, 44), network(rng, 64, 64), network(rng, 65, 80), network(rng, 3, 64)]
        biases = [0.5 * torch.randn(rows, generator=rng) for rows in (64, 64, 65)]
        first, second, last, rgb = matrices
        last[-1, 64:] = 0
        leaves = [features, first, biases[0], second, biases[1], last, biases[2], rgb, directions]
        cotangents = [torch.randn(count, generator=rng), torch.randn(count, 3, generator=rng)]
        results, grads = [], []
        for impl in ("plain", "compiled"):
            own = [leaf.clone().requires_grad_() for leaf in leaves]
            head = fold.FoldedHead(*own[1:-1])
            results.append(fold.evaluate(head, own[0], own[-1], impl=impl))  # type: ignore[arg-type]
            grads.append(torch.autograd.grad(results[-1], own, cotangents))
            grads[-1][5][-1, 64:] = 0
            alone = fold.exponents(head, own[0], impl=impl)  # type: ignore[arg-type]
            assert_close(alone, results[-1][0], "dense")
        for slow, fast in zip(*results, strict=True):
            assert_close(fast, slow, "dense")
        for slow, fast in zip(*grads, strict=True):
            largest = slow.abs().max().clamp_min(1e-6) if slow.numel() else 1.0
            assert_close(fast / largest, slow / largest, "dense")

    def test_machine_code_is_refused_double_precision(self) -> None:
        head = fold.FoldedHead(*(torch.zeros(s, dtype=torch.float64) for s in ((8, 2), 8, (8, 8), 8, (9, 24), 9, (3, 8))))
        with pytest.raises(ValueError, match="float32 on a CPU"):
            fold.evaluate(head, torch.zeros(1, 2).double(), torch.zeros(1, 16).double(), impl="compiled")


class TestHead:
    @pytest.mark.parametrize("count", [0, 1, 63, 1000])
    @pytest.mark.parametrize("grid", GRIDS)
    def test_pictures_equal_the_composition(self, grid: str, count: int) -> None:
        compare_pictures(head_of(GRIDS[grid]), count)

    @pytest.mark.parametrize("density", [0.0, 20.0])
    def test_thin_and_solid_heads(self, density: float) -> None:
        compare_pictures(head_of(GRIDS["tiled"], density=density), 500)

    @pytest.mark.parametrize(("film", "eye"), [(False, True), (True, False)])
    def test_without_film_or_eye(self, film: bool, eye: bool) -> None:
        compare_pictures(head_of(GRIDS["tiled"], film=film, eye=eye), 200)

    def test_an_ambient_coordinate_is_refused(self) -> None:
        net = head_of(GRIDS["tiled"], film=False)
        flat = GridLayout(2, 2, base=4, finest=16, levels=2, log2_table=8)
        rng = torch.Generator().manual_seed(0)
        matrices = (network(rng, 64, net.layout.features + 64), network(rng, 64, 64), network(rng, 2, 64))
        ambient = replace(net, ambient=AmbientNetworks(flat, torch.zeros(flat.rows, 2), *matrices))
        assert fold.fits(net)
        assert not fold.fits(ambient)
        with pytest.raises(ValueError, match="no ambient coordinate"):
            head_kernel.render(ambient, ball(), rays_of(1), MARCHING, torch.zeros(1, 3), *codes(ambient))


def compare_pictures(net: HeadNetworks, count: int) -> None:
    plate = torch.rand(count, 3, generator=torch.Generator().manual_seed(1))
    given = (net, ball(), rays_of(count), MARCHING, plate, *codes(net))
    result, expected = head_kernel.render(*given), head_reference.render(*given)
    assert count < 63 or (expected.opacity > 0).sum() > count / 4
    assert_close(result.rgb, expected.rgb, "early stop")
    assert_close(result.opacity, expected.opacity, "early stop")
    assert_close(result.depth, expected.depth, "early stop, depth")


class TestTorso:
    @pytest.mark.parametrize(
        "follow", [None, Follow(4.0, 0.3, -0.2), Follow(4.0, 0.3, -0.2, (0.4, 0.1, -0.2, 0.9), (0.3, -0.5))]
    )
    @pytest.mark.parametrize("count", [0, 1, 63, 1000])
    def test_blends_equal_the_composition(self, count: int, follow: Follow | None) -> None:
        rng = torch.Generator().manual_seed(count)
        layout = GridLayout(2, 2, base=16, finest=128, levels=6, log2_table=12)
        width, encoded = 8, 42 + 54 + 8
        table = torch.rand(layout.rows, 2, generator=rng) - 0.5
        deform = [network(rng, 64, encoded), network(rng, 64, 64), 0.1 * network(rng, 2, 64)]
        color = [network(rng, 32, layout.features + encoded), network(rng, 32, 32), network(rng, 4, 32)]
        net = TorsoNetworks(layout, table, *deform, *color, shrink=0.8, follow=follow)
        assert torso_networks.fits(net)
        coords = background_coords(40, 40)[:count]
        pose = pose_vector(golden_camera().c2w) + 0.1 * torch.randn(6, generator=rng)
        rest = (pose, torch.randn(width, generator=rng), torch.rand(count, 3, generator=rng))
        result, expected = torso_kernel.blend(net, coords, *rest), torso_reference.blend(net, coords, *rest)
        assert_close(result, expected, "torso waves")
