"""Training by recorded graphs of kernels on a GPU: it learns, stops and goes on, and leaves what the model needs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.bench_train import held_out_psnr
from benchmarks.fused_engine import FusedEngine
from benchmarks.models import build_model
from benchmarks.scene import Clip, make_clip
from r2talker import methods
from r2talker.data.dataset import Dataset
from r2talker.ops.camera_rays.op import background_coords
from r2talker.ops.occupancy.op import pack_bits
from r2talker.train.config import SamplingConfig, TrainConfig
from r2talker.train.hard import HardMap
from r2talker.train.lessons import Lessons
from r2talker.train.run import train_avatar
from tests.tiny import MOTION

pytestmark = pytest.mark.gpu
SIZE, STEPS, RAYS = 128, 300, 4096


@pytest.fixture(scope="module")
def scene() -> Clip:
    return make_clip(SIZE, "cuda")


@pytest.fixture
def engine(scene: Clip) -> Callable[[str], FusedEngine]:
    return lambda method: FusedEngine(build_model(method, SIZE, "cuda"), scene, STEPS, RAYS, 4)


@pytest.mark.parametrize("method", methods.available())
def test_every_method_learns_the_scene(engine: Callable[[str], FusedEngine], scene: Clip, method: str) -> None:
    trained = engine(method)
    trained.fused.advance(20)
    early = held_out_psnr(trained.current_model(), scene)
    for step in range(20, STEPS):
        trained.step(step)
    # 20 steps give some 20 dB, 300 some 33.
    assert held_out_psnr(trained.current_model(), scene) > max(early + 3, 28)
    readings = trained.fused.readings()
    assert readings["dropped"] == 0
    assert readings["samples"] > RAYS / 4


def test_rays_where_errors_are_large_are_part_of_the_recorded_step(scene: Clip) -> None:
    lessons = Lessons(HardMap(torch.device("cuda")))
    engine = FusedEngine(build_model("r2talker", SIZE, "cuda"), scene, STEPS, RAYS, 4, hard=0.3, lessons=lessons)
    engine.fused.advance(STEPS)
    assert held_out_psnr(engine.current_model(), scene) > 28
    assert lessons.hard is not None
    weights = lessons.hard.weights().float()
    assert float(weights.max() / weights.median()) > 2
    assert int((engine.fused.step.chosen >= 0).sum()) == 4 * int(0.3 * RAYS / 4)


def test_an_interrupted_run_ends_alike(engine: Callable[[str], FusedEngine], scene: Clip) -> None:
    """Sums of atomics come in any order, so weights differ in the last bits and then grow apart; quality does not."""
    whole = engine("r2talker")
    whole.fused.advance(STEPS)
    first = engine("r2talker")
    first.fused.advance(STEPS // 2)
    kept = {name: tensor.clone() for name, tensor in first.fused.tensors().items()}
    again = engine("r2talker")
    again.fused.restore(kept)
    assert int(again.fused.weights.steps) == again.fused.done == STEPS // 2
    again.fused.advance(STEPS - STEPS // 2)
    assert int(again.fused.weights.steps) == STEPS
    assert abs(held_out_psnr(again.current_model(), scene) - held_out_psnr(whole.current_model(), scene)) < 1.5


@pytest.mark.parametrize("method", ["r2talker", "radnerf"])
def test_a_run_may_be_planned_anew(engine: Callable[[str], FusedEngine], scene: Clip, method: str) -> None:
    """Shorter, in the recorded graphs, and longer than there is room, with new ones: it learns on, at the rates of the plan."""
    trained = engine(method)
    trained.fused.advance(50)
    early = held_out_psnr(trained.current_model(), scene)
    for steps in (STEPS // 2, 4 * STEPS, STEPS):
        trained.fused.replan(steps)
        for step in range(trained.fused.done, trained.fused.done + 50):
            trained.step(step)
    assert int(trained.fused.weights.steps) == 200
    assert float(trained.fused.weights.adam.rates[STEPS]) == pytest.approx(0.1, rel=1e-3)
    assert held_out_psnr(trained.current_model(), scene) > early + 1


def test_an_avatar_is_trained_to_the_clock(data: Dataset, tmp_path: Path) -> None:
    # What is loaded and compiled once on a machine would take most of such a short time.
    short = TrainConfig(head_steps=20, lips_steps=2, torso_steps=20, rays=4096, device="cuda")
    train_avatar("radnerf", data.folder.root, tmp_path / "warm.avatar", short, MOTION)
    config = TrainConfig(time="20s", quality="high", rays=4096, device="cuda")
    report = train_avatar("radnerf", data.folder.root, tmp_path / "a.avatar", config, MOTION)
    assert 18 < report.seconds < 21.5
    history = json.loads((tmp_path / "a.avatar" / "training" / "history.json").read_text())
    for phase in history["phases"]:
        assert phase["points"][-1]["step"] + 1 == phase["steps"] > 400


def test_the_occupancy_is_published_as_the_model_keeps_it(engine: Callable[[str], FusedEngine]) -> None:
    trained = engine("r2talker")
    possible = trained.model.occupancy.density[0] >= 0
    trained.fused.advance(100)
    trained.fused.publish()
    density = trained.model.occupancy.density
    assert torch.equal(density[0] >= 0, possible)
    threshold = (density.clamp_min(0).sum() / density.numel()).clamp(max=10.0)
    assert torch.equal(trained.model.occupancy.bitfield, pack_bits(density, threshold))
    assert 0 < float((density[0] > threshold).float().mean()) <= float(possible.float().mean())


def test_finishing_leaves_the_average_and_no_gradients(engine: Callable[[str], FusedEngine]) -> None:
    trained = engine("r2talker")
    trained.fused.advance(50)
    average = trained.fused.weights.average
    assert average is not None
    expected = average.clone()
    trained.fused.finish()
    assert torch.equal(trained.fused.weights.adam.values, expected)
    assert all(parameter.grad is None for parameter in trained.model.head.parameters())


def test_an_avatar_is_trained_head_and_torso(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> None:
    from r2talker.avatar import Avatar

    folder = tmp_path_factory.mktemp("fused") / "a.avatar"
    config = TrainConfig(head_steps=400, torso_steps=300, device="cuda", exposure=True, sampling=SamplingConfig(hard=0.2))
    train_avatar("r2talker", data.folder.root, folder, config, MOTION)
    avatar = Avatar.load(folder, device="cuda")
    assert avatar.model.torso is not None
    coords = background_coords(32, 32).cuda()
    covered = avatar.model.torso_occupancy.covers(coords, 0.01).float()
    assert 0.1 < float(covered.mean()) <= 1
    pictures = list(avatar.render(frames=2))
    assert len(pictures) == 2
    assert pictures[0].std() > 10
