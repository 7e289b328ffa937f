"""`r2talker evaluate-motion`: how well sound moves the lips, on clips and on voices without a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay
from r2talker.errors import R2TalkerError

if TYPE_CHECKING:
    from r2talker.data.dataset import Dataset
    from r2talker.drive.motion import MotionModel
    from r2talker.progress import Progress


@dataclass(frozen=True)
class EvaluateMotionArguments:
    """Train a landmark generator on the first part of each dataset and measure it on the end, which it has not seen."""

    datasets: Positional[tuple[Path, ...]]
    """Dataset folders made by `r2talker ingest`."""
    avatar: Path | None = None
    """Measure this avatar's generator, on the held-out frames of the dataset that it was trained on, instead of training one."""
    held_seconds: float | None = None
    """Seconds at the end that are held out; by default the dataset's own held-out frames."""
    voices: tuple[Path, ...] = ()
    """Sound files of other people, to see whether the mouth follows their syllables and closes in their pauses."""
    motion_start: Path | None = None
    """Start from this file of `r2talker train-motion`."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(EvaluateMotionArguments, "evaluate-motion", arguments)
    if not args.datasets:
        raise R2TalkerError("give at least one dataset folder made by `r2talker ingest`")
    if args.avatar is not None and (len(args.datasets) > 1 or args.held_seconds is not None or args.motion_start is not None):
        raise R2TalkerError("an avatar is measured on the held-out frames of its own dataset: give one, and no other options")
    import torch

    from r2talker.data.dataset import read_dataset
    from r2talker.evaluate.motion import evaluate_voice
    from r2talker.evaluate.motion_report import describe_clip, describe_voice, evaluate_clip, held_out_part
    from r2talker.media.read import read_audio

    voices = [(path.stem, torch.from_numpy(read_audio(path))) for path in args.voices]
    for path in args.datasets:
        data = read_dataset(path)
        part = held_out_part(data, args.held_seconds)
        if len(part) < 50:
            raise R2TalkerError(f"{path} has {len(part) / 25:.1f} s held out, at least 2 are needed; give --held-seconds")
        with ProgressDisplay() as progress:
            model = _train(data, part.start, args.motion_start, progress) if args.avatar is None else _load(args.avatar)
        print(describe_clip(str(path), evaluate_clip(model, data, part)))
        for name, samples in voices:
            print(describe_voice(name, evaluate_voice(model, samples)))


def _train(data: "Dataset", frames: int, start: Path | None, progress: "Progress") -> "MotionModel":
    from r2talker.data.sound import read_pcm
    from r2talker.train.motion import train_motion
    from r2talker.train.motion_start import start_settings

    settings = start_settings(start)
    if not data.info.source.has_sound:
        raise R2TalkerError(f"{data.folder.root} has no sound; ingest a clip with sound")
    return train_motion(read_pcm(data.folder.audio), data.displacements, frames, settings, progress, eye=data.eye)


def _load(avatar: Path) -> "MotionModel":
    from r2talker.avatar import Avatar

    motion = Avatar.load(avatar, device="cpu").motion
    if motion is None:
        raise R2TalkerError(f"{avatar} has no landmark generator to measure; give an avatar that is driven by landmarks")
    return motion
