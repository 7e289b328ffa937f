"""The loop that every phase runs in, on a phase small enough to know the answer."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from r2talker.errors import R2TalkerError
from r2talker.model.parameters import ParameterGroup
from r2talker.render.sight import Sight
from r2talker.train.averaging import PERIOD, WeightAverage
from r2talker.train.checkpoint import load_model, read_position
from r2talker.train.config import TrainConfig
from r2talker.train.diary import Diary, RunFolder
from r2talker.train.history import read_history
from r2talker.train.loop import Run, run_phase
from r2talker.train.pace import Stopwatch
from r2talker.train.phase import StepLoss, Watcher, learning_rate
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
    config: TrainConfig = CONFIG

    def stepper(self) -> GradientStepper:
        return GradientStepper(self, self.config)

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


Curve = dict[int, float]
"""Errors by step."""
Go = Callable[..., Curve]


def ignore(previews: Mapping[str, np.ndarray]) -> None:
    """A page that nobody reads."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "training")


@pytest.fixture
def run(folder: RunFolder) -> Go:
    """Runs a phase, from the checkpoint in the folder if told so, and returns the errors that were read in this run."""

    def go(
        phase: Regression,
        *,
        resume: bool = False,
        config: TrainConfig = CONFIG,
        progress: Recorder | None = None,
        watcher: Watcher | None = None,
    ) -> Curve:
        position = read_position(folder.checkpoint) if resume else None
        history = read_history(folder.history, position)
        known = len(history.phases[0].points) if history.phases else 0
        with Diary(folder, history, ignore) as diary:
            stopwatch = Stopwatch(0.0 if position is None else position.seconds)
            run_phase(phase, Run("this run", config, progress or Recorder(), diary, stopwatch, watcher), position)
        return {int(point["step"]): point["error"] for point in history.phases[0].points[known:]}

    return go


class Saving:
    """A watcher that asks for a checkpoint after one step."""

    def __init__(self, step: int) -> None:
        self.wanted = step

    def step(self, phase: str, step: int, steps: int, scalars: Mapping[str, float], draw: Any, save: Any) -> bool:
        if step == self.wanted:
            save()
        return False


def where(folder: RunFolder) -> tuple[str, str, int, int]:
    """Where the checkpoint in the folder stands."""
    position = read_position(folder.checkpoint)
    assert position is not None
    return position.run, position.phase, position.step, position.steps


def test_the_loss_falls_and_is_logged(run: Go) -> None:
    curve = run(Regression())
    assert list(curve) == [0, 20, 40, STEPS - 1]
    assert curve[STEPS - 1] < curve[0] / 10


def test_the_learning_rate_falls_to_a_tenth() -> None:
    assert learning_rate(0.2, 0, 100) == 0.2
    assert learning_rate(0.2, 100, 100) == pytest.approx(0.02)
    assert learning_rate(0.2, 50, 100) == pytest.approx(0.2 / 10**0.5)


def test_a_finished_phase_leaves_preview_and_checkpoint(run: Go, folder: RunFolder) -> None:
    phase = Regression()
    run(phase)
    assert cv2.imread(str(folder.preview("regression"))).shape == (4, 6, 3)
    assert where(folder) == ("this run", "regression", STEPS, STEPS)
    stored = nn.Linear(3, 2)
    load_model(folder.checkpoint, stored)
    assert torch.equal(stored.weight, phase.model.weight)


@pytest.mark.parametrize("stop", [21, 41])
def test_an_interrupted_phase_ends_as_if_it_had_not_been(run: Go, folder: RunFolder, stop: int) -> None:
    whole = Regression()
    curve = run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(), progress=Interrupting("regression", stop))
    assert where(folder) == ("this run", "regression", stop - 1, STEPS)
    again = Regression()
    load_model(folder.checkpoint, again.model)
    rest = run(again, resume=True)
    assert again.prepared == list(range(stop - 1, STEPS))
    assert rest == {step: error for step, error in curve.items() if step >= stop - 1}
    assert torch.equal(again.model.weight, whole.model.weight)


def test_the_model_is_left_with_averaged_weights(run: Go) -> None:
    raw, averaged = Regression(config=TrainConfig(ema_share=0)), Regression()
    run(raw)
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


def test_a_checkpoint_of_another_shape_is_refused(run: Go, folder: RunFolder) -> None:
    run(Regression())
    with pytest.raises(R2TalkerError, match=r"checkpoint\.safetensors is of another version.*--restart"):
        load_model(folder.checkpoint, nn.Linear(4, 2))


def test_a_watcher_sees_every_step_and_may_draw_and_save(run: Go, folder: RunFolder) -> None:
    seen: list[tuple[int, bool]] = []

    class Watching:
        def step(self, phase: str, step: int, steps: int, scalars: dict[str, float], draw: Any, save: Any) -> bool:
            assert (phase, steps) == ("regression", STEPS)
            seen.append((step, "error" in scalars))
            if step == 7:
                assert draw(Sight()).shape == (4, 6, 3)
                save()
                assert where(folder) == ("this run", "regression", 7, STEPS)
            return False

    calm = TrainConfig(checkpoint_seconds=1e9, preview_seconds=1e9)
    run(Regression(), config=calm, watcher=Watching())
    assert [step for step, _ in seen] == list(range(1, STEPS + 1))
    assert [step for step, read in seen if read] == [1, 21, 41, STEPS]


def test_what_was_measured_survives_an_interruption(run: Go, folder: RunFolder) -> None:
    run(Regression())
    whole = read_history(folder.history, read_position(folder.checkpoint)).phases[0]
    # Killed in the middle of a step: readings after the checkpoint were taken, and are taken again.
    late = dataclasses.replace(CONFIG, checkpoint_seconds=1e9)
    with pytest.raises(KeyboardInterrupt):
        run(Regression(), config=late, watcher=Saving(25), progress=Interrupting("regression", 41))
    again = Regression()
    load_model(folder.checkpoint, again.model)
    run(again, resume=True)
    history = read_history(folder.history, read_position(folder.checkpoint))
    # Begun, gone on, and read again here as if it went on once more.
    assert history.runs == 3
    (record,) = history.phases
    assert [(point["step"], point["error"]) for point in record.points] == [
        (point["step"], point["error"]) for point in whole.points
    ]
    seconds = [point["seconds"] for point in record.points]
    assert seconds == sorted(seconds)


def test_a_broken_history_is_refused_by_name(run: Go, folder: RunFolder) -> None:
    run(Regression())
    folder.history.write_text('{"phases": [{"name": "regression"}]}')
    with pytest.raises(R2TalkerError, match=r"history\.json is unreadable.*--restart"):
        read_history(folder.history, read_position(folder.checkpoint))


@pytest.mark.parametrize("start", [0, 5])
def test_a_watcher_may_let_a_phase_begin_anew(run: Go, folder: RunFolder, tmp_path: Path, start: int) -> None:
    """Where it began here, and with the same result and the same readings as without the detour."""
    calm = TrainConfig(checkpoint_seconds=1e9, preview_seconds=1e9)

    class Again:
        def __init__(self, when: int) -> None:
            self.when, self.seen = when, list[int]()

        def step(self, phase: str, step: int, steps: int, scalars: Mapping[str, float], draw: Any, save: Any) -> bool:
            self.seen.append(step)
            return len(self.seen) == self.when

    with pytest.raises(KeyboardInterrupt):
        run(Regression(), config=calm, watcher=Saving(5), progress=Interrupting("regression", 21))
    shutil.copytree(folder.root, tmp_path / "five")
    ends, curves = [], []
    for when in (0, 7):
        phase, again = Regression(), Again(when)
        if start:
            shutil.rmtree(folder.root)
            shutil.copytree(tmp_path / "five", folder.root)
            load_model(folder.checkpoint, phase.model)
        curves.append(run(phase, resume=start > 0, config=calm, watcher=again))
        assert again.seen == [*range(start + 1, start + 1 + when), *range(start + 1, STEPS + 1)]
        ends.append(phase.model.state_dict())
    assert curves[0] == curves[1]
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
