"""What the commands say about themselves, and how they end."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest

import r2talker
from r2talker.cli.main import VERBS, run, usage
from r2talker.drive.config import Smoothing
from r2talker.errors import R2TalkerError
from r2talker.ingest.config import IngestConfig
from r2talker.train.config import SamplingConfig, TrainConfig
from tests.cli.conftest import Command

UNITS = {
    "create": ("pixels", "s to 5 min", "Seconds between checkpoints", "Rays per step"),
    "ingest": ("Side of the square pictures, pixels", "Focal length in pixels", "first so many seconds"),
    "train": ("pixels", "Seconds between preview pictures", "Share of rays", "range [-1, 1]"),
    "render": ("25 frames per second", "pixels", "percent of the picture", "R,G,B of 0 to 255", "(T, 68, 3)", "(T, 16, K)"),
    "serve": ("25 pictures per second", "needs a token", "minutes", "Largest request body", "writes a wav file"),
    "evaluate": ("held-out", "report.html, readings.json, frames.csv", "frame's number"),
    "compare": ("scaled to the truth's size", "Folder for the report", "linear weights of LPIPS 0.1"),
    "features": ("(T, 16, K)", "50 Hz", "output_graph.pb"),
    "train-motion": ("Dataset folders", "Stop after this many seconds"),
    "evaluate-motion": ("Seconds at the end", "held-out frames"),
    "import": ("latest or best", "transforms_*.json", "(T, 68, 3)"),
    "export": (".pth",),
    "info": ("Avatar or dataset folder",),
    "convert-bfm": ("01_MorphableModel.mat", "about 120 MB"),
    "track-bfm": ("Focal length in pixels", "Side in pixels"),
    "demo": ("minutes on two CPU cores",),
}


def flat(text: str) -> str:
    """Without the boxes and line breaks of the help."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_units_and_defaults(command: Command, verb: str) -> None:
    outcome = command(verb, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    text = flat(outcome.out)
    assert f"usage: r2talker {verb}" in text
    for words in UNITS[verb]:
        assert words in text
    # Every option says whether it must be given or what holds without it.
    options = re.findall(r"(?:^|\n)│ (--[\w-]+|-o)", outcome.out)
    assert text.count("(default: ") + text.count("(required)") >= len(options)


@pytest.mark.parametrize(
    ("verb", "settings"),
    [
        ("create", IngestConfig),
        ("create", TrainConfig),
        ("ingest", IngestConfig),
        ("train", TrainConfig),
        ("train", SamplingConfig),
        ("render", Smoothing),
    ],
)
def test_every_setting_is_an_option_with_its_default(command: Command, verb: str, settings: type) -> None:
    text = flat(command(verb, "--help").out)
    for field in fields(settings):
        name = field.name.replace("_", "-")
        # What is on is switched off.
        option = f"--no-{name}" if field.default is True else f"--{name}"
        if field.name == "sampling":
            continue
        assert option in text
        described = text.split(f" {option} ", 1)[1].split(" --", 1)[0]
        assert f"(default: {field.default})" in described


def test_the_overview_names_every_command(command: Command) -> None:
    for arguments in ((), ("--help",), ("-h",), ("help",)):
        outcome = command(*arguments)
        assert (outcome.code, outcome.out, outcome.err) == (0, usage() + "\n", "")
    for verb, text in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(text)}$", usage(), re.MULTILINE)
        assert callable(import_module(f"r2talker.cli.{verb.replace('-', '_')}").main)


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version(command: Command, flag: str) -> None:
    assert command(flag).out.strip() == r2talker.__version__


def test_an_unknown_command(command: Command) -> None:
    outcome = command("sing", "song.wav")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"r2talker: there is no command 'sing'; choose one of {', '.join(VERBS)}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("render",),
        ("render", "a.avatar"),
        ("train", "r2talker"),
        ("ingest", "a.mp4", "b", "--size", "big"),
        ("info", "a", "--colour"),
    ],
)
def test_wrong_arguments(command: Command, arguments: tuple[str, ...]) -> None:
    outcome = command(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Traceback" not in outcome.err
    assert f"r2talker {arguments[0]}" in outcome.err


def test_ctrl_c(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("r2talker.cli.info.main", stop)
    outcome = command("info", "a.avatar")
    assert outcome.code == 130
    assert outcome.err == "r2talker info: stopped; the same command goes on from here\n"


def test_errors_are_one_line_whatever_their_text(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise R2TalkerError("the file\nis   broken;\tmend it")

    monkeypatch.setattr("r2talker.cli.info.main", fail)
    outcome = command("info", "a.avatar")
    assert (outcome.code, outcome.err) == (2, "r2talker info: the file is broken; mend it\n")


def test_mistakes_of_the_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("r2talker.cli.info.main", fail)
    with pytest.raises(ZeroDivisionError):
        run(["info", "a.avatar"])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_a_reader_who_has_seen_enough(arguments: list[str]) -> None:
    """As in `r2talker --help | head -1`: whoever reads may stop before the end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = subprocess.run([sys.executable, "-m", "r2talker", *arguments], stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "")
