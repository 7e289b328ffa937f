"""Files of the reference's trainer (upstream.md 6.5), read without executing anything in them, and written."""

import errno
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.files import replacing

BUFFERS = ("aabb_train", "aabb_infer", "step_counter", "density_grid", "density_bitfield", "density_grid_torso")
NUMBERS = ("epoch", "global_step", "mean_count", "mean_density", "mean_density_torso")
TRAINING_STATE = ("optimizer", "lr_scheduler", "scaler")
"""What only continues a training run; it is not read."""


@dataclass(frozen=True)
class Average:
    """The moving average of the parameters: its own numbers, and tensors by the parameters' names."""

    decay: float
    updates: int | None
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """model: the state_dict, in the file's order. numbers: those of NUMBERS that the file has. stats: losses and results of the run.
    bare: whether the file is nothing but a state_dict."""

    model: dict[str, Tensor]
    numbers: dict[str, float | int] = field(default_factory=dict)
    stats: dict[str, Any] | None = None
    average: Average | None = None
    bare: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(value.shape) for key, value in self.model.items()}


def is_parameter(key: str) -> bool:
    """Whether a key of the state_dict is trained, and so has a moving average."""
    return key not in BUFFERS and not key.endswith(".offsets")


def read_checkpoint(path: Path, *, needs_average: bool = True) -> Checkpoint:
    """Read a latest or best file, or a bare state_dict; R2TalkerError when it is missing, damaged, or holds more than plain values.

    needs_average: a moving average that does not belong to the parameters is an error; else it is left out.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise R2TalkerError(f"{path} holds a {type(content).__name__}; expected a checkpoint or a state_dict")
    bare = "model" not in content
    model = content if bare else content["model"]
    wrong = (
        [str(key) for key, value in model.items() if not _is_plain_tensor(value)] if isinstance(model, Mapping) else ["model"]
    )
    if wrong or not model:
        raise R2TalkerError(
            f"{path} is no checkpoint of a talking head: {', '.join(wrong[:5]) or 'its state_dict'} is no tensor; give a "
            "checkpoint's .pth"
        )
    model = {str(key): value.detach() for key, value in model.items()}
    if bare:
        return Checkpoint(model, bare=True)
    numbers = {name: _plain(content[name]) for name in NUMBERS if _is_number(content.get(name))}
    stats = _plain(content["stats"]) if isinstance(content.get("stats"), Mapping) else None
    average = _read_average(content.get("ema"), model)
    if average is None and needs_average and content.get("ema") is not None:
        raise R2TalkerError(f"{path} has a moving average (`ema`) that does not fit its parameters; import with --weights raw")
    return Checkpoint(model, numbers, stats, average)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file as the reference's trainer does, without the state of its optimiser."""
    content: dict[str, Any] = dict(checkpoint.model)
    if not checkpoint.bare:
        content = {**checkpoint.numbers, "model": dict(checkpoint.model)}
        if checkpoint.stats is not None:
            content["stats"] = checkpoint.stats
        if checkpoint.average is not None:
            average = checkpoint.average
            content["ema"] = {
                "decay": average.decay,
                "num_updates": average.updates,
                "shadow_params": list(average.tensors.values()),
                "collected_params": None,
            }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def _load(path: Path) -> Any:
    """The file's content by torch's restricted unpickler. Losses and results may be NumPy's numbers, which it does not know."""
    known: list[Any] = [(_Number, "numpy.dtype")]
    known += [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals(known), warnings.catch_warnings():
            # Of a pickle protocol that the restricted reader may not know; what it cannot read, it refuses.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if path.is_file() and error.errno == errno.EINVAL:  # how torch says that an archive ends early
            raise R2TalkerError(f"{path} is damaged: it ends early; copy it again") from error
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except pickle.UnpicklingError as error:
        raise R2TalkerError(
            f"{path} is damaged or holds more than tensors and numbers; it was not opened ({_reason(error)})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise R2TalkerError(f"{path} is no checkpoint, or damaged; give a .pth of the reference's trainer") from error


def _reason(error: Exception) -> str:
    """The telling part of torch's long explanation."""
    text = str(error)
    for mark in ("Unsupported global: GLOBAL ", "unsupported GLOBAL ", "Unsupported class "):
        if mark in text:
            return "it asks for " + text.split(mark, 1)[1].split()[0]
    return "it is no archive of torch"


class _Number:
    """NumPy's type of a number, as its pickles spell it; nothing but numbers."""

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"Unsupported class {name}")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(kind: Any, content: Any) -> float | int | bool:
    if not isinstance(kind, _Number):
        raise pickle.UnpicklingError("Unsupported class of a number")
    raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
    return np.frombuffer(raw, kind.dtype, 1)[0].item()


def _read_average(ema: Any, model: dict[str, Tensor]) -> Average | None:
    """The shadow parameters under the names of the parameters they follow: of all of them, or of the torso's alone (upstream.md 6.3)."""
    if not isinstance(ema, Mapping):
        return None
    shadows = list(ema.get("shadow_params") or [])
    parameters = [key for key in model if is_parameter(key)]
    for keys in (parameters, [key for key in parameters if "torso" in key]):
        if keys and [model[key].shape for key in keys] == [getattr(shadow, "shape", None) for shadow in shadows]:
            decay, updates = (_plain(ema[name]) if _is_number(ema.get(name)) else None for name in ("decay", "num_updates"))
            tensors = dict(zip(keys, (shadow.detach() for shadow in shadows), strict=True))
            return Average(decay or 0.0, updates, tensors)
    return None


def _is_plain_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (isinstance(value, Tensor) and value.numel() == 1)


def _plain(value: Any) -> Any:
    """Numbers, texts and lists as JSON knows them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
