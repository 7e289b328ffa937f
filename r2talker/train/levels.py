"""Levels of the grids that come in one after the other, coarse to fine."""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from r2talker.model.grid import Grid
from r2talker.model.head import Head
from r2talker.ops.train_head.reference import level_windows


def landmark_grids(head: Head) -> list[Grid]:
    """The conditioning's grids over points in space; a method without landmarks in a grid has none."""
    return [grid for grid in head.conditioning.modules() if isinstance(grid, Grid) and grid.layout.input_dim == 3]


def let_levels_in(grids: Sequence[Grid], coarse: int, unlock_steps: int, step: int | Int[Tensor, " 1"]) -> None:
    """Set the grids' windows for a step; `step` as a tensor is for work that is recorded and replayed."""
    over = not unlock_steps or (isinstance(step, int) and step >= unlock_steps)
    for grid in grids:
        window = None if over else level_windows(grid.layout.levels, coarse, unlock_steps, step)
        grid.window = None if window is None else window.to(grid.embeddings.device)
