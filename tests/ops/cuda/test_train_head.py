"""The fused training step against autograd over the plain composition, every gradient."""

import copy
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker.model.ambient import AmbientConditioning
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.occupancy.op import pack_bits
from r2talker.ops.render_head.cuda import column_bits, scene_words, view_words
from r2talker.ops.train_head.cuda import PARTS, ClipTensors, HalfTables, HeadGradients, HeadStep, Losses, step_macros
from r2talker.ops.train_head.reference import DrawnRays, RayLosses, level_windows, lose, windowed
from r2talker.render.config import RenderSettings
from r2talker.render.networks import networks
from r2talker.render.rays import marching_rules
from r2talker.types import Camera
from tests.golden.models import NAMES, golden_camera, golden_model
from tests.ops.cuda.backends import Backend
from tests.tolerances import assert_close

FRAMES, SLOTS, RAYS, SIZE, STEP, STEPS = 3, 2, 200, 64, 4, 10
RULES = marching_rules(RenderSettings())
LOSSES = Losses(entropy=1e-2, ambient=0.1, seed=7, steps=STEPS)
SHARES = ((0.1, 0.3, 0.1), (0.0, 1.0, 0.0))
EYE = (0.1, 0.3)
UNLOCKING = replace(LOSSES, coarse_levels=6, unlock_steps=8)
SCALE = 1024
PATCH = 8
CHOICES = 60


@dataclass
class Setting:
    """A golden model whose tables are exact as halves, a random clip, and one step taken on it."""

    backend: Backend
    name: str
    losses: Losses = LOSSES
    axes: str = ""
    kind: Literal["tiled", "hash"] = "tiled"
    choices: int = 0
    exposures: Tensor | None = None

    def __post_init__(self) -> None:
        device = self.backend.device
        self.model = copy.deepcopy(golden_model(self.name)).to(device)
        head = self.model.head
        with torch.no_grad():
            if isinstance(head.conditioning, AmbientConditioning):
                # As they are, the golden tables turn a rounding of the coordinate into another cell; trained ones are smoother.
                grid = head.conditioning.ambient_grid
                for level in range(grid.layout.levels):
                    grid.embeddings[grid.layout.offsets[level] : grid.layout.offsets[level + 1]] *= 0.5 * 0.6**level
                grid.embeddings.copy_(grid.embeddings.half())
            head.position_grid.embeddings.copy_(head.position_grid.embeddings.half())
        head.position_grid.layout = replace(head.position_grid.layout, axes=self.axes, kind=self.kind)
        self.net = networks(head)
        self.camera: Camera = replace(golden_camera(), c2w=golden_camera().c2w.to(device))
        self.clip = self._clip()
        generator = torch.Generator().manual_seed(5)
        self.code = (torch.randn(SLOTS, self.net.code_width, generator=generator) * 0.3).to(device)
        self.eye = torch.tensor(EYE, device=device)
        self.gradients = self._gradients()
        self.step = self._step()

    def _clip(self) -> ClipTensors:
        device, generator = self.backend.device, torch.Generator().manual_seed(0)

        def picture(*shape: int) -> Tensor:
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)

        rectangles = torch.tensor([[10, 50, 12, 52], [30, 40, 20, 40], [15, 20, 20, 44], [20, 50, 20, 44]], dtype=torch.int32)
        return ClipTensors(
            truth=picture(FRAMES, SIZE, SIZE, 3),
            torso=picture(FRAMES, SIZE, SIZE, 4),
            plate=picture(SIZE, SIZE, 3),
            views=view_words(self.camera.c2w.expand(FRAMES, 4, 4), self.camera),
            regions=rectangles.expand(FRAMES, 4, 4).contiguous().to(device),
            schedule=torch.tensor([[2, 0], [1, 2]], dtype=torch.int32, device=device),
            shares=torch.tensor(SHARES, device=device),
        )

    def _gradients(self) -> HeadGradients:
        """Poisoned where they are overwritten."""
        net, codes = self.net, self.model.head.individual_codes

        def poison(tensor: Tensor) -> Tensor:
            return torch.full_like(tensor, torch.nan)

        plain = [poison(t) for t in (net.first, net.second, net.third, net.color, net.rgb)]
        gradients = HeadGradients(torch.zeros_like(net.table), *plain, torch.zeros_like(codes), poison(self.code))
        a = net.ambient
        if a is None:
            return gradients
        return replace(
            gradients, ambient_table=torch.zeros_like(a.table), ambient_first=poison(a.first), ambient_second=poison(a.second),
            ambient_out=poison(a.out),
        )  # fmt: skip

    def _step(self) -> HeadStep:
        net, device, bitfield = self.net, self.backend.device, self.model.occupancy.bitfield
        left_out = () if net.ambient is not None else ("pull_back_ambient",)
        kernels = self.backend.load(PARTS, step_macros(net, SLOTS, RAYS), leave_out=left_out)
        halves = HalfTables(net.table.detach().half(), None if net.ambient is None else net.ambient.table.detach().half())
        return HeadStep(
            net, self.model.head.individual_codes, halves, self.gradients, self.clip, self.losses, scene_words(RULES, bitfield),
            column_bits(bitfield), torch.tensor([STEP], dtype=torch.int32, device=device), RAYS, kernels, self.backend.processors,
            self.choices, self.exposures,
        )  # fmt: skip

    @torch.no_grad()
    def run(self) -> None:
        self.step.fold(self.code, self.eye)
        self.step.forward()
        pulls = None
        if self.losses.patch:
            assert self.step.shown is not None
            assert self.step.wanted is not None
            pulls = (2 / 3) * (self.step.shown - self.step.wanted)
        self.step.backward(self.code, self.eye, pulls)

    def frame(self, slot: int) -> int:
        return int(self.clip.schedule[STEP % len(self.clip.schedule), slot])

    def expected(self, code: Tensor) -> tuple[Tensor, float]:
        """Loss of the rays that the step drew, summed over them, and their squared error; differentiable."""
        total, error = torch.zeros((), device=code.device), 0.0
        targets = self.step.targets.view(SLOTS, RAYS, -1)
        listed = self.step.listed.view(torch.int32).view(SLOTS, RAYS, 4)
        for slot in range(SLOTS):
            count = int(self.step.slots[slot, 0])
            pixels, outside = targets[slot, :count, 0].long(), targets[slot, :count, 2].bool()
            start = listed[slot, :count, 1].contiguous().view(torch.float32)
            losses = self._lose(slot, pixels, start, outside, code[slot])
            total = total + losses.error.sum() + LOSSES.entropy * losses.entropy.sum()
            total = total + LOSSES.ambient * STEP / STEPS * losses.ambient.sum()
            error += float(losses.error.detach().sum())
        return total, error

    def _lose(self, slot: int, pixels: Tensor, start: Tensor, outside: Tensor, code: Tensor) -> RayLosses:
        frame, clip, layout = self.frame(slot), self.clip, self.net.layout
        truth = clip.truth[frame].reshape(-1, 3)[pixels].float() / 255
        torso = clip.torso[frame].reshape(-1, 4)[pixels].float() / 255
        plate = clip.plate.reshape(-1, 3)[pixels].float() / 255
        behind = torso[:, :3] * torso[:, 3:] + plate * (1 - torso[:, 3:])
        if self.exposures is not None:
            gain, offset = self.exposures[frame]
            truth, behind = (truth - offset) / gain, (behind - offset) / gain
        drawn = DrawnRays(generate_rays(self.camera, pixels), start, truth, behind, outside)
        window = level_windows(layout.levels, self.losses.coarse_levels, self.losses.unlock_steps, STEP)
        net = replace(self.net, table=windowed(self.net.table, torch.tensor(layout.sizes), window))
        individual = self.model.head.individual_codes[frame]
        return lose(net, self.model.occupancy.bitfield, drawn, RULES, code, self.eye[slot], individual)


def relative_error(actual: Tensor, expected: Tensor | None) -> float:
    assert expected is not None
    return float((actual / SCALE - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", NAMES)
def test_every_gradient_is_that_of_autograd(backend: Backend, name: str) -> None:
    setting = Setting(backend, name)
    setting.run()
    code = setting.code.clone().requires_grad_()
    total, error = setting.expected(code)
    total.backward()
    net, got = setting.net, setting.gradients
    pairs = {key: (getattr(got, key), getattr(net, key).grad) for key in ("table", "first", "second", "third", "color", "rgb")}
    pairs |= {"code": (got.code, code.grad), "individual": (got.individual, setting.model.head.individual_codes.grad)}
    if net.ambient is not None:
        for key in ("table", "first", "second", "out"):
            pairs[f"ambient_{key}"] = (getattr(got, f"ambient_{key}"), getattr(net.ambient, key).grad)
    errors = {key: relative_error(*pair) for key, pair in pairs.items()}
    assert_close(list(errors.values()), np.zeros(len(errors)), "fused gradient")
    drawn = setting.step.slots[:, 6].view(torch.float32).sum()
    assert float(drawn) >= error * 0.999


@pytest.mark.parametrize("name", ["r2talker", "geneface"])
def test_gradients_while_levels_are_still_being_unlocked(backend: Backend, name: str) -> None:
    setting = Setting(backend, name, UNLOCKING)
    setting.run()
    total, _ = setting.expected(setting.code)
    total.backward()
    errors = {
        key: relative_error(getattr(setting.gradients, key), getattr(setting.net, key).grad)
        for key in ("table", "first", "rgb")
    }
    assert_close(list(errors.values()), np.zeros(len(errors)), "fused gradient")
    layout = setting.net.layout
    locked = setting.gradients.table[layout.offsets[12] :]
    assert float(locked.abs().max()) == 0
    assert float(setting.gradients.table[: layout.offsets[6]].abs().max()) > 0


@pytest.mark.parametrize("name", ["r2talker", "radnerf"])
@pytest.mark.parametrize(("kind", "axes"), [("tiled", "zxy"), ("hash", "yxz")])
def test_gradients_with_the_coordinates_in_another_order(
    backend: Backend, name: str, kind: Literal["tiled", "hash"], axes: str
) -> None:
    setting = Setting(backend, name, axes=axes, kind=kind)
    layout = setting.net.layout
    assert [layout.hashed(level) for level in (0, 1, 15)] == [False, kind == "hash" and name == "r2talker", kind == "hash"]
    setting.run()
    total, _ = setting.expected(setting.code)
    total.backward()
    got, net = setting.gradients, setting.net
    errors = [relative_error(getattr(got, key), getattr(net, key).grad) for key in ("table", "first", "rgb")]
    assert_close(errors, np.zeros(len(errors)), "fused gradient")
    # The rows that get a gradient are the same, but for points on the border of a cell.
    assert net.table.grad is not None
    touched = [(table != 0).any(dim=1) for table in (got.table, net.table.grad)]
    assert int((touched[0] != touched[1]).sum()) < 1e-4 * int(touched[1].sum())


def test_patches_are_squares_around_their_regions(backend: Backend) -> None:
    setting = Setting(backend, "r2talker", replace(LOSSES, patch=PATCH))
    setting.run()
    count = int(setting.step.slots[1, 0])
    assert count > 2 * PATCH**2
    pixel, _, _, *_, index = setting.step.targets.view(SLOTS, RAYS, -1)[1, :count].T.long()
    rows, columns, inner = pixel // SIZE, pixel % SIZE, index % PATCH**2
    top, left, patch = rows - inner // PATCH, columns - inner % PATCH, index // PATCH**2
    for number in patch.unique():
        members = patch == number
        assert len(torch.unique(top[members])) == len(torch.unique(left[members])) == 1
    # The lips' rectangle has rows 30 to 39 and columns 20 to 39; a patch's middle lies in it.
    assert bool(
        ((top + PATCH // 2 >= 30) & (top + PATCH // 2 < 40) & (left + PATCH // 2 >= 20) & (left + PATCH // 2 < 40)).all()
    )
    assert len(torch.unique(top * SIZE + left)) > 3


def test_gradients_of_a_loss_of_patches(backend: Backend) -> None:
    """A gradient handed in by colour is pulled back like the squared error's own, so the picture of the patches is right as well."""
    setting = Setting(backend, "r2talker", replace(LOSSES, patch=PATCH))
    setting.run()
    total, _ = setting.expected(setting.code)
    total.backward()
    got, net = setting.gradients, setting.net
    errors = [relative_error(getattr(got, key), getattr(net, key).grad) for key in ("table", "first", "second", "rgb")]
    assert_close(errors, np.zeros(len(errors)), "fused gradient")
    assert setting.step.shown is not None
    assert setting.step.wanted is not None
    # Rays that meet nothing are part of the picture.
    assert bool(torch.isfinite(setting.step.shown).all())
    assert float(setting.step.wanted.max()) <= 1


def test_the_last_rays_of_a_slot_look_where_they_are_told(backend: Backend) -> None:
    # Any exposure makes a step say which pixels it looked at.
    usual = Setting(backend, "r2talker", exposures=torch.ones(FRAMES, 2, 3, device=backend.device))
    setting = Setting(backend, "r2talker", choices=CHOICES)
    told = torch.randint(0, SIZE * SIZE, (CHOICES,), generator=torch.Generator().manual_seed(3), dtype=torch.int32)
    told[::7] = -1
    setting.step.chosen[0] = told.to(setting.backend.device)
    usual.run()
    setting.run()
    pixels, others = setting.step.pixels, usual.step.pixels
    assert pixels is not None
    assert others is not None
    last = pixels[0, RAYS - CHOICES :].cpu()
    assert torch.equal(last[told >= 0], told[told >= 0])
    # What nobody is told about is drawn as without choices: the rest of the slot, and all of the other one.
    alike = (pixels == others).cpu()
    assert bool(alike[1].all())
    assert bool(alike[0, : RAYS - CHOICES].all())
    assert bool(alike[0, RAYS - CHOICES :][told < 0].all())
    # The rays that go on to be evaluated are these.
    targets, count = setting.step.targets.view(SLOTS, RAYS, -1), int(setting.step.slots[0, 0])
    assert torch.equal(targets[0, :count, 0], pixels[0][targets[0, :count, -1].long()])


@pytest.mark.parametrize("name", ["r2talker", "radnerf"])
def test_frames_are_compared_at_the_usual_exposure(backend: Backend, name: str) -> None:
    generator = torch.Generator().manual_seed(4)
    spread = (
        torch.rand(FRAMES, 2, 3, generator=generator) * torch.tensor([0.5, 0.1])[:, None] + torch.tensor([0.8, -0.05])[:, None]
    )
    setting = Setting(backend, name, exposures=spread.to(backend.device))
    setting.run()
    total, _ = setting.expected(setting.code)
    total.backward()
    got, net = setting.gradients, setting.net
    errors = [relative_error(getattr(got, key), getattr(net, key).grad) for key in ("table", "first", "second", "rgb")]
    assert_close(errors, np.zeros(len(errors)), "fused gradient")


def test_rays_show_how_opaque_they_are(backend: Backend) -> None:
    setting = Setting(backend, "r2talker", choices=CHOICES)
    setting.run()
    step = setting.step
    assert step.opacities is not None
    for slot in range(SLOTS):
        count = int(step.slots[slot, 0])
        targets = step.targets.view(SLOTS, RAYS, -1)[slot, :count]
        start = step.listed.view(torch.int32).view(SLOTS, RAYS, 4)[slot, :count, 1].contiguous().view(torch.float32)
        with torch.no_grad():
            losses = setting._lose(slot, targets[:, 0].long(), start, targets[:, 2].bool(), setting.code[slot])
        met = step.opacities[slot][targets[:, -1].long()]
        a = met.clamp(1e-5, 1 - 1e-5)
        assert_close(-a * a.log2() - (1 - a) * (1 - a).log2(), losses.entropy, "entropy of a fused ray")
        others = torch.ones(RAYS, dtype=torch.bool, device=backend.device).index_fill(0, targets[:, -1].long(), False)
        assert bool((step.opacities[slot][others] == 0).all())


def test_rays_come_from_the_regions_in_their_shares(backend: Backend) -> None:
    setting = Setting(backend, "r2talker")
    setting.run()
    count = int(setting.step.slots[0, 0])
    pixels = setting.step.targets.view(SLOTS, RAYS, -1)[0, :count, 0]
    rows, columns = pixels // SIZE, pixels % SIZE
    lips = (rows >= 30) & (rows < 40) & (columns >= 20) & (columns < 40)
    # 60 of 200 are drawn from the lips' rectangle, all of which meet occupied cells; the others fall into it now and then.
    assert 60 <= int(lips.sum()) < 110
    assert len(torch.unique(pixels)) > 100


def test_another_step_draws_other_rays_and_the_same_step_the_same(backend: Backend) -> None:
    setting = Setting(backend, "r2talker")

    def drawn() -> list[int]:
        setting.run()
        return sorted(setting.step.targets.view(SLOTS, RAYS, -1)[0, : int(setting.step.slots[0, 0]), 0].tolist())

    first, again = drawn(), drawn()
    setting.step.steps += 2
    assert first == again
    assert drawn() != first


def test_rays_over_budget_are_left_out_of_the_loss(backend: Backend) -> None:
    setting = Setting(backend, "r2talker")
    macros = {**step_macros(setting.net, SLOTS, RAYS), "MOST_TILES": 4}
    setting.step.kernels = backend.load(PARTS, macros, leave_out=("pull_back_ambient",))
    setting.run()
    assert int(setting.step.slots[:, 5].sum()) > 0
    for gradient in setting.gradients.networks()[:5]:
        assert gradient is not None
        assert bool(torch.isfinite(gradient).all())


def test_the_occupancy_refresh(backend: Backend) -> None:
    """Densities at jittered centres, dilated, as a decayed maximum; the mean is the threshold."""
    setting = Setting(backend, "r2talker")
    device, step = backend.device, setting.step
    generator = torch.Generator().manual_seed(2)
    possible = torch.zeros(128, 128, 128, dtype=torch.bool)
    possible[60:66, 58:70, 61:67] = True
    density = torch.where(possible, torch.rand(128, 128, 128, generator=generator) * 50, -1.0).reshape(-1).to(device)
    before = density.clone()
    cells = torch.nonzero(density >= 0).flatten().to(torch.int32)
    with torch.no_grad():
        step.fold(setting.code, setting.eye)
        step.refresh(density, cells)
    fresh = step.fresh.view(128, 128, 128).cpu()
    spread = fresh.clone()
    for axis in range(3):
        lower, upper = spread.narrow(axis, 0, 127), spread.narrow(axis, 1, 127)
        torch.maximum(lower, fresh.narrow(axis, 1, 127), out=lower)
        torch.maximum(upper, fresh.narrow(axis, 0, 127), out=upper)
    expected = torch.where(possible.reshape(-1), torch.maximum(before.cpu() * 0.95, spread.reshape(-1)), -1.0)
    torch.testing.assert_close(density.cpu(), expected)
    threshold = min(10.0, float(expected.clamp_min(0).sum()) / 128**3)
    occupied = (step.bits.cpu()[:, None] >> torch.arange(32) & 1).bool().reshape(-1)
    assert torch.equal(occupied, expected > threshold)
    assert bool(occupied.any())
    assert not bool(occupied[~possible.reshape(-1)].any())
    # What is evaluated is the head's density at a point of the cell, under the code of slot 0.
    assert float(fresh[possible].min()) > 0
    assert pack_bits(expected[None], threshold).numel() == 128**3 // 8
