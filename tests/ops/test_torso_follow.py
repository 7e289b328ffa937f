"""The neck's place in the picture, and torsos that are looked up beside it."""

import dataclasses

import torch

from r2talker.model.torso import Torso, TorsoConfig
from r2talker.ops.camera_rays.op import background_coords, generate_rays, pose_vector
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.render_torso.follow import NECK, Follow, beside_body, neck_shift, neck_tangents, usual_stance
from r2talker.types import Camera
from tests.golden.models import golden_camera
from tests.tolerances import assert_close

SIDE = 65
FOLLOW = Follow(scale=2 * 150.0 / SIDE, row=0.1, column=-0.2)
LEANING = dataclasses.replace(FOLLOW, gain=(0.4, 0.1, -0.2, 0.9), lean=(0.3, -0.5))


def cameras() -> list[Camera]:
    """The stored camera, and others turned and moved from it."""
    first = golden_camera().c2w
    generator = torch.Generator().manual_seed(0)
    turns = torch.linalg.matrix_exp(torch.stack([a - a.T for a in 0.1 * torch.randn(4, 3, 3, generator=generator)]))
    poses = first.repeat(4, 1, 1)
    poses[1:, :3, :3] = turns[1:] @ poses[1:, :3, :3]
    poses[1:, :3, 3] += 0.2 * torch.randn(3, 3, generator=generator)
    return [Camera(c2w, 150.0, 150.0, SIDE / 2, SIDE / 2, SIDE, SIDE) for c2w in poses]


def test_the_ray_through_the_necks_pixel_meets_the_neck() -> None:
    for camera in cameras():
        down, right = neck_tangents(pose_vector(camera.c2w)).tolist()
        row, column = camera.cy + camera.fy * down - 0.5, camera.cx + camera.fx * right - 0.5
        here = dataclasses.replace(camera, cx=camera.cx - column, cy=camera.cy - row)
        rays = generate_rays(here, torch.zeros(1, dtype=torch.long))
        towards = torch.tensor(NECK) - rays.origins[0]
        assert_close(rays.directions[0], towards / towards.norm(), "neck seen by rays")


def test_a_torso_that_follows_the_neck_alone_is_the_other_one_moved() -> None:
    torch.manual_seed(0)
    layout = GridLayout(2, 2, base=4, finest=16, levels=3, log2_table=10)
    still, following = (Torso(TorsoConfig(layout, codes=1, follow=follow)) for follow in (None, FOLLOW))
    following.load_state_dict(still.state_dict())
    xy, places = background_coords(9, 9), []
    for camera in cameras():
        pose = pose_vector(camera.c2w)
        shift = neck_shift(pose, FOLLOW)
        moved = following(xy + shift, pose, following.individual_codes[0])
        expected = still(xy, pose, still.individual_codes[0])
        assert_close(moved.rgb, expected.rgb, "torso beside the neck")
        assert_close(moved.alpha, expected.alpha, "torso beside the neck")
        places.append(shift)
    assert torch.stack(places).std(0).min() > 0.05


def test_a_body_goes_along_and_leans_as_much_as_it_does() -> None:
    for camera in cameras():
        pose = pose_vector(camera.c2w)
        down, right = neck_shift(pose, LEANING).tolist()
        stance = usual_stance(pose, LEANING)
        expected = torch.tensor([0.4 * down + 0.1 * right, -0.2 * down + 0.9 * right, 0.3 * down - 0.5 * right])
        assert_close(stance, expected, "geometry")
        pivot = torch.tensor([LEANING.row, LEANING.column])
        arm = torch.tensor([0.5, 0.0])
        # The neck's usual place is where the body turns; what hangs below it swings to the right by positive angles.
        angle = stance[2]
        swung = 0.5 * torch.stack([angle.cos(), angle.sin()])
        seen = torch.stack([pivot, pivot + swung]) + stance[:2]
        assert_close(beside_body(seen, stance, LEANING), torch.stack([pivot, pivot + arm]), "geometry")


def test_a_torso_stands_where_it_is_told() -> None:
    torch.manual_seed(0)
    torso = Torso(TorsoConfig(GridLayout(2, 2, base=4, finest=16, levels=3, log2_table=10), codes=1, follow=LEANING))
    xy, pose, code = background_coords(9, 9), pose_vector(cameras()[1].c2w), torso.individual_codes[0]
    usual = usual_stance(pose, LEANING)
    assert_close(torso(xy, pose, code, usual).rgb, torso(xy, pose, code).rgb, "exact")
    shift = torch.tensor([0.2, -0.1])
    moved = torso(xy + shift, pose, code, usual + torch.cat([shift, torch.zeros(1)]))
    assert_close(moved.rgb, torso(xy, pose, code).rgb, "torso beside the neck")
