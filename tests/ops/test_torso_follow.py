"""The neck's place in the picture, and torsos that are looked up beside it."""

import dataclasses

import torch

from r2talker.model.torso import Torso, TorsoConfig
from r2talker.ops.camera_rays.op import background_coords, generate_rays, pose_vector
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.render_torso.follow import NECK, Follow, neck_shift, neck_tangents
from r2talker.types import Camera
from tests.golden.models import golden_camera
from tests.tolerances import assert_close

SIDE = 65
FOLLOW = Follow(scale=2 * 150.0 / SIDE, row=0.1, column=-0.2)


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


def test_a_torso_that_follows_is_the_other_one_moved() -> None:
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
