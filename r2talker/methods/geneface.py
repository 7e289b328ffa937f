"""GeneFace's landmarks (Ye et al. 2023, arXiv 2301.13430) on instant-ngp: normalised landmarks choose the ambient coordinate."""

from torch import nn

from r2talker.model.ambient import AMBIENT_GRID, AmbientConditioning, AmbientConfig
from r2talker.model.method import ConditioningShape, Method, Shapes
from r2talker.model.upstream_names import AMBIENT_KEYS, LANDMARK_COLUMNS, heard_columns, window_length
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.types import DriveSpec

WINDOW = 5


def build(shape: ConditioningShape) -> nn.Module:
    """Five frames of 68 normalised landmarks, each one row (upstream.md 4.1)."""
    return AmbientConditioning(AmbientConfig(LANDMARK_COLUMNS, 1, WINDOW, shape.grid), shape.position_features)


def recognise(shapes: Shapes) -> int | None:
    """The audio network of RAD-NeRF, fed with the coordinates of a frame's landmarks."""
    columns = heard_columns(shapes)
    return 0 if columns == LANDMARK_COLUMNS or (columns == 0 and window_length(shapes) == WINDOW) else None


METHOD = Method(
    name="geneface",
    title="GeneFace on instant-ngp",
    upstream_name="genefaceDagger",
    drive=DriveSpec(kind="landmarks", window=WINDOW, normalise=True),
    position_grid=GridLayout(input_dim=3, channels=2, base=16, finest=2048),
    condition_grid=AMBIENT_GRID,
    trained_grid=AMBIENT_GRID,
    build=build,
    keys=AMBIENT_KEYS,
    rates={"attention": 5.0},
    recognise=recognise,
)
