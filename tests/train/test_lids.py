"""Rays that look at the eyes of a second frame, and eye values that count from the usual opening."""

import copy
import dataclasses
from pathlib import Path
from typing import Literal

import pytest
import torch

from r2talker import methods
from r2talker.avatar import Avatar
from r2talker.data.dataset import Dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.model.head import FrameCode, HeadConfig
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.render.config import RenderSettings
from r2talker.render.rays import render_rays
from r2talker.train.config import TrainConfig
from r2talker.train.head import Conditions, HeadPhase
from r2talker.train.lids import frame_of_lids, lid_rays
from r2talker.train.run import train_avatar
from r2talker.train.sampling import frame_of_step, frame_regions
from tests.tiny import MOTION, TRAIN_SIZE, TRAINING
from tests.tolerances import assert_close

CLASSES = [[3, 8], [5], [0, 1, 2]]
SMALL = GridLayout(input_dim=3, channels=2, base=4, finest=12, levels=4)


def test_a_quarter_of_the_rays_of_every_second_frame() -> None:
    assert [lid_rays(turn, 512) for turn in range(4)] == [128, 0, 128, 0]


def test_closed_eyes_come_eight_times_as_often_and_all_of_them() -> None:
    chosen = [frame_of_lids(CLASSES, 0, turn) for turn in range(0, 120, 2)]
    assert [sum(frame in members for frame in chosen) for members in CLASSES] == [48, 6, 6]
    assert set(chosen) == {3, 8, 5, 0, 1, 2}
    assert chosen != [frame_of_lids(CLASSES, 1, turn) for turn in range(0, 120, 2)]


@pytest.fixture(scope="module")
def phase(data: Dataset) -> HeadPhase:
    """Of the procedural clip and an untrained head."""
    pictures = read_pictures(data, list(data.train), size=TRAIN_SIZE)
    model = TalkingHead(ModelConfig(HeadConfig(SMALL, codes=len(data.train)), SMALL), methods.get("r2talker"))
    windows = data.displacements[:, None].expand(-1, 5, -1, -1).contiguous()
    return HeadPhase(
        model, data, pictures, Conditions(windows, data.eye), [frame_regions(data, pictures, frame) for frame in data.train],
        RenderSettings(), TrainConfig(device="cpu"), steps=10, rays=512, frames_per_step=1, occupancy_cells=1, order=data.kept,
        sampling=TrainConfig().sampling, net_rate=1e-3, recombine=False, lids=True,
    )  # fmt: skip


@pytest.mark.parametrize("turn", range(4))
def test_every_second_step_teaches_a_second_frame(phase: HeadPhase, turn: int) -> None:
    codes = phase.model.head.individual_codes
    (slope,) = torch.autograd.grad(phase.loss(turn).total, codes)
    taught = set(torch.nonzero(slope.abs().sum(1)).flatten().tolist())
    frames = {phase.order[frame_of_step(len(phase.order), phase.config.seed, turn)]}
    if turn % 2 == 0:
        frames.add(frame_of_lids(phase.openings, phase.config.seed, turn))
    assert taught == frames


def test_without_lids_a_step_looks_at_one_frame(phase: HeadPhase) -> None:
    (slope,) = torch.autograd.grad(dataclasses.replace(phase, lids=False).loss(0).total, phase.model.head.individual_codes)
    assert int((slope.abs().sum(1) > 0).sum()) == 1


def test_avatars_take_percent_of_the_picture(avatar: Avatar) -> None:
    """Their networks were trained on how far eyes are from their usual opening."""
    usual = float(avatar.track.eye.median())
    assert avatar.model.head.config.usual_eye == pytest.approx(usual)
    trained = copy.deepcopy(avatar.model)
    trained.head.config = dataclasses.replace(trained.head.config, usual_eye=0.0)
    trained.head.sigma_net.layers[0].weight[:, -1] *= usual  # type: ignore[index,operator]
    code = avatar.model.head.contract.encode(torch.zeros(1, 5, 68, 3))[0]
    individual = avatar.model.head.individual_codes[0]
    frame, relative = (FrameCode(code, torch.tensor(eye), individual) for eye in (0.4 * usual, 0.4 - 1))
    x, d = torch.rand(50, 3) - 0.5, torch.nn.functional.normalize(torch.randn(50, 3), dim=1)
    assert_close(avatar.model.head.density(x, frame).sigma, trained.head.density(x, relative).sigma, "dense")
    assert_close(avatar.model.head(x, d, frame).rgb, trained.head(x, d, relative).rgb, "dense")
    assert_close(avatar.model.head.sigma(x, frame), trained.head.sigma(x, relative), "dense")
    impl: Literal["rounds", "compiled"]
    for impl in ("rounds", "compiled"):
        pictures = [
            render_rays(
                model.head, model.occupancy, generate_rays(avatar.camera(avatar.track.c2w[0], 16)), one,
                torch.zeros(256, 3), avatar.info.render, impl=impl,
            ).rgb
            for model, one in ((avatar.model, frame), (trained, relative))
        ]  # fmt: skip
        assert_close(pictures[0], pictures[1], "dense")


def test_recombined_eyes_count_from_nothing(dataset: DatasetFolder, tmp_path: Path) -> None:
    train_avatar("r2talker", dataset.root, tmp_path / "a", dataclasses.replace(TRAINING, recombine=True, head_steps=2), MOTION)
    assert Avatar.load(tmp_path / "a", device="cpu").model.head.config.usual_eye == 0
