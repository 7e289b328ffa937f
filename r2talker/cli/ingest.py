"""`r2talker ingest`: a video becomes a dataset folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.ingest.config import IngestConfig


@dataclass(frozen=True)
class IngestArguments:
    """Turn a video of one talking person into a dataset folder; an interrupted run goes on where it stopped."""

    video: Positional[Path]
    """The clip: 20 s to 5 min of one person, head and shoulders, still camera, with sound."""
    dataset: Positional[Path]
    """Folder to make."""
    ingest: IngestConfig = field(default_factory=IngestConfig)


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(IngestArguments, "ingest", arguments)
    from r2talker.cli.describe import describe_dataset
    from r2talker.ingest.pipeline import ingest

    with ProgressDisplay() as progress:
        info = ingest(args.video, args.dataset, args.ingest, progress)
    print(describe_dataset(args.dataset, info))
