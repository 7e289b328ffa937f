"""RAD-NeRF (Tang et al. 2022, arXiv 2211.12368): audio features choose a 2D ambient coordinate per sample."""

from torch import nn

from r2talker.model.ambient import AMBIENT_GRID, AmbientConditioning, AmbientConfig
from r2talker.model.method import ConditioningShape, Method, Shapes
from r2talker.model.upstream_names import AMBIENT_KEYS, LANDMARK_COLUMNS, heard_columns, window_length
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.types import DriveSpec

WINDOW, ROWS = 8, 16
USUAL_WIDTH = 44
"""Columns of the features that the reference takes by default."""


def build(shape: ConditioningShape) -> nn.Module:
    """Eight windows of 16 feature rows (upstream.md 4.1)."""
    return AmbientConditioning(AmbientConfig(shape.feature_width, ROWS, WINDOW, shape.grid), shape.position_features)


def recognise(shapes: Shapes) -> int | None:
    """An audio network fed with rows of features, as many columns as its first convolution has."""
    columns = heard_columns(shapes)
    if columns is None or columns == LANDMARK_COLUMNS:
        return None
    return columns or (USUAL_WIDTH if window_length(shapes) == WINDOW else None)


METHOD = Method(
    name="radnerf",
    title="RAD-NeRF",
    upstream_name="rad-nerf",
    drive=DriveSpec(kind="audio", window=WINDOW, normalise=False),
    position_grid=GridLayout(input_dim=3, channels=2, base=16, finest=2048),
    condition_grid=AMBIENT_GRID,
    trained_grid=AMBIENT_GRID,
    build=build,
    keys=AMBIENT_KEYS,
    rates={"attention": 5.0},
    recognise=recognise,
)
