"""Running commands in this process and reading what they print; clips that something is wrong with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from r2talker.cli.main import run

BRIEF = ("--head-steps", "2", "--torso-steps", "2", "--rays", "64", "--device", "cpu")
"""Training that is over at once, where only the command's outside matters."""


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `r2talker ARGUMENTS`."""

    def go(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = run([str(argument) for argument in arguments])
        except SystemExit as leave:  # the argument parser's way
            code = int(leave.code or 0)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return go


@pytest.fixture
def refused(command: Command) -> Callable[..., str]:
    """Runs a command that must fail with one line for people; returns the line."""

    def go(*arguments: object, after_progress: bool = False) -> str:
        outcome = command(*arguments)
        assert outcome.code == 2, outcome
        assert outcome.out == ""
        assert "Traceback" not in outcome.err
        lines = outcome.err.splitlines()
        if not after_progress:
            assert len(lines) == 1, outcome.err
        assert lines[-1].startswith(f"r2talker {arguments[0]}: ")
        assert len(lines[-1]) > 40
        return lines[-1]

    return go


@pytest.fixture(scope="session")
def film(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a clip: `change(pictures)` edits the procedural clip's own, `sound(samples)` its sound (None: no sound track)."""
    from r2talker.media.read import read_audio, read_video
    from r2talker.media.write import VideoWriter

    folder = tmp_path_factory.mktemp("films")
    pictures, samples = list(read_video(clip)), read_audio(clip)

    def make(
        name: str,
        change: Callable[[list[np.ndarray]], list[np.ndarray]] = lambda pictures: pictures,
        sound: Callable[[np.ndarray], np.ndarray | None] = lambda samples: samples,
    ) -> Path:
        path, frames = folder / f"{name}.mp4", change(list(pictures))
        if not path.exists():
            height, width = frames[0].shape[:2]
            with VideoWriter(path, width=width, height=height, audio=sound(samples)) as writer:
                for picture in frames:
                    writer.write(picture)
        return path

    return make
