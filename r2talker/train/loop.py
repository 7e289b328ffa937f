"""The loop of every phase: steps, checkpoints, readings and previews."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from r2talker.progress import Progress
from r2talker.render.sight import Sight
from r2talker.train.checkpoint import Position, load_stepper, save_checkpoint
from r2talker.train.config import TrainConfig
from r2talker.train.diary import Diary
from r2talker.train.pace import Pace, Stopwatch
from r2talker.train.phase import Phase, Stepper, Watcher
from r2talker.train.showing import Showing

FIRST_PREVIEW = 2.0
"""Seconds until the first preview of a phase."""


@dataclass
class Clock:
    """Says when something is due every `seconds`; with `first`, sooner at the beginning: after `first` seconds, and twice that, ..."""

    seconds: float
    first: float | None = None
    begun: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """True once per interval."""
        now = time.monotonic()
        wait = self.seconds if self.first is None else min(self.seconds, max(self.first, self.last - self.begun))
        if now - self.last < wait:
            return False
        self.last = now
        return True


class _Beginning:
    """Where a phase began, kept for a watcher who wants it anew. stepper: its tensors, none for a phase that has not been begun."""

    def __init__(self, model: dict[str, Tensor], stepper: dict[str, Tensor], kept: Mapping[str, Tensor]) -> None:
        self._kept = [(tensor, tensor.clone()) for tensor in kept.values()]
        self._model = {name: tensor.detach().clone() for name, tensor in model.items()}
        self._stepper = {name: tensor.detach().clone() for name, tensor in stepper.items()}

    def again(self, phase: Phase) -> Stepper:
        """The stepper that takes the first step once more."""
        phase.model.load_state_dict(self._model)
        for tensor, value in self._kept:
            tensor.copy_(value)
        stepper = phase.stepper()
        if self._stepper:
            stepper.restore(self._stepper)
        return stepper


@dataclass(frozen=True)
class Run:
    """What the phases of one training run share; name: identifies dataset and settings. kept: what outlives phases beside the model.

    showing: draws what a watcher wants to see.
    """

    name: str
    config: TrainConfig
    progress: Progress
    diary: Diary
    stopwatch: Stopwatch
    watcher: Watcher | None = None
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    showing: Showing | None = None


def run_phase(phase: Phase, run: Run, position: Position | None = None, pace: Pace | None = None) -> None:
    """Work through `phase`, from the checkpoint at `position` if there is one, in the time of `pace` if there is any.

    Leaves the averaged weights in the model and a checkpoint of the finished phase. A watcher may let it begin anew from there.
    """
    stepper, start = phase.stepper(), 0
    if position is not None:
        start = position.step
        stepper.restore(load_stepper(run.diary.folder.checkpoint))
        _replan(phase, stepper, position.steps)
    held = stepper.tensors() if start else {}
    beginning = None if run.watcher is None else _Beginning(phase.model.state_dict(), held, run.kept)
    checkpoint, preview = Clock(run.config.checkpoint_seconds), Clock(run.config.preview_seconds, FIRST_PREVIEW)
    step = start

    def save() -> None:
        stepper.publish()
        _save(phase, run, step, stepper)

    def draw(sight: Sight) -> np.ndarray:
        stepper.publish()
        if run.showing is None or sight == Sight():
            return to_uint8(phase.preview())
        return to_uint8(run.showing.view(sight))

    run.diary.begin(phase.name, phase.steps, run.stopwatch.seconds())
    run.progress.begin(phase.name, phase.steps, done=step)
    while step < phase.steps:
        stepper.take(step)
        step += 1
        scalars: dict[str, float] = {}
        regular = (step - 1) % stepper.log_period == 0
        if regular or step == phase.steps or (pace is not None and pace.is_over()):
            scalars = stepper.scalars()
            _replan(phase, stepper, phase.steps if pace is None else pace.foresee(step) or phase.steps)
            if regular or step == phase.steps:
                run.diary.note(scalars, step=step - 1, steps=phase.steps, seconds=run.stopwatch.seconds())
            run.progress.advance(step, _words(scalars), total=phase.steps)
        if run.watcher is not None and run.watcher.step(phase.name, step, phase.steps, scalars, draw, save):
            assert beginning is not None
            stepper, step = beginning.again(phase), start
            run.diary.forget(start)
            run.progress.begin(phase.name, phase.steps, done=start)
            continue
        if checkpoint.due():
            save()
        if preview.due():
            run.diary.show(draw(Sight()), step - 1)
    stepper.publish()
    stepper.finish()
    run.diary.show(to_uint8(phase.preview()), step - 1)
    _save(phase, run, step, None)
    run.progress.end(f"{step} steps")


def to_uint8(picture: Tensor) -> np.ndarray:
    """Colours in [0, 1] to bytes, rounded."""
    return (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _replan(phase: Phase, stepper: Stepper, steps: int) -> None:
    if steps != phase.steps:
        phase.steps = steps
        stepper.replan(steps)


def _save(phase: Phase, run: Run, step: int, stepper: Stepper | None) -> None:
    """A checkpoint after `step` steps; without a stepper the phase is finished."""
    # Before the checkpoint: what it has more is cut off again, what it lacked would be missing.
    run.diary.save()
    position = Position(run.name, phase.name, step, phase.steps, run.stopwatch.seconds())
    held = None if stepper is None else stepper.tensors()
    save_checkpoint(run.diary.folder.checkpoint, position, phase.model, held, run.kept)


def _words(scalars: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
