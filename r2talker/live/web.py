"""What every web server here has: the page, the guard before everything, limits of bodies, and a socket to run on."""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse

from r2talker import __version__
from r2talker.errors import R2TalkerError
from r2talker.live.config import ServeConfig
from r2talker.live.guard import Guard, check_config, is_loopback

PAGE = Path(__file__).parent / "page"
OPEN = ("/", "/api", "/page/")
"""Without these a page could not ask for the token; they hold no secret."""
BODY_SECONDS = 30.0
PING_SECONDS, PONG_SECONDS = 4.0, 4.0
"""A dead WebSocket is noticed after their sum."""
MOST_MESSAGE = 1 << 20
_HEADERS = {
    b"content-security-policy": (
        b"default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; style-src 'self'; frame-ancestors 'none'"
    ),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def _welcoming(send: Send, origin: str) -> Send:
    """Answers that pages of `origin` may read."""
    # Players find their session in `location`.
    allowed = {
        "allow-origin": origin,
        "allow-methods": "GET, POST, DELETE",
        "allow-headers": "authorization, content-type",
        "expose-headers": "location",
    }

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            named = [(f"access-control-{name}".encode(), value.encode("latin-1")) for name, value in allowed.items()]
            message["headers"] = [*message.get("headers", []), *named, (b"vary", b"origin")]
        await send(message)

    return sending


class TooMuchError(Exception):
    """A body is larger than allowed, or comes too slowly."""


class Doorkeeper:
    """ASGI middleware: refuses by `Guard`, bounds bodies, and adds headers that keep the page to itself."""

    def __init__(self, app: Any, guard: Guard, most_bytes: int) -> None:
        self._app, self._guard, self._most = app, guard, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if scope["type"] == "http" and self._guard.welcomes(origin := headers.get("origin")):
            send = _welcoming(send, str(origin))
            if scope["method"] == "OPTIONS":
                # A browser asks so, without the token, before it sends one.
                await Response(status_code=204)(scope, receive, send)
                return
        if refusal is not None:
            await self._refuse(scope, receive, send, 403, refusal)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif int(headers.get("content-length", "0") or 0) > self._most:
            await self._refuse(scope, receive, send, 413, f"a body may have at most {self._most} bytes")
        else:
            await self._serve(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> str | None:
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return "the content length is no number"
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        refusal = self._guard.refusal(
            host=headers.get("host", ""),
            origin=headers.get("origin"),
            authorization=headers.get("authorization"),
            token=query.get("token", [None])[0],
        )
        path = scope["path"]
        is_open = scope["type"] == "http" and (path in OPEN or path.startswith("/page/"))
        return None if is_open and refusal is not None and "token" in refusal.split()[:2] else refusal

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            await JSONResponse({"detail": reason}, status)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken, started = 0, False

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await asyncio.wait_for(receive(), BODY_SECONDS) if not started else await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise TooMuchError(f"a body may have at most {self._most} bytes")
            return message

        async def headed(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        try:
            await self._app(scope, bounded, headed)
        except (TooMuchError, asyncio.TimeoutError) as error:
            if started:
                raise
            reason = str(error) or f"the body did not arrive within {BODY_SECONDS:g} s"
            await self._refuse(scope, receive, send, 413 if taken > self._most else 408, reason)


def make_app(config: ServeConfig, **more: Any) -> FastAPI:
    """An app with the page, behind the doorkeeper. Errors for people become status 400 with their text."""
    app = FastAPI(title="The r2talker studio", version=__version__, docs_url=None, redoc_url=None, **more)
    app.add_middleware(Doorkeeper, guard=Guard(config), most_bytes=int(config.body_megabytes * (1 << 20)))

    @app.exception_handler(R2TalkerError)
    async def explain(_: Any, error: R2TalkerError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", media_type="text/html")

    @app.get("/api", include_in_schema=False)
    async def api() -> FileResponse:
        return FileResponse(PAGE / "api.html", media_type="text/html")

    @app.get("/page/{name}", include_in_schema=False, response_model=None)
    async def part(name: str) -> FileResponse | JSONResponse:
        path = PAGE / name
        if name not in {file.name for file in PAGE.iterdir()}:
            return JSONResponse({"detail": "there is no such file"}, 404)
        return FileResponse(path, media_type=_TYPES.get(path.suffix, "application/octet-stream"))

    return app


class WebServer:
    """Runs an app on a socket of its own. R2TalkerError when the address cannot be used or the settings are unsafe."""

    def __init__(self, app: FastAPI, config: ServeConfig) -> None:
        check_config(config)
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((config.host, config.port))
        except OSError as error:
            self._socket.close()
            where = f"{config.host}:{config.port}"
            raise R2TalkerError(
                f"cannot listen at {where}: {error.strerror or error}; choose another --port or --host"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        shown = f"[{config.host}]" if family == socket.AF_INET6 else config.host
        self.address = f"http://{shown if not is_loopback(config.host) else '127.0.0.1'}:{self.port}/"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level=logging.WARNING,
                access_log=False,
                server_header=False,
                ws_ping_interval=PING_SECONDS,
                ws_ping_timeout=PONG_SECONDS,
                ws_max_size=MOST_MESSAGE,
                # Pictures and sound do not shrink, and shrinking them takes time.
                ws_per_message_deflate=False,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=3,
                limit_concurrency=4 * config.sessions + 64,
            )
        )
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until interrupted."""
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serve in a thread; returns once requests are answered."""
        self._thread = threading.Thread(target=self.run, name="r2talker-web", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)

    def stop(self) -> None:
        """End what `start` began."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._socket.close()
