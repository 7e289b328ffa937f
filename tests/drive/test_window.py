"""Windows of upstream.md 4.1 against cases worked by hand."""

import pytest
import torch

from r2talker.drive.window import gather_windows


def test_odd_window_is_centred_and_repeats_the_ends() -> None:
    windows = gather_windows(torch.arange(4), 5)
    assert windows.tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]


def test_even_window_reaches_further_back_and_zeros_lie_outside() -> None:
    windows = gather_windows(torch.arange(1, 4), 4, edge="zeros")
    assert windows.tolist() == [[0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 0]]


def test_frame_shape_is_kept() -> None:
    sequence = torch.randn(6, 68, 3)
    windows = gather_windows(sequence, 8, edge="zeros")
    assert windows.shape == (6, 8, 68, 3)
    assert torch.equal(windows[:, 4], sequence)
    assert windows[0, :4].abs().max() == 0


def test_empty_sequence_and_bad_length() -> None:
    assert gather_windows(torch.zeros(0, 3), 5).shape == (0, 5, 3)
    with pytest.raises(ValueError, match="at least 1"):
        gather_windows(torch.zeros(2), 0)
