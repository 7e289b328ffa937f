"""The whole of ingest: its steps in order, each skipped when current and redone when stale."""

from dataclasses import replace
from pathlib import Path

from r2talker.data.folder import DatasetFolder, DatasetInfo, read_info
from r2talker.errors import R2TalkerError
from r2talker.ingest import (
    audio,
    background,
    description,
    excluded,
    expression,
    eyes,
    features,
    frames,
    images,
    landmarks,
    masks,
    sync,
    tracking,
)
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.excluded import resolve_exclusion
from r2talker.ingest.networks.parsing import with_parser
from r2talker.ingest.report import inspection, page
from r2talker.ingest.step import Step, Workspace, digest_file, fingerprint, is_current, perform
from r2talker.progress import Progress, Silent

_DEFAULT, _SILENT = IngestConfig(), Silent()

STEPS: tuple[Step, ...] = (
    frames.STEP,
    audio.STEP,
    landmarks.STEP,
    tracking.STEP,
    expression.STEP,
    sync.STEP,
    eyes.STEP,
    with_parser(masks.STEP),
    background.STEP,
    images.STEP,
    inspection.STEP,
    excluded.STEP,
    features.STEP,
    page.STEP,
    description.STEP,
)
"""Every step after the steps it needs."""


def ingest(video: Path, dataset: Path, config: IngestConfig = _DEFAULT, progress: Progress = _SILENT) -> DatasetInfo:
    """Make the dataset folder `dataset` of the clip `video`, or bring it up to date.

    An interrupted run continues where it stopped. Raises R2TalkerError for a clip that cannot be used, naming what to do.
    """
    run_steps(Workspace(video, DatasetFolder(dataset), config, progress))
    return read_info(DatasetFolder(dataset))


def run_steps(workspace: Workspace, *, last: str | None = None) -> list[str]:
    """Run what is not current up to step `last` (None: all); return the names of the steps that ran.

    `dataset.json` goes away before anything is redone, so that a half-made folder never looks complete.
    """
    root = workspace.folder.root
    if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not _is_dataset(root))):
        raise R2TalkerError(f"{root} exists and is not a dataset; choose another folder")
    clip = digest_file(workspace.video)
    _mark_as_dataset(root)
    exclude = resolve_exclusion(root, clip, workspace.config.exclude or "")
    workspace = replace(workspace, config=replace(workspace.config, exclude=exclude))
    fingerprints: dict[str, str] = {}
    ran: list[str] = []
    for step in STEPS:
        fingerprints[step.name] = fingerprint(step, workspace, clip, fingerprints)
        if not is_current(step, workspace, fingerprints[step.name]):
            try:
                workspace.folder.info.unlink(missing_ok=True)
            except OSError as error:
                raise R2TalkerError(f"cannot write {root}: {error.strerror or error}; choose another folder") from error
            perform(step, workspace, fingerprints[step.name])
            ran.append(step.name)
        if step.name == last:
            break
    return ran


def _mark_as_dataset(root: Path) -> None:
    """Make the folder of records, by which a run that follows an early interruption knows the folder as its own."""
    try:
        (root / ".steps").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise R2TalkerError(f"cannot write {root}: {error.strerror or error}; choose another folder") from error


def _is_dataset(root: Path) -> bool:
    return (root / ".steps").is_dir() or (root / "dataset.json").exists()
