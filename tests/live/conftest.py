"""A real server on loopback, and somebody who talks to it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from r2talker.live.config import ServeConfig
from r2talker.live.library import Library
from r2talker.live.messages import HEADER, SOUND
from r2talker.live.server import make_server_app
from r2talker.live.web import WebServer
from tests.live.chromium import PROGRAM, Page, browser

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs chromium (Debian's package) on the PATH")


@dataclass(frozen=True)
class Answer:
    """What a request came back with."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Somebody who knows where the server is."""

    def __init__(self, port: int, room: Any) -> None:
        self.port, self.room = port, room

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())

    def stream(self, query: str = "codec=jpeg", **headers: str) -> "Stream":
        return Stream(f"ws://127.0.0.1:{self.port}/v1/stream?{query}", headers)


@dataclass
class Piece:
    """One binary message."""

    kind: int
    flags: int
    width: int
    height: int
    number: int
    heard: int
    payload: bytes
    at: float


class Stream:
    """One session; remembers everything that came."""

    def __init__(self, address: str, headers: dict[str, str]) -> None:
        self._stack = ExitStack()
        self.socket: ClientConnection = self._stack.enter_context(
            connect(address, additional_headers=headers, compression=None)
        )
        self.words: list[dict[str, Any]] = []
        self.pieces: list[Piece] = []

    def __enter__(self) -> "Stream":
        self.welcome = self.word("welcome")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def receive(self, timeout: float = 10.0) -> dict[str, Any] | Piece:
        message = self.socket.recv(timeout=timeout)
        if isinstance(message, str):
            word: dict[str, Any] = json.loads(message)
            self.words.append(word)
            return word
        kind, flags, width, height, _, number, heard = HEADER.unpack_from(message)
        piece = Piece(kind, flags, width, height, number, heard, message[HEADER.size :], time.monotonic())
        self.pieces.append(piece)
        return piece

    def word(self, kind: str, seconds: float = 20.0) -> dict[str, Any]:
        """The next message of a type."""
        return self.until(lambda got: isinstance(got, dict) and got["type"] == kind, seconds)  # type: ignore[return-value]

    def until(self, wanted: Callable[[Any], bool], seconds: float = 20.0) -> Any:
        """The next message that is wanted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if wanted(got := self.receive(deadline - time.monotonic())):
                return got
        raise AssertionError("it did not come in time")

    def listen(self, seconds: float) -> None:
        """Take what comes for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self.receive(left)
            except TimeoutError:
                return

    def say(self, message: str, /, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": message, **fields}))

    def sound(self) -> np.ndarray:
        """All sound that came."""
        parts = [np.frombuffer(piece.payload, "<i2") for piece in self.pieces if piece.kind == SOUND]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)


@pytest.fixture(scope="session")
def serve(trained: Callable[[str], Path]) -> Iterator[Callable[..., Client]]:
    """Starts servers of the scarcely trained avatar, or of a folder; they end with the tests."""
    running: list[WebServer] = []

    def start(folder: Path | None = None, **settings: Any) -> Client:
        config = ServeConfig(port=0, **settings)
        app = make_server_app(Library(folder or trained("r2talker"), device="cpu"), config)
        server = WebServer(app, config)
        server.start()
        running.append(server)
        return Client(server.port, app.state.room)

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def client(serve: Callable[..., Client]) -> Client:
    """A server with the usual settings, three sessions and small bodies."""
    return serve(sessions=3, body_megabytes=1.0, tts="cat")


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A procedural voice that speaks for four seconds."""
    from r2talker.media.write import write_wav
    from r2talker.subject.voice import synthesise_speech

    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    write_wav(path, synthesise_speech(4.0, 3).samples)
    return path


@pytest.fixture(scope="package")
def page(
    voice: Path, serve: Callable[..., Client], trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The studio of two avatars, loaded and showing pictures; its microphone hears the voice, and every text is spoken by it.

    It ends with the tests of this folder: a studio that is open draws all the time.
    """
    folder = tmp_path_factory.mktemp("two")
    for name in ("first.avatar", "second.avatar"):
        shutil.copytree(trained("r2talker"), folder / name)
    with browser(microphone=voice) as page:
        page.size(1280, 900)
        page.open(f"http://127.0.0.1:{serve(folder, tts=f'cat {voice}').port}/")
        page.wait("window.studio && studio.player.lastNumber > 3", 60)
        yield page


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test finds the server without listeners, and leaves it so."""
    yield
    if "client" in request.fixturenames:
        room = request.getfixturevalue("client").room
        deadline = time.monotonic() + 15
        while room.listeners and time.monotonic() < deadline:
            time.sleep(0.02)
        assert room.listeners == {}


def wav_bytes(samples: np.ndarray, rate: int = 16000) -> bytes:
    """Samples as the content of a wav file."""
    import io

    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
