"""Imported golden checkpoints, rendered by what an avatar offers its users, against the reference's pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker import methods
from r2talker.avatar import Avatar
from r2talker.compatibility import UPSTREAM
from r2talker.render.fused import fused_runs
from tests.golden.models import NAMES
from tests.golden.regenerate import golden, model_inputs
from tests.tolerances import assert_close

EYE = 0.25
WANTED_DB = 45
PICTURES = [("image_head", False), ("image_full", True)]


def drive(avatar: Avatar) -> tuple[dict[str, Any], int]:
    """What to render with so that one frame sees the golden window, and that frame's number."""
    method = avatar.model.method
    window = torch.from_numpy(model_inputs(method.upstream_name).window)
    kind = "landmarks" if method.drive.kind == "landmarks" else "features"
    return {kind: window, "eye": EYE, "poses": avatar.track.c2w}, method.drive.window // 2


def over_golden_background(avatar: Avatar) -> tuple[Tensor, Tensor]:
    """The picture over the golden background, which bytes cannot hold: pictures are linear in it, and black and white say how."""
    given, number = drive(avatar)
    plan = avatar.plan(**given)
    black, white = (list(avatar.render_plan(plan, background=colour))[number] for colour in ((0, 0, 0), (255, 255, 255)))
    plate = torch.from_numpy(golden(avatar.model.method.upstream_name)["background"]).reshape(black.rgb.shape)
    return black.rgb + (white.rgb - black.rgb) * plate, black.depth


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("array", "torso"), PICTURES)
def test_pictures(imported: Callable[[str, bool], Path], name: str, array: str, torso: bool) -> None:
    avatar = Avatar.load(imported(name, torso), device="cpu")
    assert avatar.info.compatibility == UPSTREAM
    assert (avatar.model.torso is not None) == torso
    stored = golden(methods.get(name).upstream_name)
    picture, depth = over_golden_background(avatar)
    kind = "film" if avatar.model.head.contract.extra_features == 0 else "ambient"
    entry = "golden image_full" if torso else f"golden image_head, {kind}"
    assert_close(picture.reshape(-1, 3), stored[array].reshape(-1, 3), entry)
    assert_close(depth.reshape(-1), np.nan_to_num(stored["depth_head"].reshape(-1)), f"golden depth_head, {kind}")


def decibels(avatar: Avatar, array: str) -> float:
    """Bytes over the avatar's own background, which is the golden one in bytes, against the stored picture."""
    given, number = drive(avatar)
    drawn = list(avatar.render(**given))[number]
    stored = golden(avatar.model.method.upstream_name)[array].reshape(drawn.shape)
    return float(-10 * np.log10(np.mean((drawn / 255 - stored) ** 2)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("array", "torso"), PICTURES)
def test_bytes(imported: Callable[[str, bool], Path], name: str, array: str, torso: bool) -> None:
    assert decibels(Avatar.load(imported(name, torso), device="cpu"), array) > WANTED_DB


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("array", "torso"), PICTURES)
def test_bytes_by_kernels(imported: Callable[[str, bool], Path], name: str, array: str, torso: bool) -> None:
    avatar = Avatar.load(imported(name, torso), device="cuda")
    assert fused_runs(avatar.model, avatar.device)
    assert decibels(avatar, array) > WANTED_DB
