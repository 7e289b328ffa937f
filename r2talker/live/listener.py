"""One listener at work: session, performer, stage and whoever takes what comes out, tied together on the event loop."""

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int16, UInt8

from r2talker.errors import R2TalkerError
from r2talker.live.messages import Blink, Interrupt, Interrupted, Look, Microphone, Played, Recorded, Refused, Report, Welcome
from r2talker.live.metrics import Metrics
from r2talker.live.performer import Direction
from r2talker.live.session import FRAME_RATE, RATE, Planned, Session
from r2talker.live.stage import Order, Stage
from r2talker.live.troupe import Actor
from r2talker.live.views import View, check_look

MOST_RECORDING_SECONDS = 600
_RECORDED_AHEAD = 250
_REPORT_SECONDS = 0.5


class Sink(Protocol):
    """Takes what comes out, on the event loop, without waiting."""

    def sound(self, planned: Planned) -> None:
        """40 ms of sound, one after the other."""
        ...

    def picture(self, planned: Planned, rgb: UInt8[np.ndarray, "side side 3"]) -> None:
        """The newest picture."""
        ...

    def word(self, message: Any) -> None:
        """A message of `r2talker.live.messages`."""
        ...

    def queues(self) -> dict[str, float]:
        """What waits here, by name."""
        ...


@dataclass
class Recording:
    """A recording that is going on: a queue for the thread that writes, and the frame it began with."""

    path: Path
    first: int
    queue: "asyncio.Queue[tuple[str, np.ndarray, int] | None]"
    task: "asyncio.Task[int]"


class Listener:
    """See the module. Everything but the performer's and the encoder's work happens on the event loop's thread."""

    def __init__(
        self,
        stage: Stage,
        avatar: str,
        actor: Actor,
        sink: Sink,
        chores: ThreadPoolExecutor,
        metrics: Metrics,
        recordings: Path,
    ) -> None:
        """actor: for this listener alone. chores: threads for what takes longer than a frame."""
        self.name = secrets.token_hex(8)
        self.sink, self.look = sink, Look()
        self.metrics = Metrics(metrics)
        self.begun = time.monotonic()
        self._chores, self._recordings = chores, recordings
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._backdrop: tuple[UInt8[np.ndarray, "height width 3"] | None, int] = (None, 0)
        self._recording: Recording | None = None
        self._drawn: list[float] = []
        self._side = 0
        self._enter(stage, avatar, actor)

    def _enter(self, stage: Stage, avatar: str, actor: Actor) -> None:
        self.stage, self.avatar, self._actor = stage, avatar, actor
        self.session = Session(actor.ahead, time.monotonic())

    async def switch(self, stage: Stage, avatar: str, actor: Actor) -> None:
        """Continue with another avatar, from the beginning of a new timeline."""
        await self.stop_recording()
        self._actor.leave()
        self._enter(stage, avatar, actor)
        self.look = Look()
        self._woken.set()

    def leave(self) -> None:
        """Let the actor go; nothing is performed any more."""
        self._actor.leave()

    def welcome(self, avatars: list[str], *, speaks_text: bool) -> Welcome:
        """What the page needs to know of the avatar."""
        info, track = self.stage.avatar.info, self.stage.avatar.track
        return Welcome(
            session=self.name,
            avatar=self.avatar,
            avatars=avatars,
            size=info.size,
            sizes=self.stage.pace.sides,
            poses=len(track.c2w),
            codes=info.model.head.codes,
            fov=float(np.degrees(2 * np.arctan(info.size / 2 / info.focal))),
            eye=round(float(track.eye.median()), 3),
            max_steps=info.render.max_steps,
            aabb=list(info.render.aabb),
            look_ahead=self._actor.ahead / RATE,
            clip_faces=self.stage.avatar.model.drives_landmarks,
            speaks_text=speaks_text,
        )

    # -- what comes in

    def hear(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Sound of the microphone."""
        self.session.push(samples)
        self._woken.set()

    def say(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Speak this; R2TalkerError when too much waits."""
        self.session.say(samples)
        self._woken.set()

    def interrupt(self) -> None:
        """Fall silent at once."""
        self.sink.word(Interrupted(self.session.interrupt()))
        self._woken.set()

    def show_behind(self, backdrop: UInt8[np.ndarray, "height width 3"]) -> None:
        """The picture that `background: picture` shows."""
        self._backdrop = (backdrop, self._backdrop[1] + 1)

    def obey(self, message: Any) -> None:
        """A message of the page that concerns the avatar; R2TalkerError when it cannot be done."""
        if isinstance(message, Look):
            self.look = check_look(self.stage.avatar, message)
        elif isinstance(message, Microphone):
            self.session.open_microphone() if message.open else self.session.close_microphone()
        elif isinstance(message, Interrupt):
            self.interrupt()
        elif isinstance(message, Blink):
            self._actor.blink()
        elif isinstance(message, Played):
            self._note(message)
        self._woken.set()

    def _note(self, played: Played) -> None:
        now = time.monotonic()
        self.session.played(played.position, now, buffered=played.buffered, wanted=played.wanted)
        for delay in played.delays[:FRAME_RATE]:
            if 0 < delay < 60_000:
                self.metrics.delay(delay)
        if played.missed > 0:
            self.metrics.count("pictures_dropped", min(played.missed, 1000), reason="late at the page")

    # -- what goes out

    async def run(self) -> None:
        """Plan, perform and order frames until cancelled."""
        report = asyncio.create_task(self._report_for_ever())
        try:
            while True:
                session = self.session
                for planned in session.plan(time.monotonic()):
                    # Frames of a timeline that ended meanwhile are not of the new one.
                    if session is self.session:
                        await self._play(session, planned)
                # Not asyncio.wait_for: up to Python 3.11 it forgets a cancellation that comes together with the event.
                alarm = self._loop.call_later(max(self.session.wake() - time.monotonic(), 0.0), self._woken.set)
                await self._woken.wait()
                alarm.cancel()
                self._woken.clear()
        finally:
            report.cancel()
            await self.stop_recording()

    async def _play(self, session: Session, planned: Planned) -> None:
        actor, stage, begun = self._actor, self.stage, time.monotonic()
        self.sink.sound(planned)
        self._record("sound", planned.sound, planned.number)
        moved = await actor.perform(planned, self._direct(planned.number))
        if session is not self.session:
            return
        self._side = self.look.size or stage.side(time.monotonic())
        view, ordered = View(self.look, self._side, *self._backdrop), time.monotonic()
        self.metrics.spend("perform", ordered - begun)

        def late() -> bool:
            return session is not self.session or session.is_late(planned, time.monotonic())

        def show(order: Order, picture: UInt8[np.ndarray, "side side 3"]) -> None:
            self.metrics.spend("draw", time.monotonic() - ordered)
            self._show(order, picture)

        stage.submit(Order(self.name, planned, moved, view, late, self._from_stage(show), self._from_stage(self._miss)))

    def _direct(self, number: int) -> Direction:
        """What the look asks of the performer."""
        look, clip = self.look, len(self.stage.avatar.track.eye)
        frame = look.pose if look.pose >= 0 else number % clip
        return Direction(
            eye=None if look.eye < 0 else look.eye,
            pose=frame if look.replay or look.pose >= 0 else None,
            face=frame if look.face == "clip" else None,
        )

    def _from_stage(self, action: Callable[..., None]) -> Callable[..., None]:
        """A callback for the stage's thread that acts on the event loop, unless that has ended."""

        def call(*arguments: Any) -> None:
            try:
                self._loop.call_soon_threadsafe(action, *arguments)
            except RuntimeError:
                if not self._loop.is_closed():
                    raise

        return call

    def _show(self, order: Order, picture: UInt8[np.ndarray, "side side 3"]) -> None:
        if order.late():
            self._miss(order)
            return
        self.metrics.count("pictures")
        self._drawn.append(time.monotonic())
        self._record("picture", picture, order.planned.number)
        self.sink.picture(order.planned, picture)

    def _miss(self, order: Order) -> None:
        self.metrics.count("pictures_dropped", reason="not drawn in time")

    @property
    def fps(self) -> float:
        """Pictures drawn in the last two seconds, per second."""
        now = time.monotonic()
        self._drawn = [drawn for drawn in self._drawn if now - drawn < 2]
        return len(self._drawn) / min(2.0, max(now - self.begun, 0.1))

    def report(self) -> Report:
        """How it goes."""
        session, (p50, p95) = self.session, self.metrics.delays(0.5, 0.95)
        return Report(
            state=session.state(time.monotonic()),
            fps=round(self.fps, 1),
            size=self._side,
            dropped=self.metrics.total("pictures_dropped"),
            delay_p50=round(p50, 1),
            delay_p95=round(p95, 1),
            queues=self.queues(),
            recording=self._recording is not None,
        )

    def queues(self) -> dict[str, float]:
        """Seconds of sound that wait to be said and heard, pictures that wait to be drawn, and what the sink has."""
        return {
            "say_seconds": round(self.session.say_waiting / RATE, 3),
            "microphone_seconds": round(self.session.microphone_waiting / RATE, 3),
            "pictures_to_draw": self.stage.waiting,
            **self.sink.queues(),
        }

    async def _report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            self.sink.word(self.report())

    # -- recording

    def start_recording(self) -> None:
        """Record from the next frame on."""
        if self._recording is None:
            path = self._recordings / f"{secrets.token_hex(8)}.mp4"
            queue: asyncio.Queue[tuple[str, np.ndarray, int] | None] = asyncio.Queue(_RECORDED_AHEAD)
            self._recording = Recording(path, self.session.number, queue, self._loop.create_task(self._write(path, queue)))

    async def stop_recording(self) -> None:
        """Finish the recording, if there is one, and say where it is."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        await recording.queue.put(None)
        frames = await recording.task
        if frames:
            self.sink.word(Recorded(f"/v1/recordings/{recording.path.name}", frames / FRAME_RATE))
        else:
            self.sink.word(Refused("nothing was recorded, because no picture was drawn meanwhile; record for longer"))

    def _record(self, kind: str, content: np.ndarray, number: int) -> None:
        recording = self._recording
        if recording is None or number < recording.first:
            return
        if number - recording.first >= MOST_RECORDING_SECONDS * FRAME_RATE:
            self._loop.create_task(self.stop_recording())
            return
        try:
            recording.queue.put_nowait((kind, content, number - recording.first))
        except asyncio.QueueFull:
            self.metrics.count("recorded_dropped")

    async def _write(self, path: Path, queue: "asyncio.Queue[tuple[str, np.ndarray, int] | None]") -> int:
        from r2talker.media.stream import Recorder

        recorder = await self._loop.run_in_executor(self._chores, lambda: Recorder(str(path)))
        while (item := await queue.get()) is not None:
            kind, content, number = item
            if kind == "sound":
                await self._loop.run_in_executor(self._chores, recorder.sound, content)
            else:
                await self._loop.run_in_executor(self._chores, recorder.picture, content, number)
        return await self._loop.run_in_executor(self._chores, recorder.close)


def pcm_samples(content: bytes) -> Int16[np.ndarray, " samples"]:
    """PCM16 little-endian of a message; R2TalkerError for half samples or more than a second."""
    if len(content) % 2 or len(content) > 2 * RATE:
        raise R2TalkerError(f"microphone sound must be PCM16 of at most a second a message, got {len(content)} bytes")
    return np.frombuffer(content, "<i2").astype(np.int16)
