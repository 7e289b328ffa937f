"""`r2talker evaluate`: readings and a report on the held-out frames."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.evaluate.config import CompareConfig


@dataclass(frozen=True)
class EvaluateArguments:
    """Measure an avatar, and videos beside it, on the held-out end of a dataset: report.html, readings.json, frames.csv."""

    avatar: Annotated[Positional[Path], arg(metavar="AVATAR")]
    """Avatar folder."""
    dataset: Annotated[Positional[Path], arg(metavar="DATASET")]
    """The dataset that it was trained on."""
    videos: tuple[Path, ...] = ()
    """Videos of the same frames, or folders of pictures named by their frame's number, to score beside it."""
    output: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Folder for the report; by default `evaluation` in the avatar's."""
    film: Path | None = None
    """Write the rendered held-out pictures into this folder, to score them elsewhere by `r2talker compare`."""
    compare: CompareConfig = field(default_factory=CompareConfig)


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(EvaluateArguments, "evaluate", arguments)
    from r2talker.evaluate.run import compare_avatar

    output = args.output or args.avatar / "evaluation"
    with ProgressDisplay() as progress:
        found = compare_avatar(args.avatar, args.dataset, args.videos, output, args.compare, film=args.film, progress=progress)
    print(f"{found.summary()}\n{output / 'report.html'}: open it in a browser")
