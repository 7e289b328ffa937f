"""Driving values put together of two frames."""

import pytest
import torch

from r2talker.train.config import SamplingConfig
from r2talker.train.recombine import PATTERN, UPPER, Role, exchange, role_of, sampling_of
from r2talker.types import DriveSpec

CPU = torch.device("cpu")
LANDMARKS = DriveSpec(kind="landmarks", window=5, normalise=False)
SOUND = DriveSpec(kind="audio", window=8, normalise=False)
ROLES: list[Role] = ["face", "mouth", "eyes"]


def exchanged(drive: DriveSpec, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of frames of zeros and other frames of ones: what became of windows and eye values, by role."""
    mine = torch.zeros(len(ROLES), drive.window, rows, 3)
    return exchange(ROLES, drive, CPU).of(mine, torch.zeros(len(ROLES)), mine + 1, torch.ones(len(ROLES)))


def test_a_step_has_faces_mouths_and_eyes() -> None:
    roles = [role_of(number, True) for number in range(16)]
    assert {role: roles.count(role) for role in ROLES} == {"face": 12, "mouth": 2, "eyes": 2}
    assert {role_of(number, False) for number in range(16)} == {"face"}


def test_mouths_get_the_upper_face_of_another_frame_and_eyes_all_but_their_own_value() -> None:
    (face, mouth, eyes), eye = exchanged(LANDMARKS, 68)
    upper = torch.zeros(68, dtype=torch.bool)
    upper[list(UPPER)] = True
    assert not bool(face.any())
    assert torch.equal(mouth.bool(), upper[None, :, None].expand(5, 68, 3))
    assert bool(eyes.all())
    assert eye.tolist() == [0, 1, 0]


def test_eyes_do_not_follow_the_sound() -> None:
    (face, mouth, eyes), eye = exchanged(SOUND, 16)
    assert not bool(face.any())
    assert not bool(mouth.any())
    assert bool(eyes.all())
    assert eye.tolist() == [0, 1, 0]


@pytest.mark.parametrize("role", sorted(set(PATTERN)))
def test_rays_of_a_part_look_at_that_part(role: Role) -> None:
    usual = SamplingConfig(anywhere=0.1, lips=0.2, eyes=0.3)
    expected = {"face": usual, "mouth": SamplingConfig(0, 1, 0), "eyes": SamplingConfig(0, 0, 1)}
    assert sampling_of(role, usual) == expected[role]
