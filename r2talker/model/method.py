"""What a method is: data, and a way to build its conditioning."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from r2talker.compatibility import FilmOrder
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.types import DriveSpec


@dataclass(frozen=True)
class ConditioningShape:
    """What the conditioning must fit.

    feature_width: columns of one audio feature row, 0 for landmarks. position_features: width of the encoded position.
    grid: layout of the conditioning's own grid. film: see `Compatibility`.
    """

    feature_width: int
    position_features: int
    grid: GridLayout
    film: FilmOrder = "shift first"


Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a checkpoint's tensors by upstream's names."""


def unrecognised(shapes: Shapes) -> int | None:
    """For methods that no checkpoint of the reference belongs to."""
    return None


@dataclass(frozen=True)
class Method:
    """One way of conditioning the head.

    drive: what its windows hold. position_grid, condition_grid: the reference's grids. trained_grid: the condition grid of our own
    avatars. build: makes the conditioning module. keys: upstream state_dict prefix of each of the conditioning's own prefixes
    (upstream.md 4.6). rates: learning-rate factor by prefix of the conditioning's parameters, on top of the grid or network rate.
    recognise: tells a checkpoint of this method, whole or damaged, by its tensors' shapes; returns the columns of an audio feature
    row (0 for landmarks), or None for another method's.
    """

    name: str
    title: str
    upstream_name: str
    drive: DriveSpec
    position_grid: GridLayout
    condition_grid: GridLayout
    trained_grid: GridLayout
    build: Callable[[ConditioningShape], nn.Module]
    keys: dict[str, str]
    rates: dict[str, float] = field(default_factory=dict)
    recognise: Callable[[Shapes], int | None] = unrecognised
