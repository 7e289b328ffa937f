"""Fused pictures of the head against the golden pictures and the plain composition."""

import copy
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker import methods
from r2talker.model.head import FrameCode
from r2talker.ops.camera_rays.op import background_coords, generate_rays
from r2talker.ops.cuda.tables import pack_rows, supports
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.occupancy.op import morton_encode, unpack_bits
from r2talker.ops.render_head.cuda import BLOCKS, PACK, PARTS, HeadPainter, column_bits, defines, fits, view_words
from r2talker.ops.render_head.reference import render
from r2talker.ops.render_torso.cuda import PARTS as TORSO_PARTS
from r2talker.ops.render_torso.cuda import TorsoPainter
from r2talker.ops.render_torso.cuda import defines as torso_defines
from r2talker.ops.render_torso.cuda import fits as torso_fits
from r2talker.render.config import RenderSettings
from r2talker.render.networks import networks, torso_networks
from r2talker.render.rays import marching_rules, render_rays
from r2talker.types import Camera
from tests.golden.models import NAMES, golden_camera, golden_frame, golden_model
from tests.golden.regenerate import golden
from tests.ops.cuda.backends import Backend
from tests.tolerances import assert_close

SETTINGS = RenderSettings()
RULES = marching_rules(SETTINGS)
WANTED_DB = 45
"""What the fused pass owes to single precision, everywhere."""


Kind = Literal["tiled", "hash"]


class Scene:
    """A golden model in front of a painter: one code, one background, any number of frames."""

    def __init__(
        self,
        backend: Backend,
        name: str,
        camera: Camera,
        frames: int = 1,
        pack: int = 4,
        kind: Kind = "tiled",
        *,
        rounds: bool = False,
    ) -> None:
        device = backend.device
        model, frame = copy.deepcopy(golden_model(name)).to(device), golden_frame(name)
        model.head.position_grid.layout = replace(model.head.position_grid.layout, kind=kind)
        self.model, self.camera, self.device = model, replace(camera, c2w=camera.c2w.to(device)), device
        self.net = networks(model.head)
        self.bitfield = model.occupancy.bitfield
        self.code = frame.condition.detach().to(device)
        self.eye, self.individual = frame.eye.to(device), frame.individual.detach().to(device).contiguous()
        pixels = camera.height * camera.width
        generator = torch.Generator().manual_seed(1)
        self.background = torch.rand(pixels, 3, generator=generator).to(device)
        macros = {**defines(self.net, pack), "BLOCKS": BLOCKS, "ROUNDS": int(rounds)}
        kernels = backend.load(PARTS, macros)
        self.painter = HeadPainter(self.net, camera.height, camera.width, frames, kernels, macros, backend.processors)
        self.rgb = torch.full((frames, camera.height, camera.width, 3), 99, dtype=torch.uint8, device=device)
        self.opacity, self.depth = (torch.full((frames, pixels), torch.nan, device=device) for _ in range(2))

    def paint(self, codes: Tensor, eye: Tensor, c2w: Tensor, rules: object = RULES) -> None:
        self.painter.see(rules, self.bitfield)  # type: ignore[arg-type]
        behind = torch.cat([self.background, self.background[:, :1]], 1).half().expand(len(codes), -1, -1).contiguous()
        views = view_words(c2w, self.camera)
        self.painter.paint(codes.contiguous(), eye, self.individual, views, behind, self.rgb, self.opacity, self.depth)

    def expected(self, code: Tensor, eye: Tensor, c2w: Tensor, rules: object = RULES) -> tuple[Tensor, Tensor]:
        rays = generate_rays(replace(self.camera, c2w=c2w))
        with torch.no_grad():
            picture = render(self.net, self.bitfield, rays, rules, self.background, code, eye, self.individual)  # type: ignore[arg-type]
        return picture.rgb.clamp(0, 1), picture.opacity


def decibels(actual: Tensor, expected: Tensor) -> float:
    return float(-10 * torch.log10(((actual.float() / 255 - expected.reshape(actual.shape)) ** 2).mean()))


@pytest.mark.parametrize("name", NAMES)
def test_golden_pictures(backend: Backend, name: str) -> None:
    scene = Scene(backend, name, golden_camera(), pack=2)
    stored = golden(methods.get(name).upstream_name)
    scene.background = torch.from_numpy(stored["background"]).reshape(-1, 3).to(backend.device)
    scene.paint(scene.code[None], scene.eye.reshape(1), scene.camera.c2w[None])
    assert decibels(scene.rgb[0], torch.from_numpy(stored["image_head"]).to(backend.device)) > WANTED_DB
    kind = "film" if scene.net.film else "ambient"
    depth = np.nan_to_num(stored["depth_head"].reshape(-1))
    assert_close(scene.depth[0], depth, f"half precision depth, {kind}")


@pytest.mark.parametrize("name", NAMES)
def test_golden_pictures_with_torso(backend: Backend, name: str) -> None:
    """The whole of an imported avatar: the torso's kernels before the head's, as `FusedDrawing` lines them up."""
    scene = Scene(backend, name, golden_camera(), pack=PACK[networks(golden_model(name).head).layout.channels])
    torso, stored = scene.model.torso, golden(methods.get(name).upstream_name)
    assert torso is not None
    net, individual = torso_networks(torso), torso.individual_codes[0].detach().contiguous()
    assert fits(scene.net)
    assert torso_fits(net)
    rgb = torch.from_numpy(stored["background"]).reshape(-1, 3).half().to(backend.device)
    plate = torch.cat([rgb, torch.zeros_like(rgb[:, :1])], dim=1).contiguous()
    seen = scene.model.torso_occupancy.covers(background_coords(64, 64).to(backend.device), SETTINGS.torso_alpha_threshold)
    kernels = backend.load(TORSO_PARTS, torso_defines(net))
    painter = TorsoPainter(net, torch.nonzero(seen).flatten(), plate, 64, 64, 1, kernels, backend.processors)
    behind, views = plate[None].clone(), view_words(scene.camera.c2w[None], scene.camera)
    painter.paint(views, individual, behind)
    scene.painter.see(RULES, scene.bitfield)
    given = (scene.code[None].contiguous(), scene.eye.reshape(1), scene.individual)
    scene.painter.paint(*given, views, behind, scene.rgb, scene.opacity, scene.depth)
    assert int(seen.sum()) == 1856  # golden/README.md, 1.2
    assert decibels(scene.rgb[0], torch.from_numpy(stored["image_full"]).to(backend.device)) > WANTED_DB


@pytest.mark.parametrize("size", [(1, 1), (13, 7), (30, 41)])
def test_every_pixel_of_odd_sizes(backend: Backend, size: tuple[int, int]) -> None:
    scene = Scene(backend, "r2talker", golden_camera().resized(*size), pack=1)
    scene.paint(scene.code[None], scene.eye.reshape(1), scene.camera.c2w[None])
    rgb, opacity = scene.expected(scene.code, scene.eye, scene.camera.c2w)
    assert decibels(scene.rgb[0], rgb) > WANTED_DB
    assert_close(scene.opacity[0], opacity, "half precision opacity")


@pytest.mark.parametrize("name", ["r2talker", "radnerf"])
def test_grids_that_hash(backend: Backend, name: str) -> None:
    scene = Scene(backend, name, golden_camera().resized(13, 11), pack=1, kind="hash")
    scene.paint(scene.code[None], scene.eye.reshape(1), scene.camera.c2w[None])
    rgb, opacity = scene.expected(scene.code, scene.eye, scene.camera.c2w)
    assert decibels(scene.rgb[0], rgb) > WANTED_DB
    assert_close(scene.opacity[0], opacity, "half precision opacity" + ("" if scene.net.film else ", ambient"))


def test_several_frames_each_have_their_own_code_eye_and_pose(backend: Backend) -> None:
    scene = Scene(backend, "r2talker", golden_camera().resized(20, 24), frames=3)
    codes = torch.stack([scene.code, scene.code * 0.5, -scene.code])
    eye = torch.tensor([0.25, 0.0, 0.4], device=backend.device)
    c2w = scene.camera.c2w.expand(3, 4, 4).clone()
    c2w[1, :3, 3] *= 1.1
    scene.paint(codes, eye, c2w)
    for index in range(3):
        rgb, opacity = scene.expected(codes[index], eye[index], c2w[index])
        assert decibels(scene.rgb[index], rgb) > WANTED_DB
        assert_close(scene.opacity[index], opacity, "half precision opacity")
    assert not torch.equal(scene.rgb[0], scene.rgb[2])


def test_fine_steps_and_growing_ones(backend: Backend) -> None:
    """256 steps: rays with more than 64 lattice points, whose step grows with distance."""
    rules = marching_rules(RenderSettings(max_steps=256, step="growing"))
    scene = Scene(backend, "r2talker", golden_camera().resized(8, 8))
    scene.paint(scene.code[None], scene.eye.reshape(1), scene.camera.c2w[None], rules)
    rgb, opacity = scene.expected(scene.code, scene.eye, scene.camera.c2w, rules)
    assert decibels(scene.rgb[0], rgb) > WANTED_DB
    assert_close(scene.opacity[0], opacity, "half precision opacity")
    assert int(scene.painter.counters[0, 2]) > 8 * 8 * 16 / 2


@pytest.mark.parametrize("name", ["r2talker", "radnerf"])
def test_rounds_as_the_reference_counts_them(backend: Backend, name: str) -> None:
    """Two frames with other coverage come to other budgets; each picture is that of the CPU's rounds, and not that of seven samples."""
    settings = RenderSettings(max_steps=7, budget="rounds")
    camera = golden_camera().resized(24, 24)
    scene = Scene(backend, name, replace(camera, fx=camera.fx / 1.5, fy=camera.fy / 1.5), frames=2, rounds=True)
    c2w = scene.camera.c2w.expand(2, 4, 4).clone()
    c2w[1, :3, 3] *= 1.6
    codes, eye = scene.code.expand(2, -1), scene.eye.expand(2).contiguous()
    for _ in range(2):  # what a batch has counted is not counted again in the next
        scene.paint(codes, eye, c2w, marching_rules(settings))
    budgets = scene.painter.late_counters[:, 3].tolist()
    frame = FrameCode(scene.code, scene.eye, scene.individual)
    exact = replace(settings, budget="exact")
    for index in range(2):
        rays = generate_rays(replace(scene.camera, c2w=c2w[index]))
        wanted, short = (
            render_rays(scene.model.head, scene.model.occupancy, rays, frame, scene.background, rules, impl="rounds")
            for rules in (settings, exact)
        )
        close, apart = (decibels(scene.rgb[index], picture.rgb) for picture in (wanted, short))
        assert close > WANTED_DB
        assert close > apart + 6
    # One sample, then five or eight a round: the more background, the wider the rounds.
    assert budgets == [11, 9]


def test_nothing_occupied_leaves_the_background(backend: Backend) -> None:
    scene = Scene(backend, "r2talker", golden_camera().resized(9, 9))
    scene.bitfield = torch.zeros_like(scene.bitfield)
    scene.paint(scene.code[None], scene.eye.reshape(1), scene.camera.c2w[None])
    assert_close(scene.rgb[0].reshape(-1, 3), scene.background * 255, "one 8-bit step")
    assert float(scene.opacity.abs().max()) == 0


def test_a_painter_reads_the_networks_anew_at_every_call(backend: Backend) -> None:
    scene = Scene(backend, "r2talker", golden_camera().resized(12, 12))
    scene.paint(scene.code[None], scene.eye.reshape(1), scene.camera.c2w[None])
    before = scene.rgb.clone()
    with torch.no_grad():
        scene.net.rgb.neg_()
    scene.paint(scene.code[None], scene.eye.reshape(1), scene.camera.c2w[None])
    rgb, _ = scene.expected(scene.code, scene.eye, scene.camera.c2w)
    assert decibels(scene.rgb[0], rgb) > WANTED_DB
    assert not torch.equal(before, scene.rgb)


def test_bits_in_columns_are_the_bits_in_morton_order() -> None:
    generator = torch.Generator().manual_seed(3)
    bitfield = torch.randint(0, 256, (128**3 // 8,), dtype=torch.uint8, generator=generator)
    words = column_bits(bitfield)
    cells = torch.randint(0, 128, (500, 3), generator=generator)
    x, y, z = cells.unbind(-1)
    bit = words[(x * 128 + z) * 4 + y // 32] >> (y % 32) & 1
    assert torch.equal(bit.bool(), unpack_bits(bitfield)[morton_encode(cells)])


@pytest.mark.parametrize("pack", [1, 2, 4])
def test_table_entries_hold_the_rows_of_neighbouring_corners(pack: int) -> None:
    layout = GridLayout(3, 2, base=4, finest=32, levels=4, log2_table=8)
    table = torch.arange(2.0 * layout.rows).reshape(-1, 2)
    packed = pack_rows(table, layout, pack).float().reshape(layout.rows, pack, 2)
    for level in range(layout.levels):
        first, size, stride = layout.offsets[level], layout.sizes[level], layout.strides[level][1]
        row = size - 2
        steps = [0, 1, stride, stride + 1][:pack]
        assert torch.equal(packed[first + row], table[[first + (row + step) % size for step in steps]])


def test_what_the_kernels_cannot_read_is_said() -> None:
    assert supports(GridLayout(3, 4, base=32))
    assert supports(GridLayout(3, 4, base=32, kind="hash"))
    assert not supports(GridLayout(2, 2, base=16, finest=4096, kind="hash"))
    assert not supports(GridLayout(3, 1, base=16))
    net = networks(golden_model("r2talker").head)
    assert fits(net)
    assert not fits(replace(net, layout=GridLayout(3, 1, base=16)))
    with pytest.raises(ValueError, match="a grid that hashes takes single rows, not 2"):
        pack_rows(net.table, replace(net.layout, kind="hash"), 2)
