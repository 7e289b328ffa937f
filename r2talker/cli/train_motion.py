"""`r2talker train-motion`: other people's datasets teach the landmark generator to hear."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.errors import R2TalkerError


@dataclass(frozen=True)
class TrainMotionArguments:
    """Train the hearing layers of the landmark generator on several datasets; `create` and `train` start from the file."""

    datasets: Positional[tuple[Path, ...]]
    """Dataset folders made by `r2talker ingest`, one or more people, each with sound."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("motion.safetensors")
    """File to write; give it to `create` or `train` as --motion-start."""
    steps: int = 1000
    """Training steps over all datasets together."""
    seconds: float = 600.0
    """Stop after this many seconds."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(TrainMotionArguments, "train-motion", arguments)
    if not args.datasets:
        raise R2TalkerError("give at least one dataset folder made by `r2talker ingest`")
    if args.steps < 1 or args.seconds <= 0:
        raise R2TalkerError(f"steps and seconds must be positive, got {args.steps} and {args.seconds:g}")
    from r2talker.data.dataset import read_dataset
    from r2talker.data.sound import read_pcm
    from r2talker.train.motion_config import MotionTrainingConfig
    from r2talker.train.motion_pretrain import PersonClip, pretrain_motion
    from r2talker.train.motion_start import write_start

    clips = []
    for path in args.datasets:
        data = read_dataset(path)
        if not data.info.source.has_sound:
            raise R2TalkerError(f"{path} has no sound to learn from; leave it out")
        clips.append(PersonClip(read_pcm(data.folder.audio), data.displacements[: len(data.train)]))
    with ProgressDisplay() as progress:
        start = pretrain_motion(clips, MotionTrainingConfig(steps=args.steps, seconds=args.seconds), progress)
    write_start(args.output, start)
    print(f"wrote {args.output}, hearing layers from {start.people} clips")
