"""What one listener's avatar does next: a pure state machine over samples and times, without torch, threads or a clock of its own.

The session's timeline counts frames of 40 ms. `plan` says which frames are due and which sound they carry; all sound leaves with
its frame, pictures may be dropped. Sound is the master: where the listener reports how much of it is still unplayed, `played`
steers the pace to the listener's own audio clock, and `is_late` measures pictures against it.

While the microphone is open its arrival is the clock instead: a frame is planned once the look-ahead of the ear is there, so that
nothing waits twice. What is to be said (`say`) takes the floor from the microphone until it is over.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int16

from r2talker.errors import R2TalkerError

RATE = 16000
FRAME_RATE = 25
FRAME_SAMPLES = RATE // FRAME_RATE
FRAME_SECONDS = 1 / FRAME_RATE

LATE_SECONDS = 0.5
"""A picture is late so long after its frame was planned, where nobody reports what has been played."""
STALL_SECONDS = 0.2
"""Without a microphone frame for so long the avatar rests; a plan so late is moved instead of caught up with."""
VOICE = 0.01
"""Root mean square (full scale 1) above which a frame of the microphone is speech; -40 dB."""
VOICE_SECONDS = 0.4
"""So long after the last speech the avatar still counts as speaking."""
STEER = 0.05
"""Share of the error of the listener's buffer that one frame corrects."""
STEER_MOST = 0.004
"""Seconds by which steering moves a frame at most: a tenth of it."""

State = Literal["idle", "listening", "speaking"]


@dataclass(frozen=True)
class SessionLimits:
    """Bounds of a session's queues."""

    say_seconds: float = 300.0
    """Sound that may wait to be said."""
    microphone_seconds: float = 0.6
    """Microphone sound beyond the look-ahead that may wait; the oldest goes first."""


@dataclass(frozen=True)
class Planned:
    """One frame of the timeline.

    sound: what is heard with it. feed: sound that the ear hears before the frame can be made, None while the avatar rests.
    begins, ends: whether an utterance begins with the frame, or has been fed whole. heard: number of the microphone's sample that
    is the first of `sound`, -1 for other sound. epoch: how many interruptions came before.
    """

    number: int
    epoch: int
    sound: Int16[np.ndarray, " 640"]
    feed: Int16[np.ndarray, " samples"] | None = None
    begins: bool = False
    ends: bool = False
    heard: int = -1


class Utterance:
    """Sound that is spoken in one go: what was fed to the ear is kept until it has been heard."""

    def __init__(self) -> None:
        self.first = -1
        """Number of the microphone's sample that came first."""
        self.closed = False
        self._pieces: deque[np.ndarray] = deque()
        self._kept = np.zeros(0, np.int16)
        self.waiting = 0
        self.frames = 0
        self._told = False

    def append(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """More sound."""
        if len(samples):
            self._pieces.append(samples)
            self.waiting += len(samples)

    def close(self) -> None:
        """No more sound will come; the last frame is filled with silence."""
        missing = -(self.waiting + len(self._kept)) % FRAME_SAMPLES
        self.append(np.zeros(missing, np.int16))
        self.closed = True

    def ready(self, ahead: int) -> bool:
        """Whether the next frame can be made."""
        have = self.waiting + len(self._kept)
        return have >= FRAME_SAMPLES if self.closed else have >= FRAME_SAMPLES + ahead

    @property
    def over(self) -> bool:
        """Whether everything has been taken."""
        return self.closed and self.waiting + len(self._kept) == 0

    def take(self, ahead: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """The next frame's own sound, what the ear has not heard of it and its look-ahead, and whether that was the last of all."""
        feed = self._pull(FRAME_SAMPLES + ahead - len(self._kept))
        known = np.concatenate([self._kept, feed])
        self._kept = known[FRAME_SAMPLES:]
        self.frames += 1
        last = self.closed and self.waiting == 0 and not self._told
        self._told = self._told or last
        return known[:FRAME_SAMPLES], feed, last

    def skip(self, samples: int) -> int:
        """Forget the oldest waiting samples; returns how many."""
        return len(self._pull(samples))

    def _pull(self, samples: int) -> np.ndarray:
        parts: list[np.ndarray] = []
        while samples > 0 and self._pieces:
            piece = self._pieces.popleft()
            parts.append(piece[:samples])
            if len(piece) > samples:
                self._pieces.appendleft(piece[samples:])
            samples -= len(parts[-1])
        taken = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        self.waiting -= len(taken)
        return taken


class Session:
    """See the module. ahead: samples after a frame's own that its ear must hear. All times are seconds of one monotonic clock."""

    def __init__(self, ahead: int, now: float, limits: SessionLimits | None = None) -> None:
        self.ahead, self.limits = ahead, limits or SessionLimits()
        self.number, self.epoch = 0, 0
        self.unheard = 0
        """Microphone samples that were thrown away: the queue was full, or something was being said."""
        self.moved = 0
        """Frames by which the timeline was moved because the server could not plan in time."""
        self._due = now
        self._microphone: Utterance | None = None
        self._microphone_samples = 0
        self._says: deque[Utterance] = deque()
        self._voice_until = now
        self._planned_at: deque[float] = deque(maxlen=256)
        self._position: tuple[float, float] | None = None
        self._steer = 0.0
        self._stalled, self._hurry = False, False

    # -- what comes in

    def open_microphone(self) -> None:
        """The microphone is heard from now on."""
        if self._microphone is None:
            self._microphone = Utterance()

    def close_microphone(self) -> None:
        """What the microphone delivered is spoken to its end."""
        if self._microphone is not None and not self._microphone.closed:
            self._microphone.close()

    def push(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Sound of the microphone, any number of 16 kHz samples; dropped unless it is open."""
        first = self._microphone_samples
        self._microphone_samples += len(samples)
        microphone = self._microphone
        if microphone is None or microphone.closed or self._says:
            self.unheard += len(samples)
            return
        if microphone.frames == 0 and microphone.waiting == 0:
            microphone.first = first
        microphone.append(samples)
        excess = microphone.waiting - FRAME_SAMPLES - self.ahead - int(self.limits.microphone_seconds * RATE)
        if excess > 0:
            # Whole frames, so that the number of a frame's first sample stays exact.
            skipped = microphone.skip(-(-excess // FRAME_SAMPLES) * FRAME_SAMPLES)
            microphone.first += skipped
            self.unheard += skipped

    def say(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Speak this after what waits already. R2TalkerError when too much waits."""
        if (self.say_waiting + len(samples)) / RATE > self.limits.say_seconds:
            raise R2TalkerError(f"more than {self.limits.say_seconds:g} s would wait to be said; wait, or interrupt first")
        if len(samples) == 0:
            return
        utterance = Utterance()
        utterance.append(samples)
        utterance.close()
        if not self._says and self._microphone is not None:
            # The microphone's sentence ends here; it begins a new one when the floor is free.
            self.unheard += self._microphone.waiting
            self._microphone = None if self._microphone.closed else Utterance()
        self._says.append(utterance)

    def interrupt(self) -> int:
        """Fall silent: everything that waits is forgotten. Returns the number of the first frame after."""
        self._says.clear()
        self._voice_until = -1.0
        self.epoch += 1
        # The listener drops what it holds, so what it told is not true any more; the mouth must not wait for its turn.
        self._position, self._hurry = None, True
        if self._microphone is not None:
            self._microphone = None if self._microphone.closed else Utterance()
        return self.number

    def played(self, position: float, now: float, *, buffered: float, wanted: float) -> None:
        """The listener hears sample `position` of the timeline (-1: nothing now); it holds `buffered` seconds and wants `wanted`."""
        if not 0 <= position <= self.number * FRAME_SAMPLES:
            self._position, self._steer = None, 0.0
            return
        self._position = (position, now)
        self._steer = min(max((buffered - wanted) * STEER, -STEER_MOST), STEER_MOST)

    # -- what goes out

    def plan(self, now: float) -> list[Planned]:
        """The frames that are due."""
        return list(self._plan(now))

    def _plan(self, now: float) -> Iterator[Planned]:
        while True:
            if self._says and self._says[0].over:
                self._says.popleft()
                continue
            if self._microphone is not None and self._microphone.over:
                self._microphone = None
                continue
            planned = self._next(now)
            if planned is None:
                return
            self._planned_at.append(now)
            yield planned

    def _next(self, now: float) -> Planned | None:
        if self._says:
            return self._spoken(self._says[0]) if self._keep_time(now) else None
        microphone = self._microphone
        if microphone is not None and microphone.ready(self.ahead) and (not microphone.closed or now >= self._due):
            self._due, self._stalled = now + FRAME_SECONDS, False
            return self._from_microphone(microphone, now)
        if microphone is not None and microphone.frames and not self._stalled:
            if now < self._due + STALL_SECONDS:
                return None
            self._due, self._stalled = now, True
        return self._advance(np.zeros(FRAME_SAMPLES, np.int16)) if self._keep_time(now) else None

    def _keep_time(self, now: float) -> bool:
        if self._hurry:
            self._hurry, self._due = False, now
        if now < self._due:
            return False
        if now > self._due + STALL_SECONDS:
            self.moved += int((now - self._due) * FRAME_RATE)
            self._due = now
        self._due += FRAME_SECONDS + self._steer
        return True

    def _spoken(self, utterance: Utterance, heard: int = -1) -> Planned:
        begins = utterance.frames == 0
        sound, feed, ends = utterance.take(self.ahead)
        return self._advance(sound, feed=feed, begins=begins, ends=ends, heard=heard)

    def _from_microphone(self, microphone: Utterance, now: float) -> Planned:
        planned = self._spoken(microphone, microphone.first + microphone.frames * FRAME_SAMPLES)
        loud = float(np.sqrt(np.mean(np.square(planned.sound.astype(np.float32))))) / 32768
        if loud > VOICE:
            self._voice_until = now + VOICE_SECONDS
        return planned

    def _advance(self, sound: np.ndarray, **more: object) -> Planned:
        planned = Planned(self.number, self.epoch, sound, **more)  # type: ignore[arg-type]
        self.number += 1
        return planned

    # -- what is asked

    def wake(self) -> float:
        """When `plan` has something to do at the latest, unless sound arrives before."""
        if self._hurry:
            return -1.0
        microphone = self._microphone
        follows = not self._says and microphone is not None and microphone.frames > 0 and not self._stalled
        return self._due + (STALL_SECONDS if follows else 0.0)

    def is_late(self, planned: Planned, now: float) -> bool:
        """Whether the sound of a frame has been heard already, or it is of before an interruption: its picture is worth nothing.

        May be asked by another thread than that which plans.
        """
        if planned.epoch != self.epoch:
            return True
        position = self._position
        if position is not None and now - position[1] < 1.0:
            return position[0] + (now - position[1]) * RATE > (planned.number + 1) * FRAME_SAMPLES
        behind = self.number - 1 - planned.number
        return behind < len(self._planned_at) and now - self._planned_at[-1 - behind] > LATE_SECONDS

    def state(self, now: float) -> State:
        """Idle, listening (the microphone is open) or speaking."""
        if self._says or now < self._voice_until:
            return "speaking"
        return "idle" if self._microphone is None else "listening"

    @property
    def say_waiting(self) -> int:
        """Samples that wait to be said."""
        return sum(say.waiting for say in self._says)

    @property
    def microphone_waiting(self) -> int:
        """Microphone samples that wait for their frame."""
        return 0 if self._microphone is None else self._microphone.waiting
