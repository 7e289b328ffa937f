"""Somebody who looks on while an avatar is trained sees it from any side, and as depth, normals or coverage."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from r2talker.data.folder import DatasetFolder
from r2talker.render.sight import Sight
from r2talker.train.run import train_avatar
from tests.tiny import MOTION, TRAIN_SIZE, TRAINING

SIGHTS = {
    "preview": Sight(),
    "depth": Sight("depth"),
    "normal": Sight("normal"),
    "alpha": Sight("alpha"),
    "turned": Sight(yaw=40.0),
    "turned alpha": Sight("alpha", yaw=40.0),
    "right": Sight("alpha", pan_x=0.5),
    "far": Sight("alpha", zoom=-8.0),
}


class Onlooker:
    """Takes all `SIGHTS` after the last step of every phase."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, np.ndarray]] = {}

    def step(
        self,
        phase: str,
        step: int,
        steps: int,
        scalars: Mapping[str, float],
        draw: Callable[[Sight], np.ndarray],
        save: Callable[[], None],
    ) -> bool:
        if step == steps:
            self.seen[phase] = {name: draw(sight).astype(int) for name, sight in SIGHTS.items()}
        return False


def test_a_run_is_seen_from_any_side(dataset: DatasetFolder, tmp_path: Path) -> None:
    onlooker = Onlooker()
    config = dataclasses.replace(TRAINING, torso_steps=2)
    train_avatar("r2talker", dataset.root, tmp_path / "a.avatar", config, MOTION, watcher=onlooker)
    assert set(onlooker.seen) == {"head", "torso"}
    for seen in onlooker.seen.values():
        preview = seen.pop("preview")
        assert preview.shape == (TRAIN_SIZE, 2 * TRAIN_SIZE, 3)
        assert all(picture.shape == (TRAIN_SIZE, TRAIN_SIZE, 3) for picture in seen.values())
        alpha, depth = seen["alpha"], seen["depth"]
        solid = alpha[..., 0] > 140
        assert 0.05 < solid.mean() < 0.95
        assert depth[alpha[..., 0] < 120].max() == 0
        assert depth[solid].std() > 5
        assert np.median(seen["normal"][solid][:, 2]) > 128
        assert np.abs(seen["turned alpha"] - alpha).mean() > 5
        assert np.abs(seen["turned"] - preview[:, TRAIN_SIZE:]).mean() > 5
        # The head goes where it is moved, and is smaller from afar.
        columns = np.arange(TRAIN_SIZE)
        middle, right = ((picture[..., 0].sum(0) * columns).sum() / picture[..., 0].sum() for picture in (alpha, seen["right"]))
        assert right > middle + 2
        assert seen["far"].sum() < 0.6 * alpha.sum()
