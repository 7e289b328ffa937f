"""Head poses from files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from r2talker.data.dataset import Dataset
from r2talker.data.folder import DatasetFolder
from r2talker.data.poses import read_poses, read_recording
from r2talker.errors import R2TalkerError


def test_a_datasets_poses_are_read(dataset: DatasetFolder, data: Dataset) -> None:
    recording = read_recording(dataset.transforms("val"))
    assert torch.equal(recording.c2w, data.c2w[data.held_out.start :])
    assert torch.equal(recording.c2w, read_poses(dataset.transforms("val")))
    assert recording.eye is not None
    assert torch.equal(recording.eye, data.eye[data.held_out.start :])
    assert recording.focal == data.info.focal / data.info.size
    part = recording.part(slice(2, 5))
    assert (len(part.c2w), part.focal) == (3, recording.focal)
    assert torch.equal(part.eye, recording.eye[2:5])


def test_the_original_tools_say_less(dataset: DatasetFolder, data: Dataset, tmp_path: Path) -> None:
    """No size and no eye values: the picture's side is twice `cy`."""
    value = json.loads(dataset.transforms("val").read_text())
    frames = [{key: frame[key] for key in ("img_id", "aud_id", "transform_matrix")} for frame in value["frames"]]
    path = tmp_path / "transforms_val.json"
    path.write_text(json.dumps({"focal_len": value["focal_len"], "cx": value["cx"], "cy": value["cy"], "frames": frames}))
    recording = read_recording(path)
    assert recording.eye is None
    assert recording.focal == data.info.focal / data.info.size
    path.write_text(json.dumps({"frames": frames}))
    assert read_recording(path).focal is None


@pytest.mark.parametrize("eye", [{}, {"eye_ratio": float("nan")}])
def test_eye_values_for_some_poses_only_are_refused(dataset: DatasetFolder, tmp_path: Path, eye: dict[str, float]) -> None:
    value = json.loads(dataset.transforms("val").read_text())
    value["frames"][3].pop("eye_ratio")
    value["frames"][3].update(eye)
    path = tmp_path / "some.json"
    path.write_text(json.dumps(value))
    with pytest.raises(R2TalkerError, match=f"some.json has usable eye_ratio values for 5 of {len(value['frames'])} poses"):
        read_recording(path)


def test_matrices_are_read_as_they_are(tmp_path: Path, data: Dataset) -> None:
    np.save(tmp_path / "poses.npy", data.c2w[:3].numpy().astype(np.float64))
    recording = read_recording(tmp_path / "poses.npy")
    assert torch.equal(recording.c2w, data.c2w[:3])
    assert (recording.eye, recording.focal) == (None, None)


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
        read_recording(path)
