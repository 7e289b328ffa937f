"""`r2talker demo`: the whole line on a procedural person."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.cli.create import CreateArguments, create
from r2talker.cli.progress import ProgressDisplay
from r2talker.ingest.config import IngestConfig
from r2talker.subject.config import SubjectConfig
from r2talker.train.config import TrainConfig

SPEECH_SECONDS = 4.0
SPEECH_SEED = 1000


@dataclass(frozen=True)
class DemoArguments:
    """Make a procedural talking person, turn its video into an avatar, and let that speak words it has never heard.

    Needs no input and no network; about two minutes on two CPU cores.
    """

    folder: Positional[Path] = Path("r2talker-demo")
    """Where everything goes."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(DemoArguments, "demo", arguments)
    from r2talker.avatar import Avatar
    from r2talker.subject.make import make_subject
    from r2talker.subject.voice import synthesise_speech

    begun = time.monotonic()
    subject = SubjectConfig()
    avatar = args.folder / "demo.avatar"
    with ProgressDisplay() as progress:
        make_subject(args.folder, subject, progress)
        line = CreateArguments(
            video=args.folder / "subject.mp4",
            avatar=avatar,
            ingest=IngestConfig(size=128),
            train=TrainConfig(head_steps=1800, torso_steps=500),
        )
        text = create(line, progress)
        speech = synthesise_speech(SPEECH_SECONDS, SPEECH_SEED)
        Avatar.load(avatar).render_video(args.folder / "demo.mp4", audio=speech.samples, progress=progress)
    print(text)
    print(f"{args.folder / 'demo.mp4'}: the avatar speaks new words; the person it was made of: {args.folder / 'subject.mp4'}")
    print(f"all of it took {time.monotonic() - begun:.0f} s")
