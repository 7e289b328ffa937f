"""The studio's interface to the world: one WebSocket per listener, and plain requests beside it (OpenAPI at /openapi.json)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse

from r2talker.errors import R2TalkerError
from r2talker.live.config import ServeConfig
from r2talker.live.guard import Allowance
from r2talker.live.library import Library
from r2talker.live.listener import Listener, pcm_samples
from r2talker.live.messages import Codec, Record, Refused, Switch, Train, decode, schema
from r2talker.live.room import Room
from r2talker.live.session import RATE
from r2talker.live.socket import Connection, SocketSink
from r2talker.live.speech import read_sound, speak_text
from r2talker.live.web import make_app

MESSAGES_PER_SECOND, MESSAGES_AT_ONCE = 200, 600
SOUND_AT_ONCE = 4.0
"""Seconds of microphone sound that may come faster than time passes."""
_POLICY, _AGAIN = 1008, 1013


class MalformedError(Exception):
    """The other side does not keep to the protocol."""


def make_server_app(library: Library, config: ServeConfig) -> FastAPI:
    """The app that serves the avatars of a library."""
    room = Room(library, config)

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.close_players()
        await asyncio.get_running_loop().run_in_executor(None, room.close)

    app = make_app(config, lifespan=living)
    app.state.room = room
    app.state.close_players = _add_players(app, room)
    _add_requests(app, room)
    _add_files(app, room)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket, avatar: str = "", codec: str = "h264", sound: str = "pcm") -> None:
        await socket.accept()
        chosen = Codec("jpeg" if codec == "jpeg" else "h264", "opus" if sound == "opus" else "pcm")
        await _serve_socket(room, socket, avatar, chosen)

    return app


async def _serve_socket(room: Room, socket: WebSocket, avatar: str, codec: Codec) -> None:
    sink = SocketSink(socket, room.pool, room.metrics)
    sink.choose_codec(codec)
    try:
        listener = await room.enter(avatar, sink)
    except R2TalkerError as error:
        await _close(socket, _AGAIN if room.full else _POLICY, str(error))
        return
    sink.metrics = listener.metrics
    code, reason = 1000, "the session's time is over; load the page again"
    sink.word(listener.welcome(room.library.names(), speaks_text=room.speaks_text))
    tasks = [asyncio.create_task(work) for work in (listener.run(), sink.run(), _receive(room, listener, sink, socket))]
    try:
        done, _ = await asyncio.wait(tasks, timeout=room.config.session_minutes * 60, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except (WebSocketDisconnect, Connection):
        room.metrics.count("sessions_lost")
    except MalformedError as error:
        code, reason = _POLICY, str(error)
        room.metrics.count("sessions_malformed")
    except R2TalkerError as error:
        code, reason = _AGAIN, str(error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        room.leave(listener)
        await _close(socket, code, reason)


async def _receive(room: Room, listener: Listener, sink: SocketSink, socket: WebSocket) -> None:
    """Obey what comes until the other side goes; MalformedError for what is none of the protocol's."""
    now = time.monotonic()
    messages = Allowance(MESSAGES_PER_SECOND, MESSAGES_AT_ONCE, now)
    sound = Allowance(1.1 * RATE, SOUND_AT_ONCE * RATE, now)
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1000)
        if not messages.take(1, time.monotonic()):
            raise MalformedError(f"more than {MESSAGES_PER_SECOND} messages a second")
        content = message.get("bytes")
        try:
            if content is not None:
                samples = pcm_samples(content)
                if not sound.take(len(samples), time.monotonic()):
                    raise MalformedError("microphone sound comes faster than time passes; send files to /v1/say")
                listener.hear(samples)
                continue
            wish = decode(message.get("text") or "")
        except R2TalkerError as error:
            raise MalformedError(str(error)) from error
        try:
            await _obey(room, listener, sink, wish)
        except R2TalkerError as error:
            sink.word(Refused(str(error)))


async def _obey(room: Room, listener: Listener, sink: SocketSink, wish: Any) -> None:
    if isinstance(wish, Codec):
        sink.choose_codec(wish)
    elif isinstance(wish, Switch):
        await room.switch(listener, wish.avatar)
        sink.word(listener.welcome(room.library.names(), speaks_text=room.speaks_text))
    elif isinstance(wish, Record):
        if wish.on:
            listener.start_recording()
        else:
            await listener.stop_recording()
    elif isinstance(wish, Train):
        raise R2TalkerError("nothing is being trained here; this studio only talks")
    else:
        listener.obey(wish)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    # The other side may be gone already; a reason has at most 123 bytes.
    with suppress(RuntimeError, WebSocketDisconnect, OSError, asyncio.TimeoutError):
        await asyncio.wait_for(socket.close(code, reason.encode()[:120].decode(errors="ignore")), 1.0)


def _add_requests(app: FastAPI, room: Room) -> None:
    loop = asyncio.get_running_loop

    @app.post("/v1/say", summary="Let the avatar speak a sound file (wav, mp3, ...), or a text (text/plain)")
    async def say(request: Request, session: str = "") -> dict[str, Any]:
        listener, body = room.find(session), await request.body()
        if request.headers.get("content-type", "").startswith("text/plain"):
            text = body.decode(errors="replace")
            samples = await loop().run_in_executor(room.chores, speak_text, room.config.tts, text)
        else:
            samples = await loop().run_in_executor(room.chores, read_sound, body)
        listener.say(samples)
        return {"session": listener.name, "seconds": len(samples) / RATE}

    @app.post("/v1/interrupt", summary="Let the avatar fall silent")
    async def interrupt(session: str = "") -> dict[str, str]:
        listener = room.find(session)
        listener.interrupt()
        return {"session": listener.name}

    @app.post("/v1/background", summary="The picture (PNG, JPEG) that stands behind the avatar")
    async def background(request: Request, session: str = "") -> dict[str, str]:
        from r2talker.media.stream import decode_picture

        listener, body = room.find(session), await request.body()
        listener.show_behind(await loop().run_in_executor(room.chores, decode_picture, body))
        return {"session": listener.name}

    @app.get("/v1/state", summary="Avatars, and how every session goes")
    async def state() -> dict[str, Any]:
        sessions = {name: {"avatar": one.avatar, **vars(one.report())} for name, one in room.listeners.items()}
        return {"avatars": room.library.names(), "limit": room.config.sessions, "sessions": sessions}

    @app.get("/v1/schema", summary="Messages of the WebSocket /v1/stream, by direction and type")
    async def messages() -> dict[str, Any]:
        return dict(schema())

    @app.get("/metrics", summary="Counters, delays and queues as Prometheus text", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(room.metrics.text(room.gauges()), media_type="text/plain; version=0.0.4")


def _add_players(app: FastAPI, room: Room) -> Callable[[], Awaitable[None]]:
    """WHEP, where aiortc is installed; returns what ends all players."""
    players: Any = None

    def known() -> Any:
        nonlocal players
        if players is None:
            try:
                from r2talker.live.whep import Players
            except ModuleNotFoundError as error:
                raise R2TalkerError(
                    "WebRTC needs the package aiortc; install it with `pip install r2talker[webrtc]`"
                ) from error
            players = Players(room)
        return players

    @app.post("/v1/whep", summary="WebRTC: an SDP offer is answered (WHEP)", status_code=201, response_class=PlainTextResponse)
    async def whep(request: Request, avatar: str = "") -> Response:
        body = (await request.body()).decode(errors="replace")
        session, answer = await known().offer(body, avatar)
        return Response(answer, 201, {"location": f"/v1/whep/{session}"}, media_type="application/sdp")

    @app.delete("/v1/whep/{session}", summary="WebRTC: let a player go", response_model=None)
    async def leave(session: str) -> Response:
        ended = players is not None and await players.end(session)
        return Response(status_code=200 if ended else 404)

    async def close() -> None:
        if players is not None:
            await players.close()

    return close


def _add_files(app: FastAPI, room: Room) -> None:
    meshing = asyncio.Lock()

    @app.get("/v1/recordings/{name}", summary="A recording, as mp4", response_model=None)
    async def recording(name: str) -> Response:
        if name not in {path.name for path in room.recordings.glob("*.mp4")}:
            return JSONResponse({"detail": "there is no such recording"}, 404)
        return FileResponse(room.recordings / name, media_type="video/mp4", filename="r2talker.mp4")

    @app.get("/v1/mesh", summary="The head's surface as a file", response_model=None)
    async def mesh(avatar: str = "", format: str = "glb", resolution: int = 128, threshold: float | None = None) -> Response:
        from r2talker.live.mesh import extract_mesh, write_mesh

        def make() -> bytes:
            stage = room.library.stage(avatar or room.library.first)
            with stage.turn():
                found = extract_mesh(stage.avatar, resolution=resolution, threshold=threshold)
            return write_mesh(found, format)

        async with meshing:
            content = await asyncio.get_running_loop().run_in_executor(room.chores, make)
        headers = {"content-disposition": f'attachment; filename="head.{format}"'}
        return Response(
            content, media_type="model/gltf-binary" if format == "glb" else "application/octet-stream", headers=headers
        )
