"""What an imported avatar keeps so that its export gives the checkpoint back, bit for bit: whatever its own tensors do not say."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.files import write_tensors
from r2talker.upstream.checkpoint import Average, Checkpoint

_DTYPES = {
    str(kind): kind
    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64, torch.uint8)
}


@dataclass(frozen=True)
class Record:
    """token: stands in `avatar.json` too, so that a record is never applied to an avatar that it does not belong to. order: keys of
    the state_dict with their types. kept: tensors of the state_dict that the avatar does not hold. average: its numbers, its keys with
    their types, and the tensors that the avatar does not hold."""

    token: str
    bare: bool
    numbers: dict[str, float | int]
    stats: dict[str, Any] | None
    order: dict[str, str]
    kept: dict[str, Tensor]
    average_numbers: dict[str, Any] | None = None
    average_order: dict[str, str] = field(default_factory=dict)
    average_kept: dict[str, Tensor] = field(default_factory=dict)


def make_record(checkpoint: Checkpoint, held: dict[str, Tensor], token: str) -> Record:
    """held: what the avatar gives back by itself."""
    order, kept = _what_is_kept(checkpoint.model, held)
    record = Record(token, checkpoint.bare, checkpoint.numbers, checkpoint.stats, order, kept)
    if checkpoint.average is None:
        return record
    average = checkpoint.average
    average_order, average_kept = _what_is_kept(average.tensors, held)
    numbers = {"decay": average.decay, "updates": average.updates}
    return Record(**{**vars(record), "average_numbers": numbers, "average_order": average_order, "average_kept": average_kept})


def restore(record: Record, held: dict[str, Tensor]) -> Checkpoint:
    """The checkpoint that a record was made of."""
    average = None
    if record.average_numbers is not None:
        average = Average(**record.average_numbers, tensors=_restored(record.average_order, record.average_kept, held))
    model = _restored(record.order, record.kept, held)
    return Checkpoint(model, record.numbers, record.stats, average, record.bare)


def write_record(path: Path, record: Record) -> None:
    """Write the tensors, and everything else as JSON in the file's metadata."""
    tensors = {f"model.{key}": value for key, value in record.kept.items()}
    tensors |= {f"ema.{key}": value for key, value in record.average_kept.items()}
    rest = {key: value for key, value in vars(record).items() if key not in ("kept", "average_kept")}
    write_tensors(path, tensors, {"record": json.dumps(rest)})


def read_record(path: Path) -> Record:
    """Read the file; R2TalkerError when it is broken."""
    try:
        with safe_open(str(path), "pt") as file:
            rest, tensors = json.loads(file.metadata()["record"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        kept, average = (
            {key.removeprefix(part): value for key, value in tensors.items() if key.startswith(part)}
            for part in ("model.", "ema.")
        )
        return Record(**rest, kept=kept, average_kept=average)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(f"{path} is broken ({error}); import the checkpoint again") from error


def _what_is_kept(tensors: dict[str, Tensor], held: dict[str, Tensor]) -> tuple[dict[str, str], dict[str, Tensor]]:
    order = {key: str(value.dtype) for key, value in tensors.items()}
    kept = {key: value for key, value in tensors.items() if not _gives_back(held.get(key), value)}
    return order, kept


def _gives_back(held: Tensor | None, wanted: Tensor) -> bool:
    if held is None or held.shape != wanted.shape or str(wanted.dtype) not in _DTYPES:
        return False
    return torch.equal(_bytes(held.to(wanted.dtype)), _bytes(wanted))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _restored(order: dict[str, str], kept: dict[str, Tensor], held: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: kept[key] if key in kept else held[key].to(_DTYPES[kind]) for key, kind in order.items()}
