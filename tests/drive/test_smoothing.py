"""Values made smoother over time, and settings of it that make no sense."""

import pytest
import torch

from r2talker.drive.config import Smoothing
from r2talker.drive.smoothing import Memory, smooth_values
from r2talker.errors import R2TalkerError
from tests.tolerances import assert_close


@pytest.mark.parametrize("window", [1, 3, 7, 50])
@pytest.mark.parametrize("frames", [1, 2, 11])
def test_every_value_is_the_mean_of_its_neighbours(window: int, frames: int) -> None:
    values = torch.randn(frames, generator=torch.Generator().manual_seed(frames))
    reach = window // 2
    expected = [values[max(0, i - reach) : i + reach + 1].mean() for i in range(frames)]
    assert_close(smooth_values(values, window), torch.stack(expected), "geometry")


def test_nothing_stays_nothing() -> None:
    assert smooth_values(torch.zeros(0), 3).shape == (0,)
    assert Memory(0.35).advance(torch.zeros(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("pieces", [1, 3, 9])
def test_memory_keeps_its_share_from_frame_to_frame(pieces: int) -> None:
    values = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    memory = Memory(0.35)
    made = torch.cat([memory.advance(part) for part in values.tensor_split(pieces)])
    assert torch.equal(made[0], values[0])
    for before, value, after in zip(made, values[1:], made[1:], strict=False):
        assert_close(after, 0.35 * before + 0.65 * value, "geometry")


def test_memory_of_nothing_changes_nothing() -> None:
    values = torch.randn(5, 2)
    assert Memory(0.0).advance(values) is values


@pytest.mark.parametrize(
    ("name", "value"),
    [("smooth_path", 0), ("smooth_eyes", -1), ("smooth_lips", 1.0), ("smooth_lips", -0.1), ("landmark_limit", -1.0)],
)
def test_settings_that_make_no_sense(name: str, value: float) -> None:
    with pytest.raises(R2TalkerError, match=f"--{name.replace('_', '-')}"):
        Smoothing(**{name: value})
