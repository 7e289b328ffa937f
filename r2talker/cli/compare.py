"""`r2talker compare`: films against a dataset's held-out frames or against another film."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.evaluate.config import CompareConfig


@dataclass(frozen=True)
class CompareArguments:
    """Score videos of any origin against the truth: report.html, readings.json, frames.csv."""

    truth: Annotated[Positional[Path], arg(metavar="TRUTH")]
    """A video, or a dataset folder, of which the held-out frames count."""
    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO...")]
    """Videos of the same frames, or folders of pictures named by their frame's number; scaled to the truth's size."""
    output: Annotated[Path, arg(aliases=("-o",))] = Path("r2talker-comparison")
    """Folder for the report."""
    compare: CompareConfig = field(default_factory=CompareConfig)


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(CompareArguments, "compare", arguments)
    from r2talker.evaluate.run import compare_videos

    with ProgressDisplay() as progress:
        found = compare_videos(args.truth, args.videos, args.output, args.compare, progress=progress)
    print(f"{found.summary()}\n{args.output / 'report.html'}: open it in a browser")
