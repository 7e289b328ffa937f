"""Dispatches `r2talker VERB ...`; imports only the verb that is asked for, so that help is quick."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from r2talker import __version__
from r2talker.errors import R2TalkerError

VERBS = {
    "create": "make an avatar of a video: ingest, train, landmark generator, evaluation",
    "ingest": "turn a video into a dataset folder",
    "train": "train an avatar from a dataset folder",
    "render": "let an avatar speak a sound file, into an mp4",
    "serve": "open a studio in the browser where an avatar speaks what it hears",
    "evaluate": "measure an avatar, and videos beside it, on the held-out frames of a dataset",
    "compare": "measure videos of any origin against a dataset or another video",
    "train-motion": "teach the landmark generator's hearing on several people's datasets",
    "evaluate-motion": "measure the landmark generator on held-out ends and foreign voices",
    "features": "write the audio features of the original tools: wav2vec2, HuBERT, DeepSpeech",
    "import": "make an avatar of a checkpoint of the original implementations",
    "export": "write an avatar as a checkpoint of the original implementations",
    "info": "say what an avatar or a dataset holds",
    "convert-bfm": "convert the Basel Face Model, for people who own it",
    "track-bfm": "track the head of a dataset with the Basel Face Model",
    "demo": "do all of it on a procedural person, without input or network",
}

# Big temporaries come from the heap and stay there instead of being mapped and unmapped each time, which on Linux makes CPU
# training up to several times faster; OpenMP's threads sleep at barriers instead of spinning, without which one other busy
# process slows training tenfold. The threads of NumPy's own matrix library spin likewise; it has small matrices only. All are
# read when the process starts.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "OMP_WAIT_POLICY": "passive",
    "OPENBLAS_NUM_THREADS": "1",
}


def usage() -> str:
    """The text of `r2talker --help`."""
    lines = [f"  {verb:<15} {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            f"r2talker {__version__}: a video of a person becomes an avatar that speaks any sound",
            "",
            "usage: r2talker VERB ...        r2talker VERB --help says units and defaults",
            "",
            *lines,
        ]
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code (2 for an error that the user can mend, 130 when interrupted)."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(__version__)
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"r2talker: there is no command {verb!r}; choose one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        import_module(f"r2talker.cli.{verb.replace('-', '_')}").main(rest)
    except R2TalkerError as error:
        print(f"r2talker {verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        # The package runs in parts on machines that lack the rest, such as a GPU machine without media libraries.
        if error.name is None or error.name.partition(".")[0] == "r2talker":
            raise
        missing = f"this needs the package {error.name!r}, which is not installed here"
        print(f"r2talker {verb}: {missing}; `pip install r2talker` brings everything", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"r2talker {verb}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def main() -> None:
    """Entry point of the `r2talker` command."""
    # OpenCV announces an unreadable picture itself, before the error that says what to do.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    helping = any(argument in ("-h", "--help", "-V", "--version") for argument in sys.argv[1:])
    missing = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    if len(sys.argv) > 1 and not helping and sys.platform == "linux" and missing:
        os.environ.update(missing)
        os.execv(sys.executable, [sys.executable, "-m", "r2talker", *sys.argv[1:]])
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        code = 1
    sys.exit(code)


def _reader_is_gone() -> bool:
    """Whether nobody reads what is printed any more, as after `| head`; then nothing more is said, not even at the end."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
