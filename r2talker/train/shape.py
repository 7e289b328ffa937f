"""The shapes of the networks that are trained, fitted to the clip."""

import dataclasses

from r2talker.compatibility import OURS, UPSTREAM
from r2talker.data.dataset import Dataset
from r2talker.model.head import HeadConfig
from r2talker.model.method import Method
from r2talker.model.talking_head import ModelConfig
from r2talker.model.torso import TorsoConfig, torso_grid
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.train.body import Body
from r2talker.train.conditions import FEATURE
from r2talker.train.config import TrainConfig
from r2talker.train.plan import Amounts


def shape_model(method: Method, dataset: Dataset, config: TrainConfig, amounts: Amounts, body: Body | None) -> ModelConfig:
    """Networks by `config.rules`: the reference's, or our own, with grids no finer than pictures of `amounts.train_size` pixels show.

    body: how it moves, which torsos of our own follow; None for the reference's.
    """
    info, size = dataset.info, amounts.train_size
    width = 0 if method.drive.kind == "landmarks" else info.features[FEATURE].width
    if body is None:
        head = HeadConfig(method.position_grid, codes=info.train_frames)
        return ModelConfig(head, method.condition_grid, TorsoConfig(codes=info.train_frames), width, UPSTREAM.film)
    # The rendered box is about as wide as the picture: cells of a quarter pixel for the head, of a pixel for the torso.
    coarse = coarsened(method.position_grid, 4 * size)
    position = dataclasses.replace(coarse, kind=config.grid_kind, axes=OURS.axes, log2_table=amounts.table)
    # A torso that stands still reaches as far beyond the picture as the body moves: the coordinates shrink, the cells stay a pixel.
    grid, shrink = coarsened(torso_grid(), size * (1 + body.reach)), TorsoConfig.shrink / (1 + body.reach)
    torso = TorsoConfig(grid, codes=info.train_frames, shrink=shrink, follow=body.follow)
    return ModelConfig(HeadConfig(position, codes=info.train_frames), method.trained_grid, torso, width)


def coarsened(layout: GridLayout, finest: float) -> GridLayout:
    """The layout without the levels of more than about `finest` cells, which a small picture says nothing about."""
    levels, cells = layout.levels, float(layout.finest)
    while cells / layout.growth > finest and levels > 1:
        levels, cells = levels - 1, cells / layout.growth
    return dataclasses.replace(layout, levels=levels, finest=round(cells))
