"""Listeners of a studio, in a process of their own: `python -m benchmarks.live_listeners PORT` (see `benchmarks.live_load`).

Each opens /v1/stream as the page does, sends a microphone's sound in pieces of 8 ms in real time, and decodes the pictures. A
picture's delay is counted from when the middle of its frame's sound was sent to when it was decoded. Needs websockets, NumPy and PyAV.
"""

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from r2talker.live.messages import HEADER, PICTURE, SOUND

RATE, PIECE, FRAME = 16000, 128, 640


@dataclass
class Heard:
    """What came of one session: delays in milliseconds of pictures decoded, frames of sound, pictures dropped by the server."""

    side: int = 0
    look_ahead: float = 0.0
    delays: list[float] = field(default_factory=list)
    frames: int = 0
    dropped: int = 0
    kilobits: float = 0.0


class Listener:
    """One session."""

    def __init__(self, socket: ClientConnection, seed: int) -> None:
        self.socket, self.heard = socket, Heard()
        self._rng = np.random.default_rng(seed)
        self._sent: list[float] = []
        self._decoder: Any = None
        self._dropped_before = 0

    async def greet(self, size: int) -> None:
        """Ask for pictures of that side and open the microphone."""
        welcome = json.loads(await self.socket.recv())
        self.heard.look_ahead = welcome["look_ahead"]
        await self.socket.send(
            json.dumps({"type": "look", "size": size, "max_steps": welcome["max_steps"], "aabb": welcome["aabb"]})
        )
        await self.socket.send(json.dumps({"type": "microphone", "open": True}))

    async def speak(self) -> None:
        """Noise as loud as speech and in words of half a second, until cancelled."""
        due = time.monotonic()
        while True:
            loud = 3000 if len(self._sent) // 60 % 2 else 100
            await self.socket.send(self._rng.integers(-loud, loud, PIECE).astype("<i2").tobytes())
            self._sent.append(time.monotonic())
            due += PIECE / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def listen(self) -> None:
        """Take what comes, until cancelled."""
        while True:
            message = await self.socket.recv()
            if isinstance(message, str):
                word = json.loads(message)
                self.heard.dropped = word["dropped"] - self._dropped_before if word["type"] == "report" else self.heard.dropped
                continue
            kind, _, width, _, _, _, first = HEADER.unpack_from(message)
            self.heard.frames += kind == SOUND
            if kind == PICTURE:
                self.heard.side = width
                self.heard.kilobits += len(message) * 8e-3
                await asyncio.to_thread(self._decode, message[HEADER.size :])
                self._measure(first)

    def begin(self) -> None:
        """Count from here on."""
        known = self.heard
        self._dropped_before += known.dropped
        self.heard = Heard(known.side, known.look_ahead)

    def _decode(self, packet: bytes) -> None:
        import av

        if self._decoder is None:
            self._decoder = av.CodecContext.create("h264", "r")
            self._decoder.thread_count = 1
        self._decoder.decode(av.Packet(packet))

    def _measure(self, first: int) -> None:
        place = (first + FRAME // 2) // PIECE
        if first >= 0 and place < len(self._sent):
            ago = ((place + 1) * PIECE - first - FRAME // 2) / RATE
            self.heard.delays.append((time.monotonic() - self._sent[place] + ago) * 1000)


async def attend(port: int, sessions: int, size: int, settle: float, seconds: float) -> list[Heard]:
    """Let so many speak; says `begun` and `ended` on the way."""
    address = f"ws://127.0.0.1:{port}/v1/stream?codec=h264"
    listeners = [Listener(await connect(address, compression=None, max_size=None), seed) for seed in range(sessions)]
    for listener in listeners:
        await listener.greet(size)
    tasks = [asyncio.create_task(work) for one in listeners for work in (one.speak(), one.listen())]
    await asyncio.sleep(settle)
    for listener in listeners:
        listener.begin()
    print("begun", flush=True)
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    print("ended", flush=True)
    for task in [*done, *tasks]:
        task.cancel()
    faults = [fault for fault in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(fault, Exception)]
    for listener in listeners:
        await listener.socket.close()
    if faults:
        raise faults[0]
    return [listener.heard for listener in listeners]


def main() -> None:
    """Print what came of every session, as JSON, last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--settle", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    heard = asyncio.run(attend(args.port, args.sessions, args.size, args.settle, args.seconds))
    print(json.dumps([asdict(one) for one in heard]))


if __name__ == "__main__":
    main()
