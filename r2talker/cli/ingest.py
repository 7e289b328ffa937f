"""`r2talker ingest`: a video becomes a dataset folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.errors import R2TalkerError
from r2talker.ingest.config import IngestConfig


@dataclass(frozen=True)
class IngestArguments:
    """Turn a video of one talking person into a dataset folder; an interrupted run goes on where it stopped."""

    video: Positional[Path]
    """The clip: 20 s to 5 min of one person, head and shoulders, still camera, with sound."""
    dataset: Positional[Path]
    """Folder to make."""
    until: str | None = None
    """Stop after this step: frames, audio, landmarks, tracking, expression, sync, eyes, masks, background, images, inspection,
    exclusion, features or report."""
    ingest: IngestConfig = field(default_factory=IngestConfig)


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(IngestArguments, "ingest", arguments)
    from r2talker.cli.describe import describe_dataset
    from r2talker.data.folder import DatasetFolder
    from r2talker.ingest.pipeline import STEPS, ingest, run_steps
    from r2talker.ingest.step import Workspace

    names = [step.name for step in STEPS]
    if args.until is not None and args.until not in names:
        raise R2TalkerError(f"--until {args.until} is no step of ingest; choose one of {', '.join(names)}")
    with ProgressDisplay() as progress:
        if args.until is not None:
            made = run_steps(Workspace(args.video, DatasetFolder(args.dataset), args.ingest, progress), last=args.until)
        else:
            info = ingest(args.video, args.dataset, args.ingest, progress)
    if args.until is None:
        print(describe_dataset(args.dataset, info))
    else:
        print(f"{args.dataset} stands after {args.until}; {', '.join(made) or 'nothing'} was made, the rest was current")
