"""All listeners of a server, and what they share: avatars, threads, counters, recordings."""

import asyncio
import os
import secrets
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from r2talker.errors import R2TalkerError
from r2talker.live.config import ServeConfig
from r2talker.live.library import Library
from r2talker.live.listener import Listener, Sink
from r2talker.live.metrics import Metrics
from r2talker.live.performer import Performer
from r2talker.live.speech import can_speak
from r2talker.live.stage import Stage
from r2talker.live.troupe import Actor, ThreadActor, Troupe, processes_beside

MOST_RECORDINGS = 20


class Room:
    """Lets listeners in and out."""

    def __init__(self, library: Library, config: ServeConfig) -> None:
        self.library, self.config = library, config
        self.metrics = Metrics()
        threads = max(4, os.cpu_count() or 1)
        self.pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="r2talker-live")
        # What takes longer than a frame must not stand in the way of frames.
        self.chores = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="r2talker-live-chore")
        processes = processes_beside(library.device) if config.performers is None else config.performers
        self.troupe = Troupe(processes) if processes else None
        if self.troupe is not None:
            self.troupe.rehearse(library.root / library.first)
        self.listeners: dict[str, Listener] = {}
        self._entering = 0
        self._folder = tempfile.TemporaryDirectory(prefix="r2talker-live-")
        self.recordings = Path(self._folder.name)
        self.speaks_text = can_speak(config.tts)

    @property
    def full(self) -> bool:
        """Whether nobody else may come in."""
        return len(self.listeners) + self._entering >= self.config.sessions

    async def enter(self, avatar: str, sink: Sink) -> Listener:
        """A new listener of an avatar (by default the first); R2TalkerError when the room is full or there is no such avatar."""
        if self.full:
            self.metrics.count("sessions_refused")
            raise R2TalkerError(f"{self.config.sessions} listeners are here already, which is the limit; try again later")
        self._entering += 1
        try:
            name = avatar or self.library.first
            loop = asyncio.get_running_loop()
            stage, actor = await loop.run_in_executor(self.chores, self._prepare, name)
            listener = Listener(stage, name, actor, sink, self.chores, self.metrics, self.recordings)
        finally:
            self._entering -= 1
        self.listeners[listener.name] = listener
        self.metrics.count("sessions")
        return listener

    async def switch(self, listener: Listener, avatar: str) -> None:
        """Let a listener continue with another avatar."""
        stage, actor = await asyncio.get_running_loop().run_in_executor(self.chores, self._prepare, avatar)
        await listener.switch(stage, avatar, actor)

    def _prepare(self, avatar: str) -> tuple[Stage, Actor]:
        """Takes some tenths of a second at least, so not for the event loop. Everybody blinks as no other."""
        stage, seed, wait = self.library.stage(avatar), secrets.randbits(24), self.config.wait
        if self.troupe is not None:
            return stage, self.troupe.hire(self.library.root / avatar, seed=seed, wait=wait)
        return stage, ThreadActor(Performer(stage.actor, seed=seed, wait=wait), self.pool)

    def leave(self, listener: Listener) -> None:
        """Forget a listener."""
        if self.listeners.pop(listener.name, None) is not None:
            listener.leave()
        kept = sorted(self.recordings.glob("*.mp4"), key=lambda path: path.stat().st_mtime)
        for path in kept[:-MOST_RECORDINGS]:
            path.unlink(missing_ok=True)

    def find(self, session: str) -> Listener:
        """The listener of that name, or without a name the only one; R2TalkerError when that is nobody."""
        if session in self.listeners:
            return self.listeners[session]
        if not session and len(self.listeners) == 1:
            return next(iter(self.listeners.values()))
        known = ", ".join(self.listeners) or "nobody is here; open the page or /v1/stream first"
        raise R2TalkerError(f"name one session with ?session=; there are: {known}")

    def gauges(self) -> dict[str, dict[str, float]]:
        """Values of now for `Metrics.text`."""
        queues: dict[str, float] = {}
        for listener in self.listeners.values():
            for name, length in listener.queues().items():
                queues[name] = max(queues.get(name, 0.0), length)
        stages = self.library.stages()
        return {
            "sessions_now": {"": len(self.listeners)},
            "fps": {name: listener.fps for name, listener in self.listeners.items()},
            "queue": queues,
            "picture_side": {name: stage.pace.side for name, stage in stages.items()},
            "draw_seconds_total": {name: stage.busy_seconds for name, stage in stages.items()},
            "drawn_pictures_total": {name: stage.pictures for name, stage in stages.items()},
        }

    def expired(self, listener: Listener) -> bool:
        """Whether a listener has been here for as long as is granted."""
        return time.monotonic() - listener.begun > self.config.session_minutes * 60

    def close(self) -> None:
        """End threads and processes, and delete recordings."""
        self.library.close()
        if self.troupe is not None:
            self.troupe.close()
        for pool in (self.pool, self.chores):
            pool.shutdown(wait=True, cancel_futures=True)
        self._folder.cleanup()
