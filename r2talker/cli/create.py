"""`r2talker create`: everything from a video to a talking avatar."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import METHOD_HELP, parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.ingest.config import IngestConfig
from r2talker.methods import DEFAULT
from r2talker.progress import Progress
from r2talker.train.config import TrainConfig


@dataclass(frozen=True)
class CreateArguments:
    """Make an avatar of a video in one go: ingest, landmark generator, head, lips, torso, evaluation; goes on where it stopped."""

    video: Annotated[Positional[Path], arg(metavar="VIDEO")]
    """The clip: 20 s to 5 min of one person, head and shoulders, still camera, with sound."""
    avatar: Annotated[Positional[Path], arg(metavar="AVATAR")]
    """Folder to make."""
    method: Annotated[str, arg(help=METHOD_HELP)] = DEFAULT
    dataset: Path | None = None
    """Dataset folder to make on the way; by default beside the avatar, with the suffix .dataset."""
    ingest: IngestConfig = field(default_factory=IngestConfig)
    motion_start: Path | None = None
    """File of `r2talker train-motion` from which the landmark generator starts."""
    train: TrainConfig = field(default_factory=TrainConfig)


def create(args: CreateArguments, progress: Progress) -> str:
    """Run the whole line; returns what to print."""
    from r2talker.cli.describe import describe_dataset, describe_scores
    from r2talker.ingest.pipeline import ingest
    from r2talker.train.motion_start import start_settings
    from r2talker.train.run import train_avatar

    motion = start_settings(args.motion_start)
    dataset = args.dataset or args.avatar.with_suffix(".dataset")
    info = ingest(args.video, dataset, args.ingest, progress)
    train_avatar(args.method, dataset, args.avatar, args.train, motion, progress)
    scores = describe_scores(args.avatar, dataset, args.train.device, progress)
    return "\n".join(
        [
            describe_dataset(dataset, info),
            f"{args.avatar} is ready: r2talker render {args.avatar}{' --audio speech.wav' if info.source.has_sound else ''} -o out.mp4",
            scores,
        ]
    )


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(CreateArguments, "create", arguments)
    with ProgressDisplay() as progress:
        text = create(args, progress)
    print(text)
