"""Camera refinement: derivatives of rendered colours against differences, and disturbed poses that come back."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from r2talker import methods
from r2talker.avatar import Avatar
from r2talker.data.dataset import Dataset, read_dataset, read_pictures
from r2talker.data.folder import DatasetFolder
from r2talker.model.head import FrameCode, HeadConfig
from r2talker.model.talking_head import ModelConfig, TalkingHead
from r2talker.ops.camera_rays.op import SCENE_SCALE, generate_rays, head_from_c2w, moved_cameras
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.render.config import RenderSettings
from r2talker.render.rays import trace_rays
from r2talker.subject.truth import load_truth
from r2talker.train.cameras import CameraPhase, Corrections, Look
from r2talker.train.conditions import Conditions
from r2talker.train.config import TrainConfig
from r2talker.train.head import HeadPhase
from r2talker.train.run import train_avatar
from r2talker.train.sampling import frame_regions, step_generator
from tests.tiny import MOTION, TRAIN_SIZE
from tests.tolerances import assert_close

SMOOTH = GridLayout(input_dim=3, channels=2, base=4, finest=12, levels=4)
"""Cells so large that small differences stay inside them."""
# Nearer than the first sample of any ray, so that distances along rays stay as they are when a camera moves.
SETTINGS = RenderSettings(min_near=3.7)


def make_model(codes: int) -> TalkingHead:
    """Random networks that are neither thin nor solid, and everything occupied."""
    torch.manual_seed(3)
    method = methods.get("r2talker")
    model = TalkingHead(ModelConfig(HeadConfig(SMOOTH, codes=codes), SMOOTH), method)
    with torch.no_grad():
        model.head.position_grid.embeddings.normal_()
        model.head.conditioning.landmark_grid.embeddings.normal_()  # type: ignore[union-attr]
    return model


@pytest.fixture(scope="module")
def phase(data: Dataset) -> CameraPhase:
    """Of the procedural clip and a head that is nothing like it."""
    frames = [*data.train, *data.held_out]
    pictures = read_pictures(data, frames, size=TRAIN_SIZE)
    windows = data.displacements[:, None].expand(-1, 5, -1, -1).contiguous()
    head = HeadPhase(
        make_model(len(data.train)), data, pictures, Conditions(windows, data.eye),
        [frame_regions(data, pictures, frame) for frame in data.train], SETTINGS, TrainConfig(device="cpu"),
        steps=1, rays=512, frames_per_step=1, occupancy_cells=1, order=data.kept, sampling=TrainConfig().sampling,
        net_rate=1e-3, recombine=False,
    )  # fmt: skip
    return CameraPhase(head, Corrections(data), steps=10, rays=512, frames_per_step=1)


def look_at(phase: CameraPhase, frame: int) -> Look:
    return phase.look(frame, step_generator(0, frame, torch.device("cpu")))


class TestDerivatives:
    def test_colours_follow_a_camera_by_exact_derivatives(self, phase: CameraPhase) -> None:
        """In double precision, through compositing, networks, grid and harmonics."""
        model, data = copy.deepcopy(phase.head.model).double(), phase.head.dataset
        camera = data.camera(3, 16)
        camera = replace(camera, c2w=camera.c2w.double())
        pixels, behind = torch.arange(20, 256, 23), torch.rand(11, 3, dtype=torch.float64)
        window = phase.head.conditions.windows[3:4].double()
        with torch.no_grad():
            condition = model.head.contract.encode(window)[0]
        code = FrameCode(condition, torch.tensor(0.9).double(), model.head.individual_codes[0])
        model.requires_grad_(False)

        def colours(motion: Tensor) -> Tensor:
            rays = generate_rays(replace(camera, c2w=moved_cameras(camera.c2w, motion)), pixels)
            return trace_rays(model.head, model.occupancy, rays, code, behind, SETTINGS).rgb

        motion = torch.tensor([0.3, -0.2, 0.4, 0.003, 0.002, -0.001], dtype=torch.float64).requires_grad_()
        assert float(torch.autograd.functional.jacobian(colours, motion).abs().amax(dim=(0, 1)).min()) > 1e-4
        assert torch.autograd.gradcheck(colours, (motion,), atol=1e-8, rtol=1e-5)

    def test_a_look_has_the_slopes_of_its_patches(self, phase: CameraPhase) -> None:
        """By central differences of what the phase renders, in single precision and by its fast forms."""
        look, values = look_at(phase, 5), phase.corrections.values
        assert look.slopes.shape[0] > 20
        for axis, by in enumerate([0.2] * 3 + [2e-3] * 3):
            seen = []
            for sign in (1, -1):
                values.zero_()
                values[5, axis] = sign * by
                seen.append(look_at(phase, 5).missing)
            values.zero_()
            slopes = (seen[1] - seen[0]) / (2 * by)
            error = (look.slopes[:, axis] - slopes).norm() / slopes.norm()
            assert_close(error, 0.0, "differences in single precision")

    def test_nothing_but_the_rays_gets_a_gradient(self, phase: CameraPhase) -> None:
        look_at(phase, 0)
        parameters = list(phase.model.parameters())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in parameters)


class TestLook:
    def test_a_known_motion_is_found_beside_outliers(self) -> None:
        rng = torch.Generator().manual_seed(0)
        slopes = torch.randn(200, 6, generator=rng)
        motion = torch.tensor([0.1, -0.05, 0.02, 0.03, 0.01, -0.02])
        missing = slopes @ motion
        missing[:10] += 3
        sums = Look(missing, slopes, torch.zeros(200, 3)).sums()
        found = torch.linalg.solve(sums[:36].view(6, 6), sums[36:42])
        plain = torch.linalg.lstsq(slopes, missing[:, None]).solution[:, 0]
        assert float((found - motion).norm()) < 0.1 * float((plain - motion).norm())

    def test_an_empty_look_says_nothing(self) -> None:
        sums = Look(torch.zeros(0), torch.zeros(0, 6), torch.zeros(0, 3)).sums()
        assert sums.tolist() == [0.0] * 43 + [1.0]


class TestCorrections:
    def test_frames_that_show_another_one_move_with_it(self, data: Dataset) -> None:
        numbers = list(data.numbers)
        numbers[7] = 8
        corrections = Corrections(replace(data, numbers=numbers, c2w=data.c2w.clone()))
        corrections.values[8] = torch.tensor([0.5, 0, 0, 0, 0, 0])
        poses = replace(data, c2w=data.c2w.clone())
        corrections.apply_to(poses)
        assert_close(poses.c2w[7], moved_cameras(data.c2w[7], corrections.values[8]), "geometry")
        others = [frame for frame in range(data.info.frames) if frame not in (7, 8)]
        assert torch.equal(poses.c2w[others], data.c2w[others])

    def test_a_common_motion_is_none(self, data: Dataset) -> None:
        corrections = Corrections(data)
        corrections.values += torch.tensor([0.5, 0.1, 0, 0.01, 0, 0])
        assert max(corrections.sizes()) < 1e-7
        corrections.centre()
        assert float(corrections.values.abs().max()) < 1e-7


def without_common(c2w: Tensor, true: Tensor) -> Tensor:
    """Motions that lead from true poses to others, apart from their mean."""
    between = (c2w.double() @ torch.linalg.inv(true.double())).float()
    turn = torch.stack(
        [between[:, 2, 1] - between[:, 1, 2], between[:, 0, 2] - between[:, 2, 0], between[:, 1, 0] - between[:, 0, 1]]
    )
    motions = torch.cat([torch.rad2deg(turn.T / 2), between[:, :3, 3]], dim=1)
    return motions - motions.mean(dim=0)


def pixels_apart(c2w: Tensor, true: Tensor, points: Tensor, focal: float) -> float:
    """Root mean square distance in the picture between landmarks under the two kinds of poses."""

    def project(poses: Tensor) -> Tensor:
        inverse = torch.linalg.inv(poses)
        seen = torch.einsum("tij,kj->tki", inverse[:, :3, :3], points) + inverse[:, None, :3, 3]
        return focal * seen[..., :2] / seen[..., 2:]

    moved = moved_cameras(true, without_common(c2w, true))
    return float((project(moved) - project(true)).square().sum(-1).mean().sqrt())


@pytest.fixture
def disturbed(dataset: DatasetFolder, clip: Path, tmp_path: Path) -> Callable[[float], Path]:
    """The dataset with true poses, those of the training split disturbed by so many times half a degree and 0.5 % of the distance."""

    def make(size: float) -> Path:
        root = tmp_path / f"{size:g}.dataset"
        shutil.copytree(dataset.root, root)
        true = torch.tensor(load_truth(clip.parent).c2w, dtype=torch.float32)
        spread = torch.tensor([0.5] * 3 + [0.005 * float(true[0, :3, 3].norm())] * 3)
        data = read_dataset(root)
        start = 0
        for split, frames, share in (("train", len(data.train), size), ("val", len(data.held_out), 0.0)):
            path = DatasetFolder(root).transforms(split)
            content = json.loads(path.read_text())
            noise = torch.randn(frames, 6, generator=torch.Generator().manual_seed(1)) * spread * share
            poses = head_from_c2w(moved_cameras(true[start : start + frames], noise))
            for frame, pose in zip(content["frames"], poses, strict=True):
                frame["transform_matrix"] = pose.tolist()
            path.write_text(json.dumps(content))
            start += frames
        return root

    return make


@pytest.mark.slow
def test_disturbed_poses_come_back_and_the_avatar_has_them(
    disturbed: Callable[[float], Path], clip: Path, tmp_path: Path
) -> None:
    truth = load_truth(clip.parent)
    points = torch.tensor(truth.rest_landmarks[:, [1, 2, 0]] * SCENE_SCALE, dtype=torch.float32)
    config = TrainConfig(train_size=TRAIN_SIZE, head_steps=800, camera_steps=300, torso_steps=10, rays=256, device="cpu")
    root = disturbed(1.0)
    avatar = Avatar.load(train_avatar("r2talker", root, tmp_path / "a.avatar", config, MOTION).avatar, device="cpu")
    data = read_dataset(root)
    n = len(data.train)
    true, focal = torch.tensor(truth.c2w[:n], dtype=torch.float32), data.info.focal * TRAIN_SIZE / data.info.size
    before, after = (pixels_apart(poses, true, points, focal) for poses in (data.c2w[:n], avatar.track.c2w))
    assert after < 0.7 * before
