"""The page during training: the current picture from any side, the loss curve, pause, resume, save.

The training loop calls `Watch.step` once per step and knows nothing else; `watch_training` opens the page for it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from jaxtyping import UInt8

from r2talker.errors import R2TalkerError
from r2talker.live.config import ServeConfig
from r2talker.live.messages import HEADER, JPEG, KEY, PICTURE, Look, Refused, Train, Training, Welcome, decode, encode
from r2talker.live.views import sight_of
from r2talker.live.web import WebServer, make_app
from r2talker.render.sight import Sight

MOST_POINTS = 400
"""Points of the curve; every other one goes when there are more."""
PICTURE_SECONDS, TURN_SECONDS = 2.0, 0.2
"""Least time between two pictures: of one sight, and of another than the last."""
TELL_SECONDS, TURN_TELL_SECONDS = 0.5, 0.1
"""Time between two messages; and until a picture is looked for while somebody turns it."""


class Watch:
    """Between the loop's thread and the pages. `loss` names the scalar that the curve shows."""

    def __init__(self, *, loss: str = "loss") -> None:
        self._loss = loss
        self._lock = threading.Condition()
        self._paused, self._saving, self._resetting, self._watched, self._ended = False, False, False, 0, False
        self._now = Training("", 0, 0, paused=False, scalars={}, curve=[])
        self._curve: list[list[float]] = []
        self._stride, self._skipped = 1, 0
        self._picture: UInt8[np.ndarray, "height width 3"] | None = None
        self._number, self._drawn = 0, -PICTURE_SECONDS
        self._sight = self._shown = Sight()

    def step(
        self,
        phase: str,
        step: int,
        steps: int,
        scalars: Mapping[str, float],
        draw: Callable[[Sight], UInt8[np.ndarray, "height width 3"]],
        save: Callable[[], None],
    ) -> bool:
        """Called by the loop after every step, in its own thread; returns at once unless the run is paused.

        scalars: readings of this step, empty where none were taken. draw: makes the picture of now, as somebody wants to see it;
        called at most every two seconds, five times a second while it is turned, and only while somebody looks. save: called when
        that was asked for, also while paused. Returns whether somebody wants the phase to begin anew, with the weights that it began with.
        """
        self._note(phase, step, steps, scalars)
        while True:
            with self._lock:
                sight, seconds = self._sight, time.monotonic() - self._drawn
                wants = self._watched > 0 and seconds >= (PICTURE_SECONDS if sight == self._shown else TURN_SECONDS)
                saving, self._saving = self._saving, False
                resetting, self._resetting = self._resetting, False
            if saving:
                save()
            if wants:
                picture = draw(sight)
                with self._lock:
                    self._picture, self._shown, self._drawn = picture, sight, time.monotonic()
                    self._number += 1
            with self._lock:
                if resetting:
                    self._curve, self._stride, self._skipped = [], 1, 0
                if resetting or not self._paused or self._ended:
                    return resetting
                self._lock.wait(0.1)

    def look(self, sight: Sight) -> None:
        """What is to be drawn from now on; whoever looks last decides for all."""
        with self._lock:
            self._sight = sight
            self._lock.notify_all()

    def obey(self, action: str) -> None:
        """Pause, resume, save or reset; a run that is paused takes one step after a reset, to show where it stands."""
        with self._lock:
            self._paused = action == "pause" or (self._paused and action != "resume")
            self._saving = self._saving or action == "save"
            self._resetting = self._resetting or action == "reset"
            self._lock.notify_all()

    def now(self) -> Training:
        """Where the run stands."""
        with self._lock:
            now = self._now
            return Training(now.phase, now.step, now.steps, self._paused, now.scalars, [list(point) for point in self._curve])

    def picture(self, after: int) -> tuple[int, UInt8[np.ndarray, "height width 3"]] | None:
        """The last picture with its number, unless that is `after`."""
        with self._lock:
            return None if self._picture is None or self._number == after else (self._number, self._picture)

    def end(self) -> None:
        """A paused run goes on; nobody can resume it any more."""
        with self._lock:
            self._ended = True
            self._lock.notify_all()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks."""
        with self._lock:
            self._watched += 1
        try:
            yield
        finally:
            with self._lock:
                self._watched -= 1

    def _note(self, phase: str, step: int, steps: int, scalars: Mapping[str, float]) -> None:
        with self._lock:
            if phase != self._now.phase:
                self._curve, self._stride, self._skipped = [], 1, 0
            self._now = Training(phase, step, steps, False, dict(scalars) or self._now.scalars, [])
            if self._loss not in scalars:
                return
            self._skipped += 1
            if self._skipped >= self._stride:
                self._skipped = 0
                self._curve.append([float(step), float(scalars[self._loss])])
            if len(self._curve) > MOST_POINTS:
                self._curve, self._stride = self._curve[::2], self._stride * 2


@contextmanager
def watch_training(name: str, config: ServeConfig, *, loss: str = "loss") -> Iterator[tuple[Watch, str]]:
    """Open the page while the block runs; yields what the loop calls, and the page's address. R2TalkerError: cannot listen there."""
    watch = Watch(loss=loss)
    server = WebServer(make_training_app(watch, name, config), config)
    server.start()
    try:
        yield watch, server.address
    finally:
        watch.end()
        server.stop()


def make_training_app(watch: Watch, name: str, config: ServeConfig) -> FastAPI:
    """The app that shows a run."""
    app = make_app(config)
    here = 0

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        nonlocal here
        await socket.accept()
        if here >= config.sessions:
            await socket.close(1013, "as many look already as may")
            return
        here += 1
        tasks: list[asyncio.Task[None]] = []
        try:
            with watch.watched():
                await socket.send_text(encode(_welcome(name)))
                tasks = [asyncio.create_task(_tell(watch, socket)), asyncio.create_task(_obey(watch, socket))]
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except R2TalkerError as error:
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(1008, str(error)[:120])
        except (WebSocketDisconnect, RuntimeError):
            # The page went; a run does not care.
            pass
        finally:
            here -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return app


async def _tell(watch: Watch, socket: WebSocket) -> None:
    from r2talker.media.stream import encode_jpeg

    shown, told = -1, -TELL_SECONDS
    loop = asyncio.get_running_loop()
    while True:
        if loop.time() - told >= TELL_SECONDS:
            told = loop.time()
            await socket.send_text(encode(watch.now()))
        taken = watch.picture(shown)
        if taken is not None:
            shown, rgb = taken
            content = await loop.run_in_executor(None, encode_jpeg, rgb)
            height, width = rgb.shape[:2]
            await socket.send_bytes(HEADER.pack(PICTURE, KEY | JPEG, width, height, 0, shown, -1) + content)
        await asyncio.sleep(TURN_TELL_SECONDS)


async def _obey(watch: Watch, socket: WebSocket) -> None:
    while True:
        wish = decode(await socket.receive_text())
        if isinstance(wish, Train):
            watch.obey(wish.action)
        elif isinstance(wish, Look):
            watch.look(sight_of(wish))
        else:
            await socket.send_text(encode(Refused("this run is only to be watched; `r2talker serve` talks")))


def _welcome(name: str) -> Welcome:
    return Welcome(
        session="training", avatar=name, avatars=[name], size=0, sizes=[], poses=0, codes=0, fov=0.0, eye=0.0, max_steps=0,
        aabb=[], look_ahead=0.0, talks=False,
    )  # fmt: skip
