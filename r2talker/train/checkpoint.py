"""Checkpoints of a running phase: tensors in safetensors, numbers in its metadata, never a pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from r2talker.drive.config import MotionConfig
from r2talker.drive.motion import MotionModel
from r2talker.errors import R2TalkerError
from r2talker.files import write_tensors


@dataclass(frozen=True)
class Position:
    """Where a run stands: `phase` (by name), `step` of its `steps` steps done; `run` identifies dataset and settings.

    steps: as many as the phase had or was foreseen to have, which a time budget decides. seconds: of training until here, over all runs.
    """

    run: str
    phase: str
    step: int
    steps: int
    seconds: float


def read_position(path: Path) -> Position | None:
    """Where the checkpoint at `path` stands, or None when there is none."""
    if not path.exists():
        return None
    try:
        with safe_open(str(path), "pt") as file:
            return Position(**json.loads(file.metadata()["position"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(f"the checkpoint {path} is unreadable ({error}); start again with --restart") from error


@dataclass(frozen=True)
class KeptMotion:
    """A finished landmark generator; seconds: of training until then."""

    model: MotionModel
    seconds: float


def save_motion(path: Path, run: str, kept: KeptMotion) -> None:
    """Keep the landmark generator for the rest of the run."""
    about = {"run": run, "seconds": kept.seconds, "config": asdict(kept.model.config)}
    write_tensors(path, kept.model.state_dict(), {"motion": json.dumps(about)})


def read_motion(path: Path, run: str) -> KeptMotion | None:
    """The landmark generator that was kept for `run`, or None when there is none."""
    if not path.exists():
        return None
    try:
        with safe_open(str(path), "pt") as file:
            about = json.loads(file.metadata()["motion"])
            if about["run"] != run:
                return None
            model = MotionModel(MotionConfig(**about["config"]))
            model.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
            return KeptMotion(model.eval(), about["seconds"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise R2TalkerError(f"{path} is unreadable ({error}); start again with --restart") from error


def save_checkpoint(
    path: Path,
    position: Position,
    model: nn.Module,
    stepper: Mapping[str, Tensor] | None,
    kept: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the model, what outlives phases beside it and, in the middle of a phase, what its stepper holds."""
    tensors: dict[str, Tensor] = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors.update({f"stepper.{key}": value for key, value in (stepper or {}).items()})
    tensors.update({f"kept.{key}": value for key, value in (kept or {}).items()})
    write_tensors(path, tensors, {"position": json.dumps(position.__dict__)})


def load_model(path: Path, model: nn.Module) -> None:
    """Restore the model's weights and buffers, strictly; R2TalkerError for those of a model of another shape."""
    try:
        model.load_state_dict(_read(path, "model."))
    except RuntimeError as error:
        raise R2TalkerError(
            f"the checkpoint {path} is of another version of r2talker and does not fit this one; start again with --restart"
        ) from error


def load_stepper(path: Path) -> dict[str, Tensor]:
    """What the stepper of the phase in progress held."""
    return _read(path, "stepper.")


def load_kept(path: Path, kept: Mapping[str, Tensor]) -> None:
    """Restore what outlives phases, in place."""
    stored = _read(path, "kept.")
    for key, tensor in kept.items():
        tensor.copy_(stored[key])


def _read(path: Path, prefix: str) -> dict[str, Tensor]:
    with safe_open(str(path), "pt") as file:
        keys = file.keys()
        return {key.removeprefix(prefix): file.get_tensor(key) for key in keys if key.startswith(prefix)}
