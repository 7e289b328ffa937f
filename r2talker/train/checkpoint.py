"""Checkpoints of a running phase: tensors in safetensors, numbers in its metadata, never a pickle."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from r2talker.errors import R2TalkerError
from r2talker.files import write_tensors
from r2talker.train.averaging import WeightAverage

STATES = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Position:
    """Where a run stands: `phase` (by name), `step` steps of it done; `run` identifies dataset and settings."""

    run: str
    phase: str
    step: int


def read_position(path: Path) -> Position | None:
    """Where the checkpoint at `path` stands, or None when there is none."""
    if not path.exists():
        return None
    try:
        with safe_open(str(path), "pt") as file:
            return Position(**json.loads(file.metadata()["position"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(f"the checkpoint {path} is unreadable ({error}); start again with --restart") from error


def save_checkpoint(
    path: Path, position: Position, model: nn.Module, optimizer: torch.optim.Optimizer | None, average: WeightAverage | None
) -> None:
    """Write the model and, in the middle of a phase, its optimiser and weight average."""
    tensors: dict[str, Tensor] = {f"model.{key}": value for key, value in model.state_dict().items()}
    metadata = {"position": json.dumps(position.__dict__)}
    if optimizer is not None:
        for index, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{name}": state[name] for name in STATES})
    if average is not None:
        tensors.update({f"average.{index}": value for index, value in enumerate(average.values)})
        metadata["updates"] = str(average.updates)
    write_tensors(path, tensors, metadata)


def load_model(path: Path, model: nn.Module) -> None:
    """Restore the model's weights and buffers, strictly."""
    with safe_open(str(path), "pt") as file:
        keys = file.keys()
        state = {key.removeprefix("model."): file.get_tensor(key) for key in keys if key.startswith("model.")}
    model.load_state_dict(state)


def load_progress(path: Path, optimizer: torch.optim.Optimizer, average: WeightAverage) -> None:
    """Restore the optimiser and the weight average of the phase in progress."""
    with safe_open(str(path), "pt") as file:
        saved: dict[int, dict[str, Tensor]] = {}
        keys = file.keys()
        for key in keys:
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                saved.setdefault(int(index), {})[name] = file.get_tensor(key)
        for index, value in enumerate(average.values):
            value.copy_(file.get_tensor(f"average.{index}"))
        average.updates = int(file.metadata()["updates"])
    whole = optimizer.state_dict()
    whole["state"] = saved
    optimizer.load_state_dict(whole)
