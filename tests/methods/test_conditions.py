"""Windows as methods want them: normalised by the training split, gathered, alike in training and rendering."""

from dataclasses import replace

import pytest
import torch

from r2talker import methods
from r2talker.conditions import MINIMUM_STD, limit_landmarks, window_conditions
from r2talker.data.folder import Statistics
from r2talker.types import DriveSpec
from tests.tolerances import assert_close

ZEROS = torch.zeros(68, 3).tolist()
DRIVE = DriveSpec("landmarks", 5, normalise=True)


def landmarks(frames: int = 30) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return 0.3 * torch.randn(68, 3, generator=rng) + 0.1 * torch.randn(frames, 68, 3, generator=rng)


def statistics_of(sequence: torch.Tensor) -> Statistics:
    std, mean = torch.std_mean(sequence, dim=0, correction=0)
    return Statistics(mean.tolist(), std.tolist(), ZEROS, ZEROS, 0.0, 0.0, 0.0)


def test_the_training_split_becomes_zero_mean_and_unit_spread() -> None:
    train, later = landmarks(30), 2 * landmarks(50)[30:] + 1
    middle = window_conditions(train, DRIVE, statistics_of(train))[:, 2]
    assert_close(middle.mean(0), torch.zeros(68, 3), "normalised")
    assert_close(middle.std(0, correction=0), torch.ones(68, 3), "normalised")
    std, mean = torch.std_mean(train, dim=0, correction=0)
    held_out = window_conditions(later, DRIVE, statistics_of(train))
    assert_close(held_out[:, 2] * std + mean, later, "normalised")
    assert held_out[:, 2].mean() > 1


def test_a_coordinate_that_never_moves_survives() -> None:
    train = landmarks()
    train[:, 30] = train[0, 30]
    windows = window_conditions(train, DRIVE, statistics_of(train))
    assert windows.isfinite().all()
    assert_close(windows[:, :, 30], torch.zeros(30, 5, 3), "normalised")
    moved = train.clone()
    moved[:, 30] += MINIMUM_STD
    assert window_conditions(moved, DRIVE, statistics_of(train))[:, :, 30].abs().max() < 1.1


def test_raw_methods_get_the_sequence_as_it_is() -> None:
    train = landmarks()
    windows = window_conditions(train, replace(DRIVE, normalise=False), statistics_of(train))
    assert_close(windows[:, 2], train, "exact")
    assert windows.shape == (30, 5, 68, 3)


@pytest.mark.parametrize("name", methods.available())
def test_windows_hold_the_neighbours_and_repeat_the_ends(name: str) -> None:
    drive = replace(methods.get(name).drive, normalise=False)
    shape = (68, 3) if drive.kind == "landmarks" else (16, 7)
    sequence = torch.arange(12.0).reshape(12, 1, 1).expand(12, *shape)
    windows = window_conditions(sequence, drive, statistics_of(landmarks()))
    assert windows.shape == (12, drive.window, *shape)
    before = drive.window // 2
    for frame in (0, 1, 6, 11):
        expected = [min(max(frame - before + k, 0), 11) for k in range(drive.window)]
        assert windows[frame, :, 0, 0].tolist() == expected


def test_zeros_outside_when_an_avatar_was_trained_so() -> None:
    train = landmarks()
    windows = window_conditions(train, DRIVE, statistics_of(train), edge="zeros")
    assert (windows[0, :2] == 0).all()
    assert (windows[-1, 3:] == 0).all()
    # Outside is zero after normalising, which is the mean face.
    inner = window_conditions(train, DRIVE, statistics_of(train))
    assert_close(windows[2:-2], inner[2:-2], "exact")


def test_one_frame_fills_its_window() -> None:
    one = landmarks(1)
    assert_close(
        window_conditions(one, replace(DRIVE, normalise=False), statistics_of(one)), one[None].expand(1, 5, 68, 3), "exact"
    )


def test_landmarks_are_held_within_a_limit() -> None:
    train = landmarks()
    std, mean = torch.std_mean(train, dim=0, correction=0)
    for sign in (-1, 1):
        far = (mean + sign * 10 * std).expand(3, 68, 3)
        reach = (limit_landmarks(far, statistics_of(train), 2.3)[1] - mean) / std * sign
        upper = torch.zeros(68, 3, dtype=torch.bool)
        upper[[*range(17, 27), *range(36, 48)], :2] = True
        assert_close(reach[upper], torch.full((44,), 1.15), "normalised")
        assert_close(reach[~upper], torch.full((160,), 2.3), "normalised")
    near = mean + 1.1 * std
    assert torch.equal(limit_landmarks(near[None], statistics_of(train), 2.3)[0], near)
