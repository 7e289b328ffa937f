"""The loop that every phase runs in, on a phase small enough to know the answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import nn

from r2talker.errors import R2TalkerError
from r2talker.model.parameters import ParameterGroup
from r2talker.train.averaging import PERIOD, WeightAverage
from r2talker.train.checkpoint import Position, load_model, read_position
from r2talker.train.config import TrainConfig
from r2talker.train.loop import RunFolder, run_phase
from r2talker.train.phase import StepLoss, learning_rate
from r2talker.train.sampling import step_generator
from r2talker.train.stepper import GradientStepper
from tests.tiny import Interrupting, Recorder
from tests.tolerances import assert_close

STEPS = 50
CONFIG = TrainConfig(checkpoint_seconds=0, preview_seconds=0, ema_share=1.0)


def fresh_model() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@dataclass
class Regression:
    """Fits a linear map to noisy samples of another one; everything random follows from the step."""

    model: nn.Linear = field(default_factory=fresh_model)
    steps: int = STEPS
    frames_per_step: int = 1
    name: str = "regression"
    prepared: list[int] = field(default_factory=list)

    def stepper(self, config: TrainConfig) -> GradientStepper:
        return GradientStepper(self, config)

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup("all", list(self.model.parameters()), 0.1)]

    def prepare(self, step: int) -> None:
        self.prepared.append(step)

    def loss(self, turn: int) -> StepLoss:
        inputs = torch.randn(8, 3, generator=step_generator(1, turn, torch.device("cpu")))
        error = (self.model(inputs) - inputs[:, :2] * 2).square().mean()
        return StepLoss(error, {"error": error})

    def preview(self) -> torch.Tensor:
        return torch.full((4, 6, 3), 0.5)


class Curve(dict[tuple[str, int], float]):
    """A log of scalars."""

    def __call__(self, name: str, value: float, step: int) -> None:
        self[name, step] = value


Run = Callable[..., Curve]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def go(phase: Regression, start: int = 0, config: TrainConfig = CONFIG, progress: Recorder | None = None) -> Curve:
        curve = Curve()
        run_phase(phase, RunFolder(tmp_path), config, "this run", start, progress or Recorder(), curve)
        return curve

    return go


def test_the_loss_falls_and_is_logged(run: Run) -> None:
    curve = run(Regression())
    assert list(curve) == [("regression/error", step) for step in (0, 20, 40, STEPS - 1)]
    assert curve["regression/error", STEPS - 1] < curve["regression/error", 0] / 10


def test_the_learning_rate_falls_to_a_tenth() -> None:
    assert learning_rate(0.2, 0, 100) == 0.2
    assert learning_rate(0.2, 100, 100) == pytest.approx(0.02)
    assert learning_rate(0.2, 50, 100) == pytest.approx(0.2 / 10**0.5)


def test_a_finished_phase_leaves_preview_and_checkpoint(run: Run, tmp_path: Path) -> None:
    phase = Regression()
    run(phase)
    assert cv2.imread(str(RunFolder(tmp_path).preview("regression"))).shape == (4, 6, 3)
    assert read_position(RunFolder(tmp_path).checkpoint) == Position("this run", "regression", STEPS)
    stored = nn.Linear(3, 2)
    load_model(RunFolder(tmp_path).checkpoint, stored)
    assert torch.equal(stored.weight, phase.model.weight)


@pytest.mark.parametrize("stop", [21, 41])
def test_an_interrupted_phase_ends_as_if_it_had_not_been(run: Run, tmp_path: Path, stop: int) -> None:
    whole = Regression()
    curve = run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(), progress=Interrupting("regression", stop))
    position = read_position(RunFolder(tmp_path).checkpoint)
    assert position == Position("this run", "regression", stop - 1)
    again = Regression()
    load_model(RunFolder(tmp_path).checkpoint, again.model)
    rest = run(again, start=position.step)
    assert again.prepared == list(range(stop - 1, STEPS))
    assert rest == {key: value for key, value in curve.items() if key[1] >= stop - 1}
    assert torch.equal(again.model.weight, whole.model.weight)


def test_the_model_is_left_with_averaged_weights(run: Run) -> None:
    raw, averaged = Regression(), Regression()
    run(raw, config=TrainConfig(ema_share=0))
    run(averaged)
    start = fresh_model().weight
    assert not torch.equal(raw.model.weight, averaged.model.weight)
    assert (averaged.model.weight - start).norm() < (raw.model.weight - start).norm()


def test_the_average_warms_up_and_then_decays() -> None:
    weight = torch.zeros(1)
    average = WeightAverage([weight], time_constant=2 * PERIOD)
    weight += 1
    for step in range(PERIOD - 1):
        average.update([weight], step)
    assert average.values[0] == 0
    average.update([weight], PERIOD - 1)
    expected = 1 - 2 / 11
    assert_close(average.values[0], expected, "geometry")
    for update in range(2, 12):
        average.update([weight * 0], update * PERIOD - 1)
        expected *= min(0.5, (1 + update) / (10 + update))
        assert_close(average.values[0], expected, "geometry")
    average.copy_to([weight])
    assert weight == average.values[0]


@pytest.mark.parametrize("content", [b"", b"nonsense" * 99])
def test_a_broken_checkpoint_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.safetensors"
    assert read_position(path) is None
    path.write_bytes(content)
    with pytest.raises(R2TalkerError, match=r"checkpoint\.safetensors is unreadable.*--restart") as caught:
        read_position(path)
    assert "\n" not in str(caught.value)


def test_a_watcher_sees_every_step_and_may_draw_and_save(tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []

    class Watching:
        def step(self, phase: str, step: int, steps: int, scalars: dict[str, float], draw: Any, save: Any) -> None:
            assert (phase, steps) == ("regression", STEPS)
            seen.append((step, "error" in scalars))
            if step == 7:
                assert draw().shape == (4, 6, 3)
                save()
                assert read_position(RunFolder(tmp_path).checkpoint) == Position("this run", "regression", 7)

    calm = TrainConfig(checkpoint_seconds=1e9, preview_seconds=1e9)
    run_phase(Regression(), RunFolder(tmp_path), calm, "this run", 0, Recorder(), Curve(), Watching())
    assert [step for step, _ in seen] == list(range(1, STEPS + 1))
    assert [step for step, read in seen if read] == [1, 21, 41, STEPS]
