"""Levels of the grids that come in one after the other."""

from itertools import pairwise

import pytest
import torch

from r2talker import methods
from r2talker.errors import R2TalkerError
from r2talker.model.head import FrameCode, HeadConfig
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.train_head.reference import level_windows
from r2talker.train.config import TrainConfig
from r2talker.train.levels import landmark_grids, let_levels_in
from tests.tolerances import assert_close


@pytest.fixture(scope="module")
def model() -> TalkingHead:
    torch.manual_seed(0)
    grid = GridLayout(input_dim=3, channels=4, base=8, finest=64, levels=6, log2_table=12)
    landmarks = GridLayout(input_dim=3, channels=2, base=4, finest=16, levels=4, log2_table=10)
    return TalkingHead(ModelConfig(HeadConfig(grid, codes=3), landmarks), methods.get("r2talker"))


def touched_levels(model: TalkingHead) -> tuple[list[bool], list[bool]]:
    """Which levels of the position and of the landmark grid get a gradient."""
    head = model.head
    model.zero_grad()
    windows = torch.rand(1, 5, 68, 3) * 2 - 1
    code = FrameCode(head.contract.encode(windows)[0], torch.tensor(1.0), head.individual_codes[0])
    head(torch.rand(200, 3) - 0.5, torch.nn.functional.normalize(torch.randn(200, 3), dim=-1), code).rgb.sum().backward()
    grids = (head.position_grid, *landmark_grids(head))
    found = []
    for grid in grids:
        assert grid.embeddings.grad is not None
        ends = grid.layout.offsets
        found.append([bool(grid.embeddings.grad[a:b].any()) for a, b in pairwise(ends)])
    return found[0], found[1]


def test_levels_open_in_order_and_smoothly() -> None:
    assert_close(level_windows(4, 1, 90, 0), torch.tensor([1.0, 0, 0, 0]), "single precision sums")
    # A level takes 30 steps to open; after 45 the third is half way.
    assert_close(level_windows(4, 1, 90, 45), torch.tensor([1.0, 1, 0.5, 0]), "single precision sums")
    assert_close(level_windows(4, 1, 90, 90), torch.ones(4), "single precision sums")
    assert_close(level_windows(4, 1, 90, torch.tensor([45])), level_windows(4, 1, 90, 45), "single precision sums")


def test_levels_that_are_not_in_yet_do_not_train(model: TalkingHead) -> None:
    grids = [model.head.position_grid, *landmark_grids(model.head)]
    assert len(grids) == 2
    let_levels_in(grids, 2, 100, 0)
    assert touched_levels(model) == ([True, True, False, False, False, False], [True, True, False, False])
    let_levels_in(grids, 2, 100, 100)
    assert touched_levels(model) == ([True] * 6, [True] * 4)
    assert all(grid.window is None for grid in grids)


def test_levels_must_all_be_in_before_the_end() -> None:
    with pytest.raises(R2TalkerError, match=r"--unlock-share must be at most 0\.9, .* got 1"):
        TrainConfig(unlock_share=1.0)
