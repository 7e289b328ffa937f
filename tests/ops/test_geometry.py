"""Rays of a camera, the box, the head frame."""

import math
from dataclasses import replace

import pytest
import torch

from r2talker.ops.camera_rays.op import (
    background_coords,
    c2w_from_head,
    generate_rays,
    head_from_c2w,
    motion_slopes,
    moved_cameras,
    pose_vector,
)
from r2talker.ops.ray_aabb.op import intersect_aabb
from r2talker.types import Camera, Rays
from tests.golden.regenerate import METHODS, camera, golden
from tests.tolerances import assert_close

BOX = (-1.0, -0.5, -1.0, 1.0, 0.5, 1.0)


def golden_camera() -> Camera:
    view = camera()
    return Camera(torch.from_numpy(view.c2w), view.fx, view.fy, view.cx, view.cy, view.size, view.size)


def test_rays_golden() -> None:
    rays = generate_rays(golden_camera())
    assert_close(rays.origins, golden("ops")["rays/o"][None].repeat(4096, 0), "golden rays")
    assert_close(rays.directions, golden("ops")["rays/d"], "golden rays")
    stored = replace(golden_camera(), c2w=torch.from_numpy(golden("ops")["rays/pose"]))
    assert_close(generate_rays(stored).directions, golden("ops")["rays/d"], "exact")


def test_some_pixels_are_a_part_of_all() -> None:
    pixels = torch.tensor([0, 64, 4095, 64])
    every, some = generate_rays(golden_camera()), generate_rays(golden_camera(), pixels)
    assert_close(some.directions, every.directions[pixels], "exact")
    assert generate_rays(golden_camera(), pixels[:0]).directions.shape == (0, 3)


def test_aabb_golden() -> None:
    d = torch.from_numpy(golden("ops")["rays/d"])
    span = intersect_aabb(torch.from_numpy(golden("ops")["rays/o"]).expand_as(d), d, BOX)
    assert_close(span.near, golden("ops")["aabb/near"], "golden rays")
    assert_close(span.far, golden("ops")["aabb/far"], "golden rays")


def test_box_seen_from_inside_behind_beside_and_along_a_face() -> None:
    origins = torch.tensor([[0.0, 0, 0], [0, 3, 0], [0, 3, 0], [1, 3, 0]])
    directions = torch.tensor([[0.0, -1, 0], [0, 1, 0], [1, 0, 0], [0, -1, 0]])
    span = intersect_aabb(origins, directions, BOX)
    largest = torch.finfo(torch.float32).max
    assert_close(span.near, torch.tensor([0.05, 0.05, largest, 2.5]), "geometry")
    assert_close(span.far, torch.tensor([0.5, -2.5, largest, 3.5]), "geometry")


def test_box_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="intersect_aabb"):
        intersect_aabb(torch.zeros(4, 2), torch.zeros(4, 2), BOX)


@pytest.mark.parametrize("method", METHODS)
def test_pose_vector_golden(method: str) -> None:
    pose = pose_vector(torch.from_numpy(golden("ops")["rays/pose"]))
    assert_close(pose[None], golden(method)["pose6"], "golden rays")


def test_pose_vector_survives_a_sine_beyond_one() -> None:
    c2w = torch.eye(4)
    c2w[0, 2] = 1 + 1e-6
    assert_close(pose_vector(c2w)[1], math.pi / 2, "geometry")


@pytest.mark.parametrize("method", METHODS)
def test_background_coords_golden(method: str) -> None:
    assert_close(background_coords(64, 64)[::17], golden(method)["torso_coords"], "golden rays")


def test_head_frame_axes() -> None:
    head = torch.eye(4)
    head[:3, 3] = torch.tensor([0.1, 0.2, 0.9])
    c2w = c2w_from_head(head)
    assert_close(c2w[:3, 3], torch.tensor([0.8, 3.6, 0.4]), "geometry")
    # Right, down, forward of a camera in front of the face: NGP +z, -x (up is +x), -y (front is +y).
    assert_close(c2w[:3, :3].T, torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), "exact")
    assert_close(head_from_c2w(c2w), head, "geometry")
    assert_close(torch.linalg.det(c2w_from_head(torch.eye(4).expand(3, 4, 4))[:, :3, :3]), torch.ones(3), "geometry")


class TestMovedCameras:
    def test_no_motion_changes_no_bit(self) -> None:
        c2w = golden_camera().c2w
        assert_close(moved_cameras(c2w, torch.zeros(6)), c2w, "exact")

    def test_a_turn_goes_about_the_heads_origin_and_is_in_degrees(self) -> None:
        c2w = torch.eye(4)
        c2w[:3, 3] = torch.tensor([0.0, 4.0, 0.5])
        turned = moved_cameras(c2w, torch.tensor([90.0, 0, 0, 0, 0, 0]))
        assert_close(turned[:3, 3], torch.tensor([0.0, -0.5, 4.0]), "geometry")
        assert_close(turned[:3, :3], torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), "geometry")

    def test_a_shift_is_in_ngp_units(self) -> None:
        shifted = moved_cameras(golden_camera().c2w, torch.tensor([0.0, 0, 0, 0.1, 0.2, 0.3]))
        assert_close(shifted[:3, 3] - golden_camera().c2w[:3, 3], torch.tensor([0.1, 0.2, 0.3]), "geometry")
        assert_close(shifted[:3, :3], golden_camera().c2w[:3, :3], "exact")

    def test_it_undoes_itself_and_keeps_rotations(self) -> None:
        motions = torch.randn(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 10
        c2w = golden_camera().c2w.double().expand(7, 4, 4)
        moved = moved_cameras(c2w, motions)
        assert_close(moved_cameras(moved, -motions), c2w, "geometry")
        assert_close(moved[:, :3, :3] @ moved[:, :3, :3].mT, torch.eye(3).expand(7, 3, 3), "geometry")

    def test_rays_follow_by_exact_derivatives(self) -> None:
        view = replace(golden_camera(), c2w=golden_camera().c2w.double())

        def rays(motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            made = generate_rays(replace(view, c2w=moved_cameras(view.c2w, motion)), torch.arange(0, 4096, 511))
            return made.origins, made.directions

        motion = torch.tensor([0.5, -1, 2, 0.01, 0.02, -0.03], dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(rays, (motion,))

    def test_slopes_are_those_of_small_motions(self) -> None:
        """Of some smooth value of a ray, by central differences."""
        view = replace(golden_camera(), c2w=golden_camera().c2w.double())
        pixels = torch.arange(0, 4096, 511)

        def value(rays: Rays) -> torch.Tensor:
            points = rays.origins + 3.5 * rays.directions
            return (
                torch.sin(5 * points[:, 0]) * points[:, 1] + points[:, 2] ** 2 + rays.directions[:, 0] * rays.directions[:, 2]
            )

        def moved(axis: int, by: float) -> torch.Tensor:
            motion = torch.zeros(6, dtype=torch.float64)
            motion[axis] = by
            return value(generate_rays(replace(view, c2w=moved_cameras(view.c2w, motion)), pixels))

        rays = generate_rays(view, pixels)
        rays = Rays(rays.origins.clone().requires_grad_(), rays.directions.requires_grad_())
        slopes = motion_slopes(rays, *torch.autograd.grad(value(rays).sum(), (rays.origins, rays.directions)))
        step = 1e-4
        expected = torch.stack([(moved(axis, step) - moved(axis, -step)) / (2 * step) for axis in range(6)], dim=1)
        assert_close(slopes, expected, "central differences")
