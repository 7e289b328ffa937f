"""Files that are refused: every fault named at once, in one line, and nothing in them executed."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.upstream.checkpoint import read_checkpoint
from r2talker.upstream.importing import import_checkpoint
from r2talker.upstream.scene import SceneFiles
from r2talker.upstream.shapes import recognise
from tests.golden.regenerate import METHODS
from tests.upstream.files import best, latest, save, state_dict

State = dict[str, Tensor]


Change = Callable[[State], object]


def lacking(*keys: str) -> Change:
    return lambda state: [state.pop(key) for key in keys]


def having(**values: Tensor) -> Change:
    return lambda state: state.update({key.replace("__", "."): value for key, value in values.items()})


def both(*changes: Change) -> Change:
    return lambda state: [change(state) for change in changes]


FAULTS: dict[str, tuple[Change, list[str]]] = {
    "missing": (lacking("sigma_net.net.1.weight"), ["sigma_net.net.1.weight is missing"]),
    "unexpected": (having(hat=torch.zeros(2)), ["hat is unexpected"]),
    "misshaped": (
        having(color_net__net__1__weight=torch.zeros(3, 32)),
        ["color_net.net.1.weight has shape [3, 32] instead of [3, 64]"],
    ),
    "all at once": (
        both(lacking("encoder.embeddings", "density_bitfield"), having(hat=torch.zeros(2), aabb_infer=torch.zeros(3))),
        [
            "encoder.embeddings is missing",
            "density_bitfield is missing",
            "hat is unexpected",
            "aabb_infer has shape [3] instead of [6]",
        ],
    ),
    "recognised without what is usually looked at": (
        lacking("audio_net.encoder_conv.0.weight"),
        ["audio_net.encoder_conv.0.weight is missing"],
    ),
    "another grid": (
        having(encoder__offsets=torch.arange(17, dtype=torch.int32)),
        ["encoder.offsets lays out another grid"],
    ),
    "a larger scene": (
        having(density_bitfield=torch.zeros(2 * 128**3 // 8, dtype=torch.uint8)),
        ["a scene of bound > 1", "density_bitfield has shape [524288] instead of [262144]"],
    ),
    "no numbers": (having(individual_codes=torch.full((10000, 4), torch.nan)), ["individual_codes holds NaN"]),
    "half a torso": (lacking("torso_net.net.0.weight"), ["torso_net.net.0.weight is missing"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_tensors_is_named(fault: str, scene: SceneFiles, tmp_path: Path) -> None:
    change, words = FAULTS[fault]
    state = dict(state_dict("rad-nerf"))
    change(state)
    with pytest.raises(R2TalkerError) as caught:
        import_checkpoint(save(best(state), tmp_path / "ngp.pth"), tmp_path / "a.avatar", scene)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.count(";") == len(words) - 1 - ("bound > 1" in message)
    assert "ngp.pth" in message
    assert "\n" not in message
    assert not (tmp_path / "a.avatar").exists()


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_recognised_whatever_single_tensor_is_missing(method: str) -> None:
    shapes = {key: tuple(value.shape) for key, value in state_dict(method, torso=False).items()}
    for left_out in shapes:
        found, width = recognise(Path("ngp.pth"), {key: shape for key, shape in shapes.items() if key != left_out})
        assert (found.upstream_name, width) == (method, 44 if method == "rad-nerf" else 0)


@pytest.mark.parametrize("columns", [29, 32, 44, 64])
def test_the_columns_that_are_heard(columns: int) -> None:
    shapes = {key: tuple(value.shape) for key, value in state_dict("rad-nerf", torso=False).items()}
    shapes["audio_net.encoder_conv.0.weight"] = (32, columns, 3)
    assert recognise(Path("ngp.pth"), shapes)[1] == columns


def test_a_model_without_eye_input(scene: SceneFiles, tmp_path: Path) -> None:
    state = dict(state_dict("rad-nerf", torso=False))
    state["sigma_net.net.0.weight"] = state["sigma_net.net.0.weight"][:, :-1].clone()
    assert not import_checkpoint(save(state, tmp_path / "ngp.pth"), tmp_path / "a", scene).config.head.eye


class Hostile:
    """Leaves a file when its pickle is executed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def in_place(content: Any, hostile: Hostile, where: str) -> Any:
    if where == "model":
        content["model"]["sigma_net.net.0.weight"] = hostile
    else:
        content[where] = hostile
    return content


@pytest.mark.parametrize("where", ["model", "stats", "optimizer", "ema", "extra"])
def test_nothing_in_a_file_is_executed(where: str, tmp_path: Path) -> None:
    content = in_place(latest(dict(state_dict("rad-nerf", torso=False))), Hostile(tmp_path / "mark"), where)
    path = save(content, tmp_path / "ngp.pth")
    with pytest.raises(R2TalkerError, match=r"ngp\.pth is damaged or holds more than tensors and numbers.*system"):
        read_checkpoint(path)
    assert not (tmp_path / "mark").exists()
    # The trap works: an unguarded reader springs it.
    torch.load(path, weights_only=False)
    assert (tmp_path / "mark").exists()


def test_nor_through_numpy(tmp_path: Path) -> None:
    """What stands in for NumPy's numbers makes numbers only."""

    class Sly:
        def __reduce__(self) -> Any:
            return np.float64(0).__reduce__()[0], (np.dtype("O"), Hostile(tmp_path / "mark"))

    with pytest.raises(R2TalkerError, match="more than tensors and numbers"):
        read_checkpoint(save({"model": {"a": torch.zeros(1)}, "stats": Sly()}, tmp_path / "ngp.pth"))
    assert not (tmp_path / "mark").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


NO_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "cannot read .*No such file"),
    "empty": (lambda path: path.write_bytes(b""), "no checkpoint, or damaged|damaged or holds"),
    "text": (lambda path: path.write_text("hello"), "damaged"),
    "a plain pickle": (
        lambda path: path.write_bytes(pickle.dumps({"model": [1, 2]})),
        "damaged or holds|is no tensor|no checkpoint",
    ),
    "an archive": (lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"), "damaged"),
    "cut short": (lambda path: (save({"model": {"a": torch.zeros(5000)}}, path), cut(path)), "damaged"),
    "a list": (lambda path: save([torch.zeros(1)], path), "holds a list; expected a checkpoint"),
    "a tensor": (lambda path: save(torch.zeros(1), path), "holds a Tensor; expected a checkpoint"),
    "numbers": (lambda path: save({"model": {"a": 1.0}}, path), "a is no tensor"),
    "no tensors": (lambda path: save({"model": {}}, path), "its state_dict is no tensor"),
    "sparse": (lambda path: save({"model": {"a": torch.eye(3).to_sparse()}}, path), "a is no tensor"),
    "something else": (
        lambda path: save({"conv.weight": torch.zeros(3)}, path),
        "belongs to no method.*R2-Talker.*conv.weight",
    ),
}


@pytest.mark.parametrize("case", NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_refused(case: str, scene: SceneFiles, tmp_path: Path) -> None:
    make, words = NO_CHECKPOINTS[case]
    make(tmp_path / "ngp.pth")
    with pytest.raises(R2TalkerError, match=words) as caught:
        import_checkpoint(tmp_path / "ngp.pth", tmp_path / "a.avatar", scene)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.avatar").exists()
