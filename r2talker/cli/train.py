"""`r2talker train`: a dataset becomes an avatar."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import METHOD_HELP, parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.train.config import TrainConfig


@dataclass(frozen=True)
class TrainArguments:
    """Train an avatar: head, torso, landmark generator; an interrupted run goes on where it stopped."""

    method: Annotated[Positional[str], arg(help=METHOD_HELP)]
    dataset: Positional[Path]
    """Dataset folder made by `r2talker ingest`."""
    avatar: Positional[Path]
    """Folder to make."""
    motion_start: Path | None = None
    """File of `r2talker train-motion` from which the landmark generator starts."""
    train: TrainConfig = field(default_factory=TrainConfig)


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(TrainArguments, "train", arguments)
    from r2talker.evaluate.held_out import evaluate_avatar
    from r2talker.train.motion_start import start_settings
    from r2talker.train.run import train_avatar

    motion = start_settings(args.motion_start)
    with ProgressDisplay() as progress:
        report = train_avatar(args.method, args.dataset, args.avatar, args.train, motion, progress)
        scores = evaluate_avatar(args.avatar, args.dataset, progress=progress)
    state = "is finished already" if report.current else f"trained in {report.seconds:.0f} s"
    print(f"{args.avatar} {state}\n{scores.summary()}")
