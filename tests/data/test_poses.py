"""Head poses from files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from r2talker.data.dataset import Dataset
from r2talker.data.folder import DatasetFolder
from r2talker.data.poses import read_poses
from r2talker.errors import R2TalkerError


def test_a_datasets_poses_are_read(dataset: DatasetFolder, data: Dataset) -> None:
    poses = read_poses(dataset.transforms("val"))
    assert torch.equal(poses, data.c2w[data.held_out.start :])


def test_matrices_are_read_as_they_are(tmp_path: Path, data: Dataset) -> None:
    np.save(tmp_path / "poses.npy", data.c2w[:3].numpy().astype(np.float64))
    assert torch.equal(read_poses(tmp_path / "poses.npy"), data.c2w[:3])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"frames": [{"matrix": 1}]}),
        ("b.json", [1, 2]),
        ("c.json", {"frames": []}),
        ("d.json", {"frames": [{"transform_matrix": [[1, 2], [3, 4]]}]}),
        ("e.npy", np.zeros((3, 3, 4))),
        ("f.npy", np.full((1, 4, 4), np.nan)),
        ("g.npy", np.zeros((0, 4, 4))),
    ],
)
def test_files_without_poses_are_refused(tmp_path: Path, name: str, content: object) -> None:
    path = tmp_path / name
    if name.endswith("json"):
        path.write_text(json.dumps(content))
    else:
        np.save(path, content)
    with pytest.raises(R2TalkerError, match=name):
        read_poses(path)
