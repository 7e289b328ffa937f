"""Settings of the server; imports nothing heavy, because the command line builds its help from them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeConfig:
    """Where the studio listens and what it grants."""

    host: str = "127.0.0.1"
    """Address to listen at; any but this machine's own needs a token."""
    port: int = 7860
    """Port to listen at; 0 takes a free one."""
    token: str = ""
    """Secret that pages and programs must show, at least 16 characters; the environment variable R2TALKER_TOKEN does the same."""
    origin: str = ""
    """Web address of a page elsewhere that may connect, such as https://example.org; by default only the studio's own page may."""
    wait: int = 1
    """Frames (40 ms each) after its own whose landmarks a picture waits for, 0 to 2; fewer is quicker, more is truer to a file."""
    sessions: int = 8
    """Listeners at once at most."""
    performers: int | None = None
    """Processes that move the avatars, so that listeners do not wait for each other; 0 does it on threads. By default none on a CPU, and
    beside a GPU one for four cores, at most 4."""
    session_minutes: float = 60.0
    """A listener is asked to come back after so many minutes."""
    body_megabytes: float = 32.0
    """Largest request body (sound, background picture)."""
    tts: str = "espeak-ng --stdin --stdout"
    """Command that reads text and writes a wav file, for saying text; not offered where the program is not installed."""
