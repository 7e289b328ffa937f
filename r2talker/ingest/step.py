"""What a step of ingest is, and how a later run knows that it is done: a record with a fingerprint of all it depends on."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.files import read_json, replacing, write_json
from r2talker.ingest.config import IngestConfig
from r2talker.progress import Progress, Silent

FPS = 25.0
SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Workspace:
    """What every step gets: the clip, the folder it fills, the settings, and who listens.

    resumed: the step began before with the same inputs, so the files that it left are whole and need not be made again.
    """

    video: Path
    folder: DatasetFolder
    config: IngestConfig = field(default_factory=IngestConfig)
    progress: Progress = field(default_factory=Silent)
    resumed: bool = False

    def record(self, name: str) -> Path:
        """Where step `name` says what it made."""
        return self.folder.root / ".steps" / f"{name}.json"

    def product(self, file: str) -> Path:
        """Intermediate product of a step that the dataset's readers do not need."""
        return self.folder.root / ".steps" / file

    def readings(self, name: str) -> dict[str, Any]:
        """What step `name` found out, as it was recorded."""
        readings: dict[str, Any] = read_json(self.record(name))["readings"]
        return readings

    @property
    def frames(self) -> int:
        """Number of pictures, known once the step `frames` is done."""
        return int(self.readings("frames")["frames"])

    @property
    def train_frames(self) -> int:
        """Length of the training split (upstream.md 1.3)."""
        return int(self.frames * 10 / 11)


@dataclass(frozen=True)
class StepResult:
    """What a step made, for people (message) and for later steps (readings, JSON values)."""

    message: str
    readings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One step. needs: steps it reads from. settings: fields of IngestConfig it reads. version: raise it when results change.

    makes: the files that must exist for the step to count as done.
    """

    name: str
    version: int
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    run: Callable[[Workspace], StepResult]
    makes: Callable[[Workspace], list[Path]]


def fingerprint(step: Step, workspace: Workspace, clip: str, needed: Mapping[str, str]) -> str:
    """Digest of the clip, the settings that the step reads, its version, and the fingerprints of the steps it needs."""
    content = {
        "name": step.name,
        "version": step.version,
        "clip": clip,
        "settings": {name: getattr(workspace.config, name) for name in step.settings},
        "needs": {name: needed[name] for name in step.needs},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_current(step: Step, workspace: Workspace, expected: str) -> bool:
    """Whether the step was finished with this fingerprint and its files are all there."""
    record = _read_record(step, workspace, expected)
    return "readings" in record and all(path.exists() for path in step.makes(workspace))


def _read_record(step: Step, workspace: Workspace, expected: str) -> dict[str, Any]:
    """The step's record if it has this fingerprint, else nothing; one without readings is that of a step under way."""
    try:
        value = read_json(workspace.record(step.name))
    except R2TalkerError:
        return {}
    return value if isinstance(value, dict) and value.get("fingerprint") == expected else {}


def perform(step: Step, workspace: Workspace, expected: str) -> StepResult:
    """Run the step and record it: first that it is under way, by which a run that follows an interruption knows what is left."""
    record = workspace.record(step.name)
    resumed = bool(_read_record(step, workspace, expected))
    about = {"step": step.name, "fingerprint": expected}
    write_json(record, about)
    began = time.monotonic()
    result = step.run(replace(workspace, resumed=resumed))
    write_json(
        record,
        {
            **about,
            "message": result.message,
            "seconds": round(time.monotonic() - began, 2),
            "readings": dict(result.readings),
        },
    )
    workspace.progress.end(result.message)
    return result


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; give the path of a video") from error
    return digest.hexdigest()


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as one compressed .npz, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def read_array(path: Path, name: str) -> np.ndarray:
    """Read one array of an .npz made by `write_arrays`."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]
