"""Writing files so that a later run never meets half of one: written beside the target, then renamed."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from r2talker.errors import R2TalkerError

if TYPE_CHECKING:
    from torch import Tensor


PARTIAL = ".*.partial-*"
"""Names of files that are being written, or were when a run was killed."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` (same suffix); rename it to `path` on success, delete it on failure.

    Raises R2TalkerError when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise R2TalkerError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error
    finally:
        # The folder itself may be what cannot be used; the first error is the one to report.
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_partials(folder: Path) -> None:
    """Delete what processes that were killed while writing have left in `folder`."""
    for path in folder.glob(".*.partial-*"):
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one array without pickles, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors, atomically; they may lie on any device and share memory."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    content = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(content, str(temporary), None if metadata is None else dict(metadata))
        except SafetensorError as error:
            raise R2TalkerError(f"cannot write {path}: {error}; free some space or choose another folder") from error


def read_json(path: Path) -> Any:
    """Read JSON; R2TalkerError names the file when it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; check the path or make it again") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise R2TalkerError(f"{path} is not valid JSON ({error}); make it again") from error


def read_npy(path: Path) -> np.ndarray:
    """Read one array, refusing pickles; R2TalkerError names the file when it is missing or broken."""
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; check the path or make it again") from error
    except (ValueError, EOFError) as error:
        # NumPy's own words advise allow_pickle, which runs whatever the file says.
        raise R2TalkerError(
            f"{path} is not a plain .npy array, or damaged; save it with numpy.save(..., allow_pickle=False)"
        ) from error
