"""The analytic scene against what can be worked out by hand."""

import math

import pytest
import torch

from benchmarks import scene
from benchmarks.scene import AXES, DISTANCE, FRAMES, HELD_OUT, TRAIN, Clip, make_clip
from r2talker import methods
from r2talker.types import Rays
from tests.tolerances import assert_close

SIZE = 32


@pytest.fixture(scope="module")
def small() -> Clip:
    return make_clip(SIZE)


def ray(origin: tuple[float, ...], towards: tuple[float, ...]) -> Rays:
    o = torch.tensor([origin])
    return Rays(o, torch.nn.functional.normalize(torch.tensor([towards]) - o, dim=-1))


def test_the_split_is_that_of_the_reference() -> None:
    assert (FRAMES, HELD_OUT) == (60, (3, 17, 31, 45))
    assert sorted(TRAIN + HELD_OUT) == list(range(60))


def test_the_mouth_opens_between_zero_and_one() -> None:
    openings = [scene.mouth(t / 4) for t in range(240)]
    assert 0 <= min(openings) < 0.1
    assert 0.9 < max(openings) <= 1
    assert scene.mouth(0) == 0.5
    # sin of a quarter turn twice over: 0.6 t = pi / 2
    assert_close(scene.mouth(math.pi / 1.2), 0.5 + 0.5 * math.sin(0.13 * math.pi / 1.2), "closed form")


@pytest.mark.parametrize("t", [0.0, 7.5, 59.0])
def test_the_speed_is_the_slope(t: float) -> None:
    assert_close(scene.mouth_speed(t), (scene.mouth(t + 1e-4) - scene.mouth(t - 1e-4)) / 2e-4, "closed form")


@pytest.mark.parametrize("frame", [0, 13, 59])
def test_poses_look_at_the_origin_from_the_front(frame: int) -> None:
    matrix = scene.pose(frame)
    rotation, position = matrix[:3, :3], matrix[:3, 3]
    assert_close(rotation.T @ rotation, torch.eye(3), "closed form")
    assert_close(torch.linalg.det(rotation), 1.0, "closed form")
    assert_close(position.norm(), DISTANCE, "closed form")
    assert_close(rotation[:, 2], -position / DISTANCE, "closed form")
    assert rotation[2, 0] == 0  # the horizon is level
    assert rotation[2, 1] < 0  # down is down
    assert_close(position[2], DISTANCE * math.sin(0.12 * math.sin(0.07 * frame + 1)), "closed form")


def test_landmarks_move_with_the_mouth_alone() -> None:
    points = scene.landmarks()
    opening = torch.tensor([scene.mouth(frame) for frame in range(FRAMES)])
    slope = (points[10] - points[30]) / (opening[10] - opening[30])
    assert_close(points, points[0] + slope * (opening - opening[0])[:, None, None], "closed form")
    assert (points.abs() <= 1).float().mean() > 0.98


def test_features_hold_the_mouth_and_its_speed_at_50_hz() -> None:
    features = scene.audio_features()
    assert features.shape == (60, 16, 44)
    for frame in (0, 21):
        assert_close(features[frame, 8, 0], scene.mouth(frame), "closed form")
        assert_close(features[frame, 8, 22], scene.mouth_speed(frame), "closed form")
        assert_close(features[frame, 9, 0], scene.mouth(frame + 0.5), "closed form")
    assert_close(features[:-1, 2:], features[1:, :-2], "closed form")


def test_a_ray_through_the_middle_sees_the_surface_before_it() -> None:
    """Towards the origin the surface lies 1 / |d / axes| from it."""
    view = scene.pose(5)
    direction = view[:3, 2]
    surface = -direction / (direction / torch.tensor(AXES)).norm()
    rgb, hit = scene.shade(Rays(view[None, :3, 3], direction[None]), 5)
    assert hit.all()
    assert_close(rgb, scene.texture(surface[None], scene.mouth(5)), "scene colour")


@pytest.mark.parametrize("axis", [0, 2])
def test_the_outline_is_the_tangent(axis: int) -> None:
    """From (0, D, 0) rays of slope m in the plane of `axis` touch where m^2 = a^2 / (D^2 - b^2)."""
    slope = AXES[axis] / math.sqrt(DISTANCE**2 - AXES[1] ** 2)
    for share, expected in ((0.999, True), (1.001, False)):
        towards = [0.0, 0.0, 0.0]
        towards[axis] = share * slope * DISTANCE
        assert bool(scene.shade(ray((0, DISTANCE, 0), tuple(towards)), 0)[1]) is expected


def test_texture() -> None:
    points = torch.tensor([[0, 0.34, 0], [0, 0.3, -0.18], [0, -0.3, -0.18], [0, 0.3, -0.15], [0.0, 0.3, -0.101]])
    shut, wide = scene.texture(points, 0.0), scene.texture(points, 1.0)
    assert_close(shut[0], torch.full((3,), 0.55), "closed form")  # every wave is zero there
    lips = torch.tensor(scene.LIPS)
    assert_close(shut[1], lips, "exact")
    assert (shut[2] != lips).all()  # the back has none
    assert [bool((row == lips).all()) for row in (shut[3], wide[3], wide[4])] == [False, True, True]
    assert bool((scene.texture(points[4:] + torch.tensor([0, 0, 0.002]), 1.0) != lips).all())


def test_clip(small: Clip) -> None:
    assert small.pictures.shape == (60, SIZE, SIZE, 3)
    assert small.pictures.dtype == small.background.dtype == torch.uint8
    assert_close(small.background[0, 0], [51, 102, 178], "one 8-bit step")
    assert_close(small.background[-1, -1], [178, 102, 76], "one 8-bit step")
    outside = ~small.masks[7]
    assert torch.equal(small.pictures[7][outside], small.background[outside])
    # The outline is an ellipse of about a focal length / sqrt(D^2 - b^2) times the semi-axes.
    area = math.pi * AXES[0] * AXES[2] * (scene.FOCAL * SIZE) ** 2 / (DISTANCE**2 - AXES[1] ** 2)
    assert_close(small.masks[0].sum(), area, "pixels of an outline")
    assert small.camera(3).fx == pytest.approx(1200 * SIZE / 450)


@pytest.mark.parametrize("name", methods.available())
def test_windows_are_those_of_the_method(small: Clip, name: str) -> None:
    method = methods.get(name)
    windows = small.windows(method)
    frame = (68, 3) if method.drive.kind == "landmarks" else (16, 44)
    assert windows.shape == (60, method.drive.window, *frame)
    middle = windows[:, method.drive.window // 2]
    if method.drive.normalise:
        assert_close(middle[list(TRAIN)].mean(0), torch.zeros(frame), "normalised")
        assert_close(middle[list(TRAIN)].std(0), torch.ones(frame), "normalised")
    else:
        assert torch.equal(middle, small.landmarks if method.drive.kind == "landmarks" else small.features)
