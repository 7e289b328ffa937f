"""`r2talker train`: a dataset becomes an avatar."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import METHOD_HELP, parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.errors import R2TalkerError
from r2talker.train.config import TrainConfig

if TYPE_CHECKING:
    from r2talker.train.phase import Watcher


@dataclass(frozen=True)
class TrainArguments:
    """Train an avatar: landmark generator, head, lips, torso; an interrupted run goes on where it stopped.

    With several GPUs: torchrun --nproc-per-node 2 -m r2talker train METHOD DATASET AVATAR.
    """

    method: Annotated[Positional[str], arg(help=METHOD_HELP, metavar="METHOD")]
    dataset: Annotated[Positional[Path], arg(metavar="DATASET")]
    """Dataset folder made by `r2talker ingest`, or by a tool of this family."""
    avatar: Annotated[Positional[Path], arg(metavar="AVATAR")]
    """Folder to make."""
    motion_start: Path | None = None
    """File of `r2talker train-motion` from which the landmark generator starts."""
    live: bool = False
    """Show the run in a browser at http://127.0.0.1:7860: picture from any side, curve, pause, resume, save, reset."""
    train: TrainConfig = field(default_factory=TrainConfig)


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(TrainArguments, "train", arguments)
    from r2talker.cli.describe import describe_scores
    from r2talker.progress import Silent
    from r2talker.train.motion_start import start_settings
    from r2talker.train.parallel import joined_team
    from r2talker.train.run import train_avatar

    motion = start_settings(args.motion_start)
    with ExitStack() as stack:
        team = stack.enter_context(joined_team(args.train.device))
        if args.live and team.size > 1:
            raise R2TalkerError(
                "--live shows, pauses and resets a run of one process; leave it out where several train together"
            )
        watcher = stack.enter_context(_page(args.avatar.name)) if args.live else None
        progress = stack.enter_context(ProgressDisplay()) if team.leads else Silent()
        report = train_avatar(args.method, args.dataset, args.avatar, args.train, motion, progress, watcher, team)
        if not team.leads:
            return
        scores = describe_scores(args.avatar, args.dataset, args.train.device, progress)
    state = "is finished already" if report.current else f"trained in {report.seconds:.0f} s"
    print(f"{args.avatar} {state}\n{scores}")


@contextmanager
def _page(name: str) -> "Iterator[Watcher]":
    """A page that shows the run while the block runs."""
    from r2talker.live.config import ServeConfig
    from r2talker.live.training import watch_training

    with watch_training(name, ServeConfig(), loss="psnr") as (watch, address):
        print(f"watch it at {address}", flush=True)
        yield watch
