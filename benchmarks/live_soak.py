"""Listeners that come and die at random, and what they leave: `python -m benchmarks.live_soak AVATAR --seconds 60`.

Ten at a time open a session, look, speak, record, say a file, change the codec or the avatar, and go: politely, or by cutting the
connection. Printed for every round: sessions, threads, open files and sockets, resident memory, and session objects still alive.
"""

import argparse
import gc
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from benchmarks.environment import restart_as
from r2talker.live.config import ServeConfig
from r2talker.live.library import Library
from r2talker.live.listener import Listener
from r2talker.live.performer import Performer
from r2talker.live.room import Room
from r2talker.live.server import make_server_app
from r2talker.live.session import Session
from r2talker.live.socket import SocketSink
from r2talker.live.web import WebServer

CLIENTS = 10
ALIVE = (Listener, Performer, Session, SocketSink)


@dataclass(frozen=True)
class Left:
    """What is there between rounds. files: open files and sockets. alive: objects of sessions."""

    threads: frozenset[str]
    files: int
    megabytes: float
    alive: dict[str, int]


def soak(port: int, seconds: float, seed: int, clients: int = CLIENTS) -> int:
    """Come and go for so long; returns how many sessions there were."""
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(clients, thread_name_prefix="soak") as pool:
        return sum(pool.map(lambda number: _come_and_go(port, end, np.random.default_rng([seed, number])), range(clients)))


def _come_and_go(port: int, end: float, rng: np.random.Generator) -> int:
    count = 0
    while time.monotonic() < end:
        codec, sound = rng.choice(["h264", "jpeg"]), rng.choice(["pcm", "opus"])
        # A full room, or a connection that was cut, is part of it.
        with suppress(OSError, WebSocketException, TimeoutError):
            with connect(f"ws://127.0.0.1:{port}/v1/stream?codec={codec}&sound={sound}", compression=None) as stream:
                _visit(stream, rng)
                if rng.random() < 0.5:
                    stream.socket.shutdown(socket.SHUT_RDWR)
            count += 1
    return count


def _visit(stream: ClientConnection, rng: np.random.Generator) -> None:
    welcome = json.loads(stream.recv(timeout=20))
    wishes: list[dict[str, object] | bytes] = [
        {"type": "microphone", "open": True}, bytes(6400), {"type": "record", "on": True}, {"type": "record", "on": False},
        {"type": "look", "yaw": 10.0}, {"type": "look", "max_spp": 4}, {"type": "interrupt"}, {"type": "blink"},
        {"type": "codec", "name": "jpeg", "sound": "opus"}, {"type": "switch", "avatar": welcome["avatar"]}, b"odd", {"type": "nonsense"},
    ]  # fmt: skip
    for place in rng.permutation(len(wishes))[: rng.integers(0, 6)]:
        wish = wishes[place]
        stream.send(wish if isinstance(wish, bytes) else json.dumps(wish))
        until = time.monotonic() + float(rng.random()) * 0.4
        while (left := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                stream.recv(timeout=left)


def look_round(room: Room) -> Left:
    """What is there once nobody is."""
    deadline = time.monotonic() + 20
    while room.listeners and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    gc.collect()
    alive = {kind.__name__: sum(type(one) is kind for one in gc.get_objects()) for kind in ALIVE}
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    names = frozenset(thread.name for thread in threading.enumerate())
    return Left(names, len(list(Path("/proc/self/fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE") / 1e6, alive)


def main() -> None:
    """Print what is left after every round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    config = ServeConfig(port=0)
    app = make_server_app(Library(args.avatar), config)
    server = WebServer(app, config)
    server.start()
    try:
        soak(server.port, 3.0, 0)
        for number in range(args.rounds + 1):
            count = soak(server.port, args.seconds, number) if number else 0
            left = look_round(app.state.room)
            alive = ", ".join(f"{name} {amount}" for name, amount in left.alive.items())
            print(
                f"{count} sessions: {len(left.threads)} threads, {left.files} files, {left.megabytes:.0f} MB; {alive}",
                flush=True,
            )
    finally:
        server.stop()


if __name__ == "__main__":
    restart_as("benchmarks.live_soak")
    main()
