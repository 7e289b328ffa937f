"""The tracker finds the face that made the landmarks and pictures, and writes what AD-NeRF's tools read."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from r2talker.cli.main import run
from r2talker.data.folder import DatasetFolder
from r2talker.data.track_params import FILE, TrackParams, euler_to_matrix, read_track_params
from r2talker.ingest.morphable.config import MorphableConfig
from r2talker.ingest.morphable.convert import convert_basel
from r2talker.ingest.morphable.fit import FaceState, fit_face, project
from r2talker.ingest.morphable.model import MorphableModel, read_morphable
from r2talker.ingest.morphable.render import light_vertices, render_mesh, vertex_normals
from tests.ingest.morphable.basel import write_basel
from tests.tiny import FRAMES, Recorder
from tests.tolerances import assert_close

SIZE, FOCAL, COUNT = 128, 300.0, 12
# Degrees and pixels (of 128) after 0.3 of the reference's iterations, where 1.1 and 0.04 were measured: random directions imitate turns.
TURN, PIXELS = 1.5, 0.1


@dataclass(frozen=True)
class Truth:
    """A face that moves, its landmarks and its pictures."""

    state: FaceState
    points: Tensor
    pictures: Tensor


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("basel")
    convert_basel(write_basel(folder), folder / "bfm.safetensors")
    return folder / "bfm.safetensors"


@pytest.fixture(scope="module")
def model(converted: Path) -> MorphableModel:
    return read_morphable(converted)


@pytest.fixture(scope="module")
def truth(model: MorphableModel) -> Truth:
    generator = torch.Generator().manual_seed(0)
    state, t = FaceState.start(model, COUNT), torch.linspace(0, 1, COUNT)
    state.identity.normal_(generator=generator)
    state.expression.normal_(generator=generator).mul_(0.2)
    state.euler[:] = torch.stack([0.15 * torch.sin(3 * t), 0.3 * torch.sin(4 * t + 1), 0.1 * torch.cos(3 * t)], -1)
    state.trans[:] = torch.stack([0.2 * torch.sin(3 * t), 0.1 * torch.cos(3 * t), -9 + 0.5 * torch.sin(2 * t)], -1)
    camera = state.camera(model)
    texture, light = torch.randn(1, 100, generator=generator), 0.1 * torch.randn(1, 27, generator=generator)
    colours = light_vertices(model.colours(texture), vertex_normals(model, camera), light.repeat(COUNT, 1))
    pictures, _ = render_mesh(project(camera, FOCAL, SIZE), -camera[..., 2], colours, model.triangles, SIZE)
    return Truth(state, landmarks(model, state), pictures.round().byte())


def landmarks(model: MorphableModel, state: FaceState) -> Tensor:
    return model.pick_landmarks(project(state.camera(model, model.landmark_candidates()), FOCAL, SIZE))


def degrees(found: TrackParams, truth: Truth) -> Tensor:
    apart = euler_to_matrix(found.euler) @ euler_to_matrix(truth.state.euler).transpose(1, 2)
    return torch.rad2deg(torch.arccos(((apart.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))


def no_pictures(_: object) -> Tensor:
    raise AssertionError("landmarks alone were asked for")


def test_projection_looks_along_minus_z() -> None:
    places = project(torch.tensor([[[0.1, 0.0, -1.0], [0.0, 0.1, -1.0]]]), 100.0, 64)
    assert_close(places[0], [[42, 32], [32, 22]], "rendered colour")


def test_poses_are_found_from_landmarks(model: MorphableModel, truth: Truth) -> None:
    config = MorphableConfig(focal=FOCAL, effort=0.3, photometric=False)
    found = fit_face(model, truth.points, SIZE, config, no_pictures)
    assert degrees(found, truth).mean() < TURN
    fitted = FaceState(found.identity, found.expression, found.euler, found.trans)
    assert (landmarks(model, fitted) - truth.points).norm(dim=-1).mean() < PIXELS
    assert (found.trans[:, 2] / truth.state.trans[:, 2]).sub(1).abs().max() < 0.05


def test_pictures_keep_the_poses_and_bring_them_together_in_time(model: MorphableModel, truth: Truth) -> None:
    noise = 0.4 * torch.randn(truth.points.shape, generator=torch.Generator().manual_seed(1))
    points = truth.points + noise
    plain, coloured = (
        fit_face(
            model, points, SIZE, MorphableConfig(FOCAL, 0.3, SIZE, photometric), lambda frames: truth.pictures[list(frames)]
        )
        for photometric in (False, True)
    )
    # The depth trembles most with noisy landmarks: 0.075 dm without, 0.033 dm with the pictures.
    shaking = [params.trans.diff(n=2, dim=0).norm(dim=-1).mean() for params in (plain, coloured)]
    assert shaking[1] < 0.7 * shaking[0]
    assert degrees(coloured, truth).mean() < degrees(plain, truth).mean() + 0.5


@pytest.mark.slow
def test_the_focal_length_is_the_best_of_the_list(model: MorphableModel, truth: Truth) -> None:
    listener = Recorder()
    found = fit_face(model, truth.points, SIZE, MorphableConfig(effort=0.02, photometric=False), no_pictures, listener)
    assert found.focal in [focal * SIZE / 512 for focal in range(600, 1401, 100)]
    assert ("focal length", 9, 0) in listener.begun


@pytest.mark.slow
def test_the_command_writes_the_tools_files(dataset: DatasetFolder, converted: Path, tmp_path: Path) -> None:
    output = tmp_path / "bfm"
    options = ("--focal", "300", "--effort", "0.02", "--render-size", "64")
    assert run(["track-bfm", str(dataset.root), str(converted), "-o", str(output), *options]) == 0
    params = read_track_params(output / FILE)
    assert len(params.euler) == FRAMES
    frames = [json.loads((output / f"transforms_{split}.json").read_text())["frames"] for split in ("train", "val")]
    written = torch.tensor([frame["transform_matrix"] for part in frames for frame in part], dtype=torch.float64)
    assert torch.allclose(written, torch.from_numpy(params.transforms()), atol=1e-7)
