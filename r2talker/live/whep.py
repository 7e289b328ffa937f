"""WebRTC for players elsewhere: WHEP (draft-ietf-wish-whep), by aiortc, an optional package.

A player posts its offer and gets an answer; `DELETE` on the resource ends it. What the avatar says comes through /v1/say with the
session's name, which is the last part of the resource's path.
"""

import asyncio
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from jaxtyping import UInt8

from r2talker.errors import R2TalkerError
from r2talker.live.listener import Listener
from r2talker.live.room import Room
from r2talker.live.session import FRAME_SAMPLES, RATE, Planned
from r2talker.media.stream import sound_frame, video_frame

MOST_WAITING = 25
"""Frames of sound that may wait for the connection."""
CONNECTING_SECONDS = 10.0


class _Sound(MediaStreamTrack):
    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.queue: asyncio.Queue[Planned] = asyncio.Queue(MOST_WAITING)

    async def recv(self) -> Any:
        if self.readyState != "live":
            raise MediaStreamError
        planned = await self.queue.get()
        return sound_frame(planned.sound, RATE, planned.number * FRAME_SAMPLES)


class _Pictures(MediaStreamTrack):
    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self.newest: asyncio.Queue[tuple[Planned, UInt8[np.ndarray, "side side 3"]]] = asyncio.Queue(1)

    async def recv(self) -> Any:
        if self.readyState != "live":
            raise MediaStreamError
        planned, rgb = await self.newest.get()
        frame = await asyncio.get_running_loop().run_in_executor(None, video_frame, rgb)
        frame.pts = planned.number
        return frame


class PlayerSink:
    """A `Sink` that plays into two tracks; both carry the time of the session, so that players keep them in step."""

    def __init__(self) -> None:
        self.tracks = (_Sound(), _Pictures())
        self.missed = 0

    def sound(self, planned: Planned) -> None:
        """See `Sink`."""
        queue = self.tracks[0].queue
        if queue.full():
            queue.get_nowait()
            self.missed += 1
        queue.put_nowait(planned)

    def picture(self, planned: Planned, rgb: UInt8[np.ndarray, "side side 3"]) -> None:
        """See `Sink`."""
        newest = self.tracks[1].newest
        if newest.full():
            newest.get_nowait()
        newest.put_nowait((planned, rgb))

    def word(self, message: Any) -> None:
        """Players do not read."""

    def queues(self) -> dict[str, float]:
        """See `Sink`."""
        return {"sound_to_send": float(self.tracks[0].queue.qsize())}


class Players:
    """The players that are connected."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._connections: dict[str, tuple[RTCPeerConnection, Listener, asyncio.Task[None]]] = {}

    async def offer(self, sdp: str, avatar: str) -> tuple[str, str]:
        """Answer an offer: the session's name and the answer's SDP. R2TalkerError for what is no offer, or when the room is full."""
        sink = PlayerSink()
        listener = await self._room.enter(avatar, sink)
        # No server elsewhere is asked for addresses: nothing leaves the machine but to the player.
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        try:
            await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            kinds = {one.kind for one in connection.getTransceivers()}
            if not kinds:
                raise ValueError("it asks for nothing")
            for track in sink.tracks:
                if track.kind in kinds:
                    connection.addTrack(track)
            await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:
            # The parser of descriptions raises whatever the text provokes.
            self._room.leave(listener)
            await connection.close()
            raise R2TalkerError(f"this is not an SDP offer that can be answered ({type(error).__name__})") from error
        task = asyncio.create_task(self._attend(listener.name, connection, listener))
        self._connections[listener.name] = (connection, listener, task)
        return listener.name, connection.localDescription.sdp

    async def end(self, session: str) -> bool:
        """Let a player go; whether there was one of that name."""
        found = self._connections.get(session)
        if found is not None:
            found[2].cancel()
            await asyncio.gather(found[2], return_exceptions=True)
        return found is not None

    async def close(self) -> None:
        """Let all go."""
        for session in list(self._connections):
            await self.end(session)

    async def _attend(self, name: str, connection: RTCPeerConnection, listener: Listener) -> None:
        """Until the player is gone, or its time is over."""
        work = asyncio.create_task(listener.run())
        waited = 0.0
        try:
            while not work.done() and not self._room.expired(listener):
                waited = 0.0 if connection.connectionState == "connected" else waited + 0.25
                if connection.connectionState in ("failed", "closed") or waited > CONNECTING_SECONDS:
                    break
                await asyncio.sleep(0.25)
        finally:
            self._connections.pop(name, None)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            self._room.leave(listener)
            await connection.close()
