"""The loop of every phase: steps, checkpoints, log and previews."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from r2talker.progress import Progress
from r2talker.train.checkpoint import Position, load_stepper, save_checkpoint
from r2talker.train.config import TrainConfig
from r2talker.train.phase import Phase, Stepper, Watcher


@dataclass
class Clock:
    """Says when something is due every `seconds`."""

    seconds: float
    last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """True once per interval."""
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


class _Beginning:
    """Where a phase began, kept for a watcher who wants it anew. stepper: its tensors, none for a phase that has not been begun."""

    def __init__(self, model: dict[str, Tensor], stepper: dict[str, Tensor]) -> None:
        self._model = {name: tensor.detach().clone() for name, tensor in model.items()}
        self._stepper = {name: tensor.detach().clone() for name, tensor in stepper.items()}

    def again(self, phase: Phase, config: TrainConfig) -> Stepper:
        """The stepper that takes the first step once more."""
        phase.model.load_state_dict(self._model)
        stepper = phase.stepper(config)
        if self._stepper:
            stepper.restore(self._stepper)
        return stepper


@dataclass(frozen=True)
class RunFolder:
    """Files of a training run inside the avatar's folder."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint.safetensors"

    def preview(self, phase: str) -> Path:
        """Latest preview of a phase."""
        return self.root / f"preview_{phase}.png"


def run_phase(
    phase: Phase,
    folder: RunFolder,
    config: TrainConfig,
    run: str,
    start: int,
    progress: Progress,
    log: Callable[[str, float, int], None],
    watcher: Watcher | None = None,
) -> None:
    """Work through `phase` from step `start`; leaves the averaged weights in the model and a checkpoint of the finished phase.

    A watcher may let it begin anew from there.
    """
    stepper = phase.stepper(config)
    if start:
        stepper.restore(load_stepper(folder.checkpoint))
    beginning = None if watcher is None else _Beginning(phase.model.state_dict(), stepper.tensors() if start else {})
    checkpoint, preview = Clock(config.checkpoint_seconds), Clock(config.preview_seconds)

    def save() -> None:
        stepper.publish()
        save_checkpoint(folder.checkpoint, Position(run, phase.name, step + 1), phase.model, stepper.tensors())

    def draw() -> np.ndarray:
        stepper.publish()
        return to_uint8(phase.preview())

    progress.begin(phase.name, phase.steps, done=start)
    step = start - 1
    while step + 1 < phase.steps:
        step += 1
        stepper.take(step)
        scalars: dict[str, float] = {}
        if step % stepper.log_period == 0 or step + 1 == phase.steps:
            scalars = stepper.scalars()
            progress.advance(step + 1, _log_scalars(phase.name, scalars, step, log))
        if watcher is not None and watcher.step(phase.name, step + 1, phase.steps, scalars, draw, save):
            assert beginning is not None
            stepper, step = beginning.again(phase, config), start - 1
            progress.begin(phase.name, phase.steps, done=start)
            continue
        if checkpoint.due():
            save()
        if preview.due():
            stepper.publish()
            write_preview(phase, folder)
    stepper.publish()
    stepper.finish()
    write_preview(phase, folder)
    save_checkpoint(folder.checkpoint, Position(run, phase.name, phase.steps), phase.model, None)
    progress.end(f"{phase.steps} steps")


def write_preview(phase: Phase, folder: RunFolder) -> None:
    """Write the truth beside the current rendering as PNG."""
    import cv2

    from r2talker.files import write_bytes

    picture = to_uint8(phase.preview())
    write_bytes(folder.preview(phase.name), cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes())


def to_uint8(picture: Tensor) -> np.ndarray:
    """Colours in [0, 1] to bytes, rounded."""
    return (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _log_scalars(phase: str, scalars: dict[str, float], step: int, log: Callable[[str, float, int], None]) -> str:
    for name, value in scalars.items():
        log(f"{phase}/{name}", value, step)
    return "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
