"""The rules that an avatar shares with the reference: stored once, and each of them followed."""

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from r2talker import methods
from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder, read_avatar_info, write_avatar_info
from r2talker.compatibility import OURS, UPSTREAM, Compatibility
from r2talker.model.head import HeadConfig
from r2talker.model.method import ConditioningShape
from r2talker.model.talking_head import ModelConfig
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.march_rays.op import march_rays
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.render.config import RenderSettings
from r2talker.render.rays import render_rays, rounds_budget
from tests.golden.models import golden_camera, golden_frame, golden_model
from tests.tolerances import assert_close

OTHER = Compatibility("scale first", "hash", "yzx", "zeros", "growing", "rounds")
"""Every rule another than ours."""


def test_every_rule_has_a_second_value() -> None:
    ours, other = dataclasses.asdict(OURS), dataclasses.asdict(OTHER)
    assert all(ours[name] != other[name] for name in ours)
    assert [UPSTREAM.axes, UPSTREAM.window_edge, UPSTREAM.budget] == ["", "zeros", "rounds"]


def test_an_avatar_says_its_rules_once(avatar: Avatar, tmp_path: Path) -> None:
    model = avatar.info.model
    grid = dataclasses.replace(model.head.position_grid, kind="hash", axes="yzx")
    head = dataclasses.replace(model.head, position_grid=grid)
    info = dataclasses.replace(
        avatar.info,
        model=dataclasses.replace(model, head=head, film="scale first"),
        render=dataclasses.replace(avatar.info.render, step="growing", budget="rounds"),
        window_edge="zeros",
    )
    assert (avatar.info.compatibility, info.compatibility) == (OURS, OTHER)
    folder = AvatarFolder(tmp_path)
    write_avatar_info(folder, info)
    assert read_avatar_info(folder) == info
    text = folder.info.read_text()
    assert json.loads(text)["compatibility"] == dataclasses.asdict(OTHER)
    assert all(text.count(f'"{value}"') == 1 for value in dataclasses.astuple(OTHER))


def test_avatars_from_before_the_setting_follow_our_rules(trained: Callable[[str], Path], tmp_path: Path) -> None:
    value = json.loads(AvatarFolder(trained("r2talker")).info.read_text())
    del value["compatibility"]
    value["model"]["head"]["position_grid"] |= {"kind": "tiled", "axes": "zxy"}
    value["window_edge"] = "replicate"
    folder = AvatarFolder(tmp_path)
    folder.info.write_text(json.dumps(value))
    assert read_avatar_info(folder).compatibility == OURS


def test_the_halves_of_the_style_networks() -> None:
    """A network with its halves exchanged says the same under the other rule."""
    method = methods.get("r2talker")
    built = [method.build(ConditioningShape(0, 64, method.trained_grid, film)) for film in ("shift first", "scale first")]
    weights = built[0].state_dict()
    for key in ("style_nets.0.layers.2.weight", "style_nets.1.layers.2.weight"):
        weights[key] = torch.cat([weights[key][64:], weights[key][:64]])
    built[1].load_state_dict(weights)
    windows = torch.rand(3, 5, 68, 3) - 0.5
    first, second = (conditioning.encode(windows) for conditioning in built)
    assert_close(second, first, "exact")
    assert not torch.equal(first[:, :64], first[:, 64:128])


def test_the_rule_reaches_the_networks_of_a_model() -> None:
    method = methods.get("r2talker")
    config = ModelConfig(HeadConfig(method.position_grid, codes=1), method.trained_grid, film="scale first")
    assert type(golden_model("r2talker"))(config, method).head.conditioning.film == "scale first"


def test_zeros_beyond_the_ends(avatar: Avatar) -> None:
    padded = dataclasses.replace(avatar, info=dataclasses.replace(avatar.info, window_edge="zeros"))
    ours, zeros = avatar.plan().windows, padded.plan().windows
    assert (zeros[0, :2] == 0).all()
    assert_close(zeros[2:-2], ours[2:-2], "exact")
    assert_close(ours[0, :2], ours[0, 2].expand(2, 68, 3), "exact")


@pytest.mark.parametrize(("max_steps", "same"), [(16, True), (128, True), (256, False)])
def test_steps_grow_only_where_they_may(max_steps: int, same: bool) -> None:
    model, rays = golden_model("r2talker"), generate_rays(golden_camera().resized(8, 8))
    found = []
    for step in ("constant", "growing"):
        settings = RenderSettings(max_steps=max_steps, step=step)
        bounds = intersect_aabb(rays.origins, rays.directions, settings.aabb, min_near=settings.min_near)
        bits = model.occupancy.bitfield
        found.append(
            march_rays(*vars(rays).values(), bounds.near, bounds.far, bits, max_steps=max_steps, dt_gamma=settings.growth).delta
        )
    assert len(found[0].unique()) == 1
    assert torch.equal(*found) == same


@pytest.mark.parametrize(
    ("going", "width"),
    [
        # The rounds of golden/README.md, 2.2: (rays, samples) of every round.
        ([(4096, 1), (1718, 2), (1682, 2), (1640, 2), (1588, 2), (1521, 2), (1426, 2), (1311, 3)], 16),
        ([(100, 1), (10, 8), (1, 8)], 17),
        ([(100, 1), (34, 2), (33, 3), (14, 7), (12, 8)], 21),
        ([(7, 1), (0, 0)], 1),
    ],
)
def test_rounds(going: list[tuple[int, int]], width: int) -> None:
    """Rays that live as long as the rounds say give the rounds back."""
    living = torch.zeros(going[0][0], dtype=torch.long)
    taken = 0
    for (_, samples), (following, _) in pairwise(going):
        taken += samples
        living[:following] = taken
    living[: going[-1][0]] += going[-1][1]
    assert rounds_budget(living, 16) == width


@pytest.mark.parametrize("far", [1.0, 3.0])
def test_rounds_may_go_beyond_the_steps(far: float) -> None:
    """In a picture that is mostly background the rounds are wide, and the last one goes past `max_steps`."""
    camera = golden_camera().resized(32, 32)
    camera = dataclasses.replace(camera, fx=camera.fx / far, fy=camera.fy / far)
    model, frame, rays = golden_model("r2talker"), golden_frame("r2talker"), generate_rays(camera)
    behind = torch.zeros(len(rays.origins), 3)
    drawn = {
        (budget, impl): render_rays(
            model.head, model.occupancy, rays, frame, behind, RenderSettings(max_steps=6, budget=budget), impl=impl
        )
        for budget in ("exact", "rounds")
        for impl in ("rounds", "compiled")
    }
    for budget in ("exact", "rounds"):
        fast, slow = drawn[budget, "compiled"], drawn[budget, "rounds"]
        assert_close(fast.rgb, slow.rgb, "rays apart")
        assert_close(fast.opacity, slow.opacity, "rays apart")
    further = drawn["rounds", "rounds"].opacity - drawn["exact", "rounds"].opacity
    assert further.min() >= 0
    assert further.max() > 0.05
