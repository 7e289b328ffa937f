"""Avatars of our own as checkpoints: what fits comes back as it was, the rest is refused with its reason."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from r2talker import methods
from r2talker.avatar import Avatar
from r2talker.compatibility import UPSTREAM
from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.model.head import HeadConfig
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.model.torso import TorsoConfig, torso_grid
from r2talker.ops.render_torso.follow import Follow
from r2talker.train.run import train_avatar
from r2talker.train.shape import coarsened
from r2talker.upstream.exporting import export_checkpoint
from r2talker.upstream.importing import import_checkpoint
from r2talker.upstream.scene import SceneFiles
from tests.golden.models import NAMES
from tests.golden.regenerate import meta
from tests.tiny import MOTION, TRAINING
from tests.tolerances import assert_close


def own(avatar: Avatar, name: str, path: Path, *, torso: TorsoConfig | None, codes: int = 7, width: int = 44) -> Path:
    """An avatar as training would leave it if it were of the reference's shapes, with random weights."""
    method = methods.get(name)
    feature_width = width if method.drive.kind == "audio" else 0
    config = ModelConfig(HeadConfig(method.position_grid, codes=codes), method.condition_grid, torso, feature_width)
    torch.manual_seed(0)
    model = TalkingHead(config, method).eval()
    model.occupancy.restrict(model.occupancy.centres().norm(dim=1) < 0.4)
    for grid in (model.head.position_grid, *([model.torso.grid] if model.torso else [])):
        torch.nn.init.normal_(grid.embeddings, std=0.3)
    info = dataclasses.replace(avatar.info, method=name, model=config, motion=None, feature="eo" if feature_width else "")
    Avatar(info, model.requires_grad_(False), avatar.track, avatar.background).save(path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_it_has_what_the_reference_has(avatar: Avatar, name: str, tmp_path: Path) -> None:
    report = export_checkpoint(own(avatar, name, tmp_path / "a", torso=TorsoConfig(codes=5)), tmp_path / "ngp.pth")
    assert (report.exact, report.torso) == (False, True)
    content = torch.load(tmp_path / "ngp.pth", weights_only=True)
    found = {key: [list(v.shape), str(v.dtype).removeprefix("torch.")] for key, v in content["model"].items()}
    assert found == meta()["models"][methods.get(name).upstream_name]["state_dict"]
    assert set(content) == {"epoch", "global_step", "mean_count", "mean_density", "mean_density_torso", "stats", "model"}
    assert set(content["stats"]) == {"loss", "valid_loss", "results", "checkpoints", "best_result"}


def test_it_draws_the_same_when_it_comes_back(avatar: Avatar, scene: SceneFiles, tmp_path: Path) -> None:
    own(avatar, "geneface", tmp_path / "a", torso=TorsoConfig(codes=5))
    export_checkpoint(tmp_path / "a", tmp_path / "ngp.pth")
    import_checkpoint(tmp_path / "ngp.pth", tmp_path / "b", scene)
    first, second = (Avatar.load(tmp_path / name, device="cpu") for name in "ab")
    plan = first.plan(frames=1)
    background = (0, 128, 255)
    # The camera is another scene's, and ray marching follows the reference's budget there.
    second.info = dataclasses.replace(second.info, size=first.info.size, focal=first.info.focal, render=first.info.render)
    pictures = [next(iter(one.render_plan(plan, background=background, size=24))).rgb for one in (first, second)]
    assert pictures[0].std() > 0.05
    assert_close(pictures[1], pictures[0], "rays apart")


@pytest.mark.parametrize("method", ["r2talker", "radnerf"])
def test_what_training_left_smaller_is_refused(trained: Callable[[str], Path], method: str, tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError) as caught:
        export_checkpoint(trained(method), tmp_path / "ngp.pth")
    message = str(caught.value)
    assert re.search(r"head\.position_grid has \d+ tiled levels", message)
    assert "where the reference has 16 tiled levels of" in message
    assert "torso.grid has" in message
    assert "torso.follow: its torso is looked up beside the neck" in message
    assert "cells in the order zxy where the reference" in message
    assert ("landmark_grid has 12 tiled levels of 4 to 64 cells" in message) == (method == "r2talker")
    assert ("hears features of 64 columns, the reference ones of 29, 32, 44" in message) == (method == "radnerf")
    assert "\n" not in message
    assert not (tmp_path / "ngp.pth").exists()


def test_training_by_the_references_rules_can_be_exported(dataset: DatasetFolder, scene: SceneFiles, tmp_path: Path) -> None:
    config = dataclasses.replace(TRAINING, rules="reference", head_steps=3, torso_steps=3)
    trained = train_avatar("geneface", dataset.root, tmp_path / "a", config, MOTION).avatar
    assert export_checkpoint(trained, tmp_path / "ngp.pth").torso
    import_checkpoint(tmp_path / "ngp.pth", tmp_path / "b", SceneFiles(dataset=dataset.root))
    ours, back = (Avatar.load(tmp_path / name, device="cpu") for name in "ab")
    assert ours.info.model.torso is not None
    assert ours.info.model.torso.follow is None
    rules = back.info.compatibility
    assert dataclasses.replace(ours.info.compatibility, budget=rules.budget) == rules == UPSTREAM
    for key, value in ours.model.state_dict().items():
        held = back.model.state_dict()[key]
        assert torch.equal(held[: len(value)] if value.dim() else held, value), key


def test_the_references_rules_exclude_other_grids() -> None:
    with pytest.raises(R2TalkerError, match="--rules reference knows tiled grids only"):
        dataclasses.replace(TRAINING, rules="reference", grid_kind="hash")
    with pytest.raises(R2TalkerError, match="--rules reference has tables of its own size"):
        dataclasses.replace(TRAINING, rules="reference", table=16)


def test_the_head_alone(avatar: Avatar, tmp_path: Path) -> None:
    """As trained at 512 pixels: the position grid is the reference's, the torso's is not."""
    assert coarsened(methods.get("geneface").position_grid, 4 * 512) == methods.get("geneface").position_grid
    torso = TorsoConfig(coarsened(torso_grid(), 2 * 512), codes=5, follow=Follow(4.0, 0.2, 0.0))
    own(avatar, "geneface", tmp_path / "a", torso=torso)
    with pytest.raises(
        R2TalkerError, match=r"torso\.grid has 14 tiled levels.*torso\.follow.*--head-only leaves the torso out$"
    ):
        export_checkpoint(tmp_path / "a", tmp_path / "ngp.pth")
    assert not export_checkpoint(tmp_path / "a", tmp_path / "ngp.pth", head_only=True).torso
    assert not [key for key in torch.load(tmp_path / "ngp.pth", weights_only=True)["model"] if "torso" in key]


def test_a_hash_grid_is_not_a_tiled_one(avatar: Avatar, tmp_path: Path) -> None:
    path = own(avatar, "geneface", tmp_path / "a", torso=None)
    loaded = Avatar.load(path, device="cpu")
    head = loaded.info.model.head
    hashed = dataclasses.replace(head, position_grid=dataclasses.replace(head.position_grid, kind="hash"))
    config = dataclasses.replace(loaded.info.model, head=hashed)
    model = TalkingHead(config, loaded.model.method)
    Avatar(dataclasses.replace(loaded.info, model=config), model, loaded.track, loaded.background).save(tmp_path / "b")
    with pytest.raises(R2TalkerError, match="16 hash levels of 16 to 2048 cells where the reference has 16 tiled"):
        export_checkpoint(tmp_path / "b", tmp_path / "ngp.pth")


def test_too_many_codes(avatar: Avatar, tmp_path: Path) -> None:
    own(avatar, "geneface", tmp_path / "a", torso=None, codes=10001)
    with pytest.raises(R2TalkerError, match="10001 individual codes, the reference 10000"):
        export_checkpoint(tmp_path / "a", tmp_path / "ngp.pth")


def test_an_imported_head_alone(imported: Callable[[str, bool], Path], tmp_path: Path) -> None:
    report = export_checkpoint(imported("geneface", True), tmp_path / "ngp.pth", head_only=True)
    assert (report.exact, report.torso) == (False, False)
