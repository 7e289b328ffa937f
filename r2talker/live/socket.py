"""A listener behind a WebSocket: words and sound in order, of pictures the newest, encoded when there is time for it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from r2talker.live.messages import HEADER, JPEG, KEY, OPUS, PICTURE, SOUND, Codec, encode
from r2talker.live.metrics import Metrics
from r2talker.live.session import Planned

MOST_WAITING = 100
"""Messages that may wait for a slow connection, 4 s of sound; then it is given up."""
MOST_SENDING = 8.0
"""Seconds that one message may take before the other side counts as dead."""


class Connection(Exception):  # noqa: N818
    """The other side does not take what is sent."""


class SocketSink:
    """A `Sink` that sends; `run` until cancelled. socket: of starlette, accepted. metrics: may be replaced by the listener's own."""

    def __init__(self, socket: Any, pool: ThreadPoolExecutor, metrics: Metrics) -> None:
        self._socket, self._pool, self.metrics = socket, pool, metrics
        self._waiting: asyncio.Queue[str | Planned] = asyncio.Queue(MOST_WAITING)
        self._newest: tuple[Planned, UInt8[np.ndarray, "side side 3"], float] | None = None
        self._came = asyncio.Event()
        self._sending = asyncio.Lock()
        self._given_up = asyncio.Event()
        self._encoder: Any = None
        self._sound_encoder: Any = None
        self.codec = Codec()

    def sound(self, planned: Planned) -> None:
        """See `Sink`."""
        self._put(planned)

    def word(self, message: Any) -> None:
        """See `Sink`."""
        self._put(encode(message))

    def picture(self, planned: Planned, rgb: UInt8[np.ndarray, "side side 3"]) -> None:
        """See `Sink`."""
        if self._newest is not None:
            self.metrics.count("pictures_dropped", reason="encoder or network too slow")
        self._newest = (planned, rgb, time.monotonic())
        self._came.set()

    def queues(self) -> dict[str, float]:
        """See `Sink`."""
        return {"messages_to_send": self._waiting.qsize(), "pictures_to_encode": float(self._newest is not None)}

    def choose_codec(self, codec: Codec) -> None:
        """From the next sound and picture on, which will need no other. PCM is sent where Opus is asked for and cannot be made."""
        from r2talker.media.stream import SoundEncoder, encodes_opus

        opus = codec.sound == "opus" and encodes_opus()
        self.codec, self._encoder = replace(codec, sound="opus" if opus else "pcm"), None
        self._sound_encoder = SoundEncoder() if opus else None

    async def run(self) -> None:
        """Send until cancelled; `Connection` when the other side does not take it."""
        tasks = [asyncio.create_task(work()) for work in (self._send_words, self._send_pictures, self._given_up.wait)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise Connection("too much waits for the connection")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _put(self, item: str | Planned) -> None:
        try:
            self._waiting.put_nowait(item)
        except asyncio.QueueFull:
            self._given_up.set()

    async def _send_words(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            item = await self._waiting.get()
            encoder = self._sound_encoder
            if isinstance(item, str):
                await self._send(item)
            elif encoder is None:
                await self._send(_sound_message(item, 0, item.sound.astype("<i2").tobytes()))
            else:
                await self._send(_sound_message(item, OPUS, await loop.run_in_executor(self._pool, encoder.encode, item.sound)))

    async def _send_pictures(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._came.wait()
            self._came.clear()
            taken, self._newest = self._newest, None
            if taken is not None:
                planned, rgb, came = taken
                packet, flags = await loop.run_in_executor(self._pool, self._encode, rgb)
                encoded = time.monotonic()
                height, width = rgb.shape[:2]
                await self._send(HEADER.pack(PICTURE, flags, width, height, 0, planned.number, planned.heard) + packet)
                self.metrics.spend("encode", encoded - came)
                self.metrics.spend("send", time.monotonic() - encoded)

    def _encode(self, rgb: UInt8[np.ndarray, "side side 3"]) -> tuple[bytes, int]:
        from r2talker.media.stream import PictureEncoder, encode_jpeg

        if self.codec.name == "jpeg":
            packet, flags = encode_jpeg(rgb), KEY | JPEG
        else:
            height, width = rgb.shape[:2]
            encoder = self._encoder
            if encoder is None or (encoder.width, encoder.height) != (width, height):
                encoder = self._encoder = PictureEncoder(width, height)
            packet, key = encoder.encode(rgb)
            flags = KEY if key else 0
        return packet, flags

    async def _send(self, item: str | bytes) -> None:
        async with self._sending:
            send = self._socket.send_text if isinstance(item, str) else self._socket.send_bytes
            # Not asyncio.wait_for: up to Python 3.11 it forgets a cancellation that comes together with the end of sending.
            alarm = asyncio.get_running_loop().call_later(MOST_SENDING, self._given_up.set)
            try:
                await send(item)
            finally:
                alarm.cancel()


def _sound_message(planned: Planned, flags: int, payload: bytes) -> bytes:
    return HEADER.pack(SOUND, flags, 0, 0, 0, planned.number, planned.heard) + payload
