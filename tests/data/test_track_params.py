"""`track_params.pt`: angles as the tracker means them, a round trip, the folder that has nothing else, and refusals."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from r2talker.data.dataset import Dataset, read_dataset
from r2talker.data.folder import DatasetFolder
from r2talker.data.track_params import FILE, TrackParams, euler_to_matrix, read_track_params, write_track_params
from r2talker.errors import R2TalkerError
from tests.data.test_foreign import rad_nerf
from tests.tiny import FRAMES, TRAIN_FRAMES
from tests.tolerances import assert_close


def params_of(transforms: np.ndarray, focal: float) -> TrackParams:
    """The tracker's parameters that export to these matrices."""
    rotation = transforms[:, :3, :3].transpose(0, 2, 1)
    angles = Rotation.from_matrix(rotation).as_euler("XYZ") * [1, 1, -1]
    trans = -10 * np.einsum("fij,fj->fi", rotation, transforms[:, :3, 3])
    count = len(transforms)
    return TrackParams(
        torch.zeros(1, 100), torch.zeros(count, 79), torch.from_numpy(angles).float(), torch.from_numpy(trans).float(), focal
    )


def own_transforms(dataset: DatasetFolder) -> np.ndarray:
    frames = [json.loads(dataset.transforms(split).read_text())["frames"] for split in ("train", "val")]
    return np.array([frame["transform_matrix"] for part in frames for frame in part])


def test_the_third_angle_turns_the_other_way() -> None:
    x, y, z = euler_to_matrix(torch.eye(3) * torch.pi / 2)
    assert_close(x @ torch.tensor([0.0, 1, 0]), [0, 0, 1], "geometry")
    assert_close(y @ torch.tensor([0.0, 0, 1]), [1, 0, 0], "geometry")
    assert_close(z @ torch.tensor([1.0, 0, 0]), [0, -1, 0], "geometry")


def test_the_order_of_turns() -> None:
    angles = torch.tensor([[0.3, -0.5, 0.7]])
    a, b, c = (euler_to_matrix(torch.diag(angles[0])[k : k + 1])[0] for k in range(3))
    assert_close(euler_to_matrix(angles)[0], a @ b @ c, "geometry")


def test_a_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    params = TrackParams(torch.randn(1, 100), torch.randn(5, 79), torch.randn(5, 3), torch.randn(5, 3), 1100.0)
    write_track_params(tmp_path / FILE, params)
    found = read_track_params(tmp_path / FILE)
    for name in ("identity", "expression", "euler", "trans"):
        assert torch.equal(getattr(found, name), getattr(params, name))
    assert found.focal == 1100
    raw = torch.load(tmp_path / FILE, weights_only=True)
    shapes = {"id": (1, 100), "exp": (5, 79), "euler": (5, 3), "trans": (5, 3), "focal": (1,)}
    assert {name: tuple(tensor.shape) for name, tensor in raw.items()} == shapes
    assert {tensor.dtype for tensor in raw.values()} == {torch.float32}


def test_export_is_the_tools(dataset: DatasetFolder) -> None:
    matrices = own_transforms(dataset)
    assert_close(params_of(matrices, 300.0).transforms(), matrices, "rotation")


def test_a_folder_without_transforms_is_read_by_its_tracking(dataset: DatasetFolder, data: Dataset, tmp_path: Path) -> None:
    root = rad_nerf(dataset, tmp_path)
    for split in ("train", "val"):
        (root / f"transforms_{split}.json").unlink()
    write_track_params(root / FILE, params_of(own_transforms(dataset), data.info.focal))
    found = read_dataset(root)
    assert (found.info.frames, found.info.train_frames, found.info.focal) == (FRAMES, TRAIN_FRAMES, data.info.focal)
    assert_close(found.c2w, data.c2w, "rotation")
    (root / "ori_imgs" / "3.lms").unlink()
    with pytest.raises(R2TalkerError, match=f"has {FRAMES} poses for {FRAMES - 1} pictures with landmarks"):
        read_dataset(root)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_what_is_no_tracking_is_refused(tmp_path: Path) -> None:
    path, made = tmp_path / FILE, tmp_path / "made"
    good = {"id": torch.zeros(1, 100), "exp": torch.zeros(4, 79), "euler": torch.zeros(4, 3), "trans": torch.zeros(4, 3)}
    good["focal"] = torch.tensor([1100.0])
    with pytest.raises(R2TalkerError, match="cannot read"):
        read_track_params(path)
    for content, words in (
        (good | {"evil": Evil(made)}, "more than tensors"),
        ({name: value for name, value in good.items() if name != "exp"}, "no head tracking .*exp"),
        (good | {"trans": torch.zeros(3, 3)}, r"trans \[3, 3\]"),
        (good | {"euler": torch.full((4, 3), torch.nan)}, "finite"),
        ([1, 2], "no head tracking"),
    ):
        torch.save(content, path)
        with pytest.raises(R2TalkerError, match=words):
            read_track_params(path)
    assert not made.exists()
