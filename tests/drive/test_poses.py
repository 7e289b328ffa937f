"""Replayed head poses: to and fro, smoothed, still rotations."""

import math

import pytest
import torch

from r2talker.drive.poses import choose_frames, mirrored_indices, smooth_poses
from r2talker.errors import R2TalkerError

ROTATION_TOLERANCE = 1e-6  # float32 rounding of unit entries


def turning(angles: torch.Tensor) -> torch.Tensor:
    """Poses that turn about the third axis while moving along the first."""
    c2w = torch.eye(4).repeat(len(angles), 1, 1)
    c2w[:, 0, 0] = c2w[:, 1, 1] = angles.cos()
    c2w[:, 1, 0], c2w[:, 0, 1] = angles.sin(), -angles.sin()
    c2w[:, 0, 3] = angles
    return c2w


def test_mirrored_indices_run_to_and_fro() -> None:
    assert mirrored_indices(9, 3).tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    assert mirrored_indices(3, 1).tolist() == [0, 0, 0]
    assert mirrored_indices(0, 5).tolist() == []
    with pytest.raises(ValueError, match="at least one pose"):
        mirrored_indices(3, 0)


def test_smoothed_rotations_are_rotations_and_keep_their_order() -> None:
    noise = torch.randn(40, generator=torch.Generator().manual_seed(1)) * 0.01
    smoothed = smooth_poses(turning(torch.linspace(0, math.pi / 2, 40) + noise))
    rotation = smoothed[:, :3, :3]
    gram = rotation @ rotation.transpose(1, 2)
    torch.testing.assert_close(gram, torch.eye(3).expand_as(gram), rtol=0, atol=ROTATION_TOLERANCE)
    assert (torch.det(rotation) > 0).all()
    angle = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
    assert (angle.diff() > 0).all()
    assert torch.equal(smoothed[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(40, 4))


def test_even_motion_is_unchanged_inside_and_short_at_the_ends() -> None:
    c2w = turning(torch.arange(20) * 0.01)
    smoothed = smooth_poses(c2w, window=5)
    torch.testing.assert_close(smoothed[2:-2], c2w[2:-2], rtol=0, atol=ROTATION_TOLERANCE)
    # The first frame has only itself and the two after it.
    assert smoothed[0, 0, 3].item() == pytest.approx(0.01)
    assert smooth_poses(c2w[:1]).shape == (1, 4, 4)
    assert torch.equal(smooth_poses(c2w, window=1), c2w)


def test_a_range_of_frames() -> None:
    assert choose_frames(60, 0, -1) == slice(0, 60)
    assert choose_frames(60, 50, -1) == slice(50, 60)
    assert choose_frames(60, 3, 60) == slice(3, 60)


@pytest.mark.parametrize(("first", "last"), [(60, -1), (-2, 5), (5, 5), (7, 3), (0, 61), (0, -2), (0, 0)])
def test_ranges_that_choose_nothing_are_refused(first: int, last: int) -> None:
    with pytest.raises(R2TalkerError, match=f"--data-range {first} {last} chooses from 60 frames"):
        choose_frames(60, first, last)
