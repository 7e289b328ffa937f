"""Import, then export: the same file again; and which weights the avatar got."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker.avatar import Avatar
from r2talker.avatar_format import AvatarFolder, read_avatar_info, read_weights, write_avatar_info
from r2talker.errors import R2TalkerError
from r2talker.upstream.checkpoint import read_checkpoint
from r2talker.upstream.exporting import export_checkpoint
from r2talker.upstream.importing import import_checkpoint
from r2talker.upstream.scene import SceneFiles
from tests.tolerances import assert_close
from tests.upstream.files import best, latest, parameters, save, state_dict

METHOD = "rad-nerf"


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As under `.half()`: what floats is half as wide."""
    return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}


def with_cameras(state: dict[str, Tensor]) -> dict[str, Tensor]:
    corrections = {key: torch.randn(10000, 3, generator=torch.Generator().manual_seed(1)) for key in ("camera_dR", "camera_dT")}
    return {**corrections, **state}


FORMS: dict[str, tuple[str, Callable[[], Any]]] = {
    "r2talker, latest": ("r2talker", lambda: latest(state_dict("r2talker"))),
    "gene, latest without average": ("genefaceDagger", lambda: latest(state_dict("genefaceDagger"), average=False)),
    "rad, latest": ("rad-nerf", lambda: latest(state_dict("rad-nerf"))),
    "best": (METHOD, lambda: best(state_dict(METHOD))),
    "best head": (METHOD, lambda: best(state_dict(METHOD, torso=False))),
    "head": (METHOD, lambda: latest(state_dict(METHOD, torso=False))),
    "bare": (METHOD, lambda: dict(state_dict(METHOD))),
    "halves": (METHOD, lambda: latest(halved(state_dict(METHOD)))),
    "cameras": (METHOD, lambda: latest(with_cameras(state_dict(METHOD)))),
}


def same(first: Tensor, second: Tensor) -> bool:
    bits = [value.contiguous().reshape(-1).view(torch.uint8) for value in (first, second)]
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(*bits)


@pytest.mark.parametrize("form", FORMS)
def test_the_file_comes_back_bit_for_bit(form: str, scene: SceneFiles, tmp_path: Path) -> None:
    content = FORMS[form][1]()
    report = import_checkpoint(save(content, tmp_path / "ngp.pth"), tmp_path / "a.avatar", scene)
    assert report.method.upstream_name == FORMS[form][0]
    assert export_checkpoint(tmp_path / "a.avatar", tmp_path / "again.pth").exact
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    before, after = (values.get("model", values) for values in (content, again))
    assert list(after) == list(before)
    assert [key for key in before if not same(before[key], after[key])] == []
    if form == "bare":
        return
    for key in ("epoch", "global_step", "mean_count", "mean_density", "mean_density_torso"):
        assert again[key] == content[key]
    assert again["stats"]["loss"] == content["stats"]["loss"]
    assert np.allclose(again["stats"]["results"], content["stats"]["results"], rtol=0, atol=0)
    assert ("ema" in again) == ("ema" in content)
    if "ema" in content:
        assert (again["ema"]["decay"], again["ema"]["num_updates"]) == (0.95, 34)
        shadows = zip(content["ema"]["shadow_params"], again["ema"]["shadow_params"], strict=True)
        assert all(same(first, second) for first, second in shadows)


@pytest.mark.parametrize("weights", ["auto", "average", "raw"])
def test_the_weights_asked_for(weights: Any, scene: SceneFiles, tmp_path: Path) -> None:
    state = state_dict(METHOD, torso=False)
    path = save(latest(state), tmp_path / "ngp.pth")
    assert import_checkpoint(path, tmp_path / "a", scene, weights=weights).weights == ("raw" if weights == "raw" else "average")
    held = read_weights(AvatarFolder(tmp_path / "a"), torch.device("cpu"))
    factor = 1.0 if weights == "raw" else 1.01
    for ours, theirs in (("sigma_net.layers.0.weight", "sigma_net.net.0.weight"), ("individual_codes", "individual_codes")):
        assert same(held[f"model.head.{ours}"], state[theirs] * factor)
    assert read_avatar_info(AvatarFolder(tmp_path / "a")).provenance["upstream"]["weights"] != weights or weights != "auto"


def test_without_an_average_the_raw_weights_are_taken(scene: SceneFiles, tmp_path: Path) -> None:
    path = save(best(state_dict(METHOD, torso=False)), tmp_path / "ngp.pth")
    assert import_checkpoint(path, tmp_path / "a", scene).weights == "raw"
    with pytest.raises(R2TalkerError, match=r"has no moving average.*--weights raw"):
        import_checkpoint(path, tmp_path / "b", scene, weights="average")


def test_an_average_of_the_torso_alone(scene: SceneFiles, tmp_path: Path) -> None:
    """In the torso's stage only its parameters are averaged; the head keeps its own."""
    state = state_dict(METHOD)
    content = latest(state)
    content["ema"]["shadow_params"] = [state[key] * 2 for key in parameters(state) if "torso" in key]
    import_checkpoint(save(content, tmp_path / "ngp.pth"), tmp_path / "a", scene)
    held = read_weights(AvatarFolder(tmp_path / "a"), torch.device("cpu"))
    assert same(held["model.torso.individual_codes"], state["individual_codes_torso"] * 2)
    assert same(held["model.head.individual_codes"], state["individual_codes"])


def test_an_average_of_something_else(scene: SceneFiles, tmp_path: Path) -> None:
    content = latest(state_dict(METHOD, torso=False))
    content["ema"]["shadow_params"].pop()
    path = save(content, tmp_path / "ngp.pth")
    with pytest.raises(R2TalkerError, match=r"moving average \(`ema`\) that does not fit.*--weights raw"):
        import_checkpoint(path, tmp_path / "a", scene)
    assert import_checkpoint(path, tmp_path / "a", scene, weights="raw").weights == "raw"


def test_half_as_wide_they_draw_nearly_the_same(scene: SceneFiles, tmp_path: Path) -> None:
    state = state_dict("r2talker", torso=False)
    pictures = []
    for name, kept in (("whole", state), ("half", halved(state))):
        import_checkpoint(save(kept, tmp_path / f"{name}.pth"), tmp_path / name, scene)
        avatar = Avatar.load(tmp_path / name, device="cpu")
        pictures.append(next(iter(avatar.render_plan(avatar.plan(frames=1), size=24))).rgb)
    assert not torch.equal(*pictures)
    assert_close(pictures[0], pictures[1], "golden image_head_fp16, film")


def test_densities_that_are_missing_are_made_of_the_bits(scene: SceneFiles, tmp_path: Path) -> None:
    state = state_dict(METHOD, torso=False)
    import_checkpoint(save(best(state), tmp_path / "ngp.pth"), tmp_path / "a", scene)
    held = read_weights(AvatarFolder(tmp_path / "a"), torch.device("cpu"))
    assert torch.equal(held["model.occupancy.density"] > 10, state["density_grid"] > 10)


def test_the_torsos_mean_is_taken_or_made(scene: SceneFiles, tmp_path: Path) -> None:
    state = state_dict(METHOD)
    for name, content, mean in (("a", best(state), 0.43), ("b", dict(state), float(state["density_grid_torso"].mean()))):
        import_checkpoint(save(content, tmp_path / f"{name}.pth"), tmp_path / name, scene)
        assert float(Avatar.load(tmp_path / name, device="cpu").model.torso_occupancy.mean) == pytest.approx(mean)


def test_a_record_is_not_applied_to_another_avatar(imported: Callable[[str, bool], Path], tmp_path: Path) -> None:
    """Whoever trains into the same folder does not get the old checkpoint back."""
    avatar = Avatar.load(imported("radnerf", False), device="cpu")
    avatar.save(tmp_path / "a")
    folder = AvatarFolder(tmp_path / "a")
    folder.upstream.write_bytes(AvatarFolder(imported("radnerf", False)).upstream.read_bytes())
    assert export_checkpoint(folder.root, tmp_path / "first.pth").exact
    info = read_avatar_info(folder)
    write_avatar_info(folder, type(info)(**{**vars(info), "provenance": {}}))
    assert not export_checkpoint(folder.root, tmp_path / "second.pth").exact
    assert read_checkpoint(tmp_path / "second.pth").numbers["epoch"] == 0


def test_a_broken_record_is_named(imported: Callable[[str, bool], Path], tmp_path: Path) -> None:
    Avatar.load(imported("radnerf", False), device="cpu").save(tmp_path / "a")
    AvatarFolder(tmp_path / "a").upstream.write_bytes(b"oops")
    with pytest.raises(R2TalkerError, match=r"upstream\.safetensors is broken.*import the checkpoint again"):
        export_checkpoint(tmp_path / "a", tmp_path / "a.pth")
