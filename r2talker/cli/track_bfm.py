"""`r2talker track-bfm`: head poses by the Basel Face Model, in the files of the original tools."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.ingest.morphable.config import MorphableConfig


@dataclass(frozen=True)
class TrackBfmArguments:
    """Track the head of a dataset with a face model of `r2talker convert-bfm`; writes track_params.pt and transforms_*.json."""

    dataset: Positional[Path]
    """Dataset folder, ours or another tool's."""
    model: Positional[Path]
    """File that `r2talker convert-bfm` wrote."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder to write into; by default `bfm` inside the dataset."""
    fit: MorphableConfig = field(default_factory=MorphableConfig)


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(TrackBfmArguments, "track-bfm", arguments)
    from r2talker.ingest.morphable.track import track_dataset

    output = args.output or args.dataset / "bfm"
    with ProgressDisplay() as progress:
        params = track_dataset(args.dataset, args.model, output, args.fit, progress)
    print(f"{output}: head poses of {len(params.euler)} frames, focal length {params.focal:g} px")
