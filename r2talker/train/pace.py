"""Training by the clock: how long it has been going on, and how many steps fit into what is left."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Seconds of training over all runs of it; `before`: those of earlier runs, up to the checkpoint from which this one goes on."""

    before: float = 0.0
    now: Callable[[], float] = time.monotonic
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.now()

    def seconds(self) -> float:
        """Seconds spent until now."""
        return self.before + self.now() - self.begun


class Pace:
    """Fits the steps of a phase to the clock, so that its last one ends when the stopwatch shows `end` seconds.

    Steps get faster or slower as a head takes shape, so the steps that are left are counted anew again and again, at the
    speed of the later half of the phase so far. most: steps that the phase has at most, however much time is left.
    """

    def __init__(self, stopwatch: Stopwatch, end: float, most: int | None = None) -> None:
        self.stopwatch, self.end, self.most = stopwatch, end, most
        self._marks: deque[tuple[float, int]] = deque()
        self._begun: float | None = None

    def is_over(self) -> bool:
        """Whether the time has come to stop."""
        return self.stopwatch.seconds() >= self.end

    def foresee(self, done: int) -> int | None:
        """Steps that the phase will have had at its end, when the device has done `done` of them; None when it is not known yet."""
        now = self.stopwatch.seconds()
        if now >= self.end:
            return done
        if self._begun is None:
            # What came before is set-up, such as compiling.
            self._begun = now
        self._marks.append((now, done))
        half = (self._begun + now) / 2
        while len(self._marks) > 2 and self._marks[1][0] <= half:
            self._marks.popleft()
        then, before = self._marks[0]
        if done == before or now <= then:
            return None
        steps = done + round((self.end - now) * (done - before) / (now - then))
        return steps if self.most is None else min(steps, max(self.most, done))


def phase_ends(shares: list[float], begin: float, end: float) -> list[float]:
    """Seconds at which phases that share the time from `begin` to `end` end; shares are relative to each other."""
    ends, done = [], 0.0
    for share in shares:
        done += share
        ends.append(begin + (end - begin) * done / sum(shares))
    return ends
