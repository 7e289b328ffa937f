"""Text to sound through a program that the user chose."""

import shlex
import shutil
import subprocess

import numpy as np
from jaxtyping import Int16

from r2talker.errors import R2TalkerError

LONGEST_TEXT = 2000
TIMEOUT = 30.0
_SHOWN = 200


def can_speak(command: str) -> bool:
    """Whether the program of a command is installed."""
    parts = shlex.split(command)
    return bool(parts) and shutil.which(parts[0]) is not None


def speak_text(command: str, text: str) -> Int16[np.ndarray, " samples"]:
    """Sound of a text: `command` reads it from standard input and writes a sound file to standard output.

    R2TalkerError when there is no such program, or it fails, takes more than 30 s, or writes no sound.
    """
    if not text.strip() or len(text) > LONGEST_TEXT:
        raise R2TalkerError(f"the text must have 1 to {LONGEST_TEXT} characters, got {len(text)}")
    if not can_speak(command):
        raise R2TalkerError(f"{command.split(' ')[0]!r} is not installed here; install it, or give another --tts")
    try:
        done = subprocess.run(shlex.split(command), input=text.encode(), capture_output=True, timeout=TIMEOUT, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise R2TalkerError(f"{command!r} did not answer ({type(error).__name__}); try a shorter text") from error
    if done.returncode:
        end = done.stderr.decode(errors="replace").strip()[-_SHOWN:]
        raise R2TalkerError(f"{command!r} failed with code {done.returncode}: {end or 'it said nothing'}")
    return read_sound(done.stdout)


def read_sound(content: bytes) -> Int16[np.ndarray, " samples"]:
    """A sound file's content as 16 kHz mono 16-bit samples; R2TalkerError for anything else."""
    from r2talker.media.stream import decode_sound

    return (decode_sound(content) * 32767).round().astype(np.int16)
