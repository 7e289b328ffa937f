"""Precision and order of sums: mixed agrees with single, deterministic runs end in the same bytes."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import r2talker.train.trainer
from r2talker.avatar_format import AvatarFolder
from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.model.ambient import AmbientConditioning
from r2talker.model.head import FrameCode, Head
from r2talker.ops.composite.reference import weigh
from r2talker.ops.grid_encode.layout import GridLayout
from r2talker.ops.grid_encode.op import grid_encode
from r2talker.train.arithmetic import LOSS_SCALE, PLAIN, Arithmetic, choose_arithmetic, in_one_order
from r2talker.train.config import TrainConfig
from r2talker.train.phase import StepLoss
from r2talker.train.run import train_avatar
from r2talker.train.stepper import GradientStepper
from tests.golden.models import NAMES, golden_frame, golden_model
from tests.tiny import MOTION, TRAINING
from tests.tolerances import assert_close
from tests.train.test_loop import Regression
from tests.train.test_run import read_curves

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MIXED = Arithmetic(mixed=True)
SAMPLES = 500
DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="gpu", marks=pytest.mark.gpu)]
RUN = """
import sys
from pathlib import Path
from r2talker.train.config import TrainConfig
from r2talker.train.run import train_avatar
from tests.tiny import MOTION
config = TrainConfig(train_size=64, head_steps=8, torso_steps=6, rays=1024, device="cuda", deterministic=True)
train_avatar(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), config, MOTION)
"""


class TestChoice:
    @pytest.mark.parametrize(
        ("settings", "device", "expected"),
        [
            ({}, CPU, Arithmetic(fused=False, mixed=False)),
            ({}, CUDA, Arithmetic(fused=True, mixed=True)),
            ({"precision": "mixed"}, CUDA, Arithmetic(fused=True, mixed=True)),
            ({"precision": "single"}, CUDA, Arithmetic(fused=False, mixed=False)),
            ({"precision": "single"}, CPU, Arithmetic(fused=False, mixed=False)),
            ({"deterministic": True}, CUDA, Arithmetic(fused=False, mixed=True)),
            ({"deterministic": True, "precision": "single"}, CUDA, Arithmetic(fused=False, mixed=False)),
        ],
    )
    def test_what_the_settings_mean(self, settings: dict[str, object], device: torch.device, expected: Arithmetic) -> None:
        assert choose_arithmetic(TrainConfig(**settings), device) == expected  # type: ignore[arg-type]

    def test_a_cpu_has_no_mixed_precision(self, dataset: DatasetFolder, tmp_path: Path) -> None:
        config = replace(TRAINING, precision="mixed")
        with pytest.raises(R2TalkerError, match="--precision mixed needs a GPU") as caught:
            train_avatar("radnerf", dataset.root, tmp_path / "a.avatar", config, MOTION)
        assert "\n" not in str(caught.value)


def smooth_head(name: str) -> Head:
    """A golden head; an ambient table as it is turns a rounded coordinate into another random cell, trained ones are smoother."""
    head = copy.deepcopy(golden_model(name)).head
    if isinstance(head.conditioning, AmbientConditioning):
        grid = head.conditioning.ambient_grid
        with torch.no_grad():
            for level in range(grid.layout.levels):
                grid.embeddings[grid.layout.offsets[level] : grid.layout.offsets[level + 1]] *= 0.5 * 0.6**level
    return head


def evaluate(head: Head, name: str, arithmetic: Arithmetic, device: str) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Densities, colours and the gradients of a random combination of them, small as those of a mean over many rays."""
    generator = torch.Generator().manual_seed(3)
    positions = (torch.rand(SAMPLES, 3, generator=generator) * 0.6 - 0.3).to(device)
    directions = normalize(torch.randn(SAMPLES, 3, generator=generator), dim=-1).to(device)
    pulls = [(torch.randn(*shape, generator=generator) * 1e-6).to(device) for shape in ((SAMPLES,), (SAMPLES, 3))]
    stored = golden_frame(name)
    code = stored.condition.detach().to(device).requires_grad_()
    head.zero_grad()
    frame = FrameCode(code, stored.eye.to(device), head.individual_codes[0])
    radiance = arithmetic.head(head)(positions, directions, frame)
    assert radiance.sigma.dtype == radiance.rgb.dtype == torch.float32
    loss = (radiance.sigma * pulls[0]).sum() + (radiance.rgb * pulls[1]).sum()
    (loss * arithmetic.loss_scale).backward()
    gradients = {key: p.grad.clone() for key, p in head.named_parameters() if p.grad is not None} | {"code": code.grad}
    return radiance.sigma.detach(), radiance.rgb.detach(), {k: g / arithmetic.loss_scale for k, g in gradients.items()}


class TestMixed:
    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("name", NAMES)
    def test_the_head_agrees_with_single_precision(self, name: str, device: str) -> None:
        head = smooth_head(name).to(device)
        kind = "ambient" if isinstance(head.conditioning, AmbientConditioning) else "film"
        sigma, rgb, gradients = evaluate(head, name, PLAIN, device)
        rough_sigma, rough_rgb, rough = evaluate(head, name, MIXED, device)
        assert not torch.equal(rough_sigma, sigma)
        assert_close(rough_sigma, sigma, "mixed density")
        assert_close(rough_rgb, rgb, "mixed colour")
        assert gradients.keys() == rough.keys()
        for key, gradient in gradients.items():
            # A gradient that halves could not hold would be off by its whole size.
            assert_close((rough[key] - gradient).norm() / gradient.norm(), 0, f"mixed gradient, {kind}")

    @pytest.mark.parametrize("device", DEVICES)
    def test_the_torso_agrees_with_single_precision(self, device: str) -> None:
        torso = copy.deepcopy(golden_model("r2talker")).torso
        assert torso is not None
        torso = torso.to(device)
        xy = (torch.rand(SAMPLES, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1).to(device)
        pose = torch.tensor([0.1, -0.2, 0.05, 0.01, 0.02, 3.5], device=device)
        with torch.no_grad():
            torso.grid.embeddings.mul_(0.1)
            sharp = torso(xy, pose, torso.individual_codes[0])
            rough = MIXED.torso(torso)(xy, pose, torso.individual_codes[0])
        assert rough.alpha.dtype == torch.float32
        assert not torch.equal(rough.rgb, sharp.rgb)
        assert_close(rough.alpha, sharp.alpha, "mixed torso")
        assert_close(rough.rgb, sharp.rgb, "mixed torso")

    @pytest.mark.parametrize("device", DEVICES)
    def test_a_run_goes_as_in_single_precision(
        self, dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
    ) -> None:
        """A few steps on a CPU, where halves are slow; enough to learn something on a GPU."""
        steps, rays = (6, 32) if device == "cpu" else (100, 2048)
        config = replace(TRAINING, head_steps=steps, torso_steps=steps, rays=rays, device=device)  # type: ignore[arg-type]
        for name, arithmetic in (("single", PLAIN), ("mixed", MIXED)):
            monkeypatch.setattr(r2talker.train.trainer, "choose_arithmetic", lambda config, device, chosen=arithmetic: chosen)
            train_avatar("radnerf", dataset.root, tmp_path / name, config, MOTION)
        single, mixed = (read_curves(tmp_path / name / "training" / "tensorboard") for name in ("single", "mixed"))
        for curve in ("head/psnr", "torso/psnr"):
            assert mixed[curve] != single[curve]
            assert_close(mixed[curve], single[curve], "mixed run")

    def test_the_scale_of_the_loss_leaves_no_trace(self) -> None:
        plain, scaled = Regression(), Regression()
        for phase, scale in ((plain, 1.0), (scaled, LOSS_SCALE)):
            stepper = GradientStepper(phase, TrainConfig(), loss_scale=scale)
            for step in range(20):
                stepper.take(step)
        # A power of two changes exponents only.
        assert_close(scaled.model.weight, plain.model.weight, "exact")

    def test_an_overflow_does_no_harm(self) -> None:
        class Overflowing(Regression):
            def loss(self, turn: int) -> StepLoss:
                good = super().loss(turn)
                return StepLoss(good.total + self.model.weight[0, 0] * 1e38, good.scalars)

        phase = Overflowing()
        before = phase.model.weight[0, 0].item()
        GradientStepper(phase, TrainConfig(), loss_scale=LOSS_SCALE).take(0)
        assert phase.model.weight[0, 0].item() == before
        assert bool(torch.isfinite(phase.model.weight).all())


def files(avatar: Path) -> dict[str, object]:
    """What the avatar itself consists of; how long training took stands in its provenance and in its page."""
    info = json.loads(AvatarFolder(avatar).info.read_text())
    del info["provenance"]
    made = {path.name: path.read_bytes() for path in avatar.iterdir() if path.suffix in (".safetensors", ".png")}
    return {**made, "info": info}


class TestDeterministic:
    def test_two_runs_end_in_the_same_bytes(self, dataset: DatasetFolder, tmp_path: Path) -> None:
        config = replace(TRAINING, head_steps=12, torso_steps=8, deterministic=True)
        # Seconds that a busy machine would run out of: they count for nothing here.
        motion = replace(MOTION, seconds=1e-3)
        for name in ("first", "second"):
            train_avatar("r2talker", dataset.root, tmp_path / name, config, motion)
        first, second = files(tmp_path / "first"), files(tmp_path / "second")
        assert AvatarFolder(tmp_path / "first").weights.name in first
        assert first == second

    @pytest.mark.gpu
    @pytest.mark.parametrize("method", ["r2talker", "radnerf"])
    def test_two_runs_on_a_gpu_end_in_the_same_bytes(self, dataset: DatasetFolder, tmp_path: Path, method: str) -> None:
        # In processes of their own, because cuBLAS reads its settings once.
        for name in ("first", "second"):
            command = [sys.executable, "-c", RUN, method, str(dataset.root), str(tmp_path / name)]
            done = subprocess.run(
                command, cwd=Path(__file__).parents[2], env=dict(os.environ), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
        assert files(tmp_path / "first") == files(tmp_path / "second")

    def test_torch_is_told_on_a_gpu_and_told_off_again(self) -> None:
        assert not torch.are_deterministic_algorithms_enabled()
        for wanted, device, expected in ((True, CUDA, True), (False, CUDA, False), (True, CPU, False)):
            told: list[bool] = []
            with pytest.raises(KeyError):
                self.note_and_fail(told, wanted, device)
            assert told == [expected]
            assert not torch.are_deterministic_algorithms_enabled()

    def note_and_fail(self, told: list[bool], wanted: bool, device: torch.device) -> None:
        with in_one_order(wanted, device):
            told.append(torch.are_deterministic_algorithms_enabled())
            raise KeyError

    def test_running_sums_one_after_the_other_are_the_same_sums(self) -> None:
        generator = torch.Generator().manual_seed(0)
        counts = torch.tensor([3, 0, 5, 1])
        offsets = counts.cumsum(0) - counts
        ray = torch.repeat_interleave(counts)
        sigma = torch.rand(len(ray), generator=generator) * 20
        delta = torch.rand(len(ray), generator=generator) * 0.1
        expected = weigh(sigma, delta, ray, offsets, counts, 1e-4)
        with in_one_order(True, CUDA):
            actual = weigh(sigma, delta, ray, offsets, counts, 1e-4)
        for ours, theirs in zip(actual, expected, strict=True):
            assert_close(ours, theirs, "composite loop")

    @pytest.mark.gpu
    def test_grids_on_a_gpu_add_up_in_one_order(self) -> None:
        layout = GridLayout(input_dim=3, channels=4, base=32, finest=512)
        generator = torch.Generator().manual_seed(0)
        x = (torch.rand(5000, 3, generator=generator) * 0.1).cuda()
        pull = torch.randn(5000, layout.features, generator=generator).cuda()

        def gradient() -> Tensor:
            table = torch.zeros(layout.rows, layout.channels, device="cuda", requires_grad=True)
            (grid_encode(x, table, layout) * pull).sum().backward()
            assert table.grad is not None
            return table.grad

        free = gradient()
        with in_one_order(True, CUDA):
            first, second = gradient(), gradient()
        assert torch.equal(first, second)
        assert_close(first, free, "grid bags gradient")

    def test_a_time_budget_is_refused(self, dataset: DatasetFolder, tmp_path: Path) -> None:
        config = TrainConfig(time="1m", device="cpu", deterministic=True)
        with pytest.raises(R2TalkerError, match=r"--time ends by the clock.*leave it out with --deterministic"):
            train_avatar("radnerf", dataset.root, tmp_path / "a.avatar", config, MOTION)
