"""Draws progress: a live bar with time left on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_SECONDS = 15.0


class ProgressDisplay:
    """A `r2talker.progress.Progress`; use as a context manager around the whole command."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("{task.description:>20}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not self.live,
        )
        self.task: TaskID | None = None
        self.name, self.total, self.done, self.resumed = "", 0, 0, 0
        self.begun = self.said = time.monotonic()

    def __enter__(self) -> "ProgressDisplay":
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        """Start a step."""
        self.name, self.total, self.done, self.resumed = name, total, done, done
        self.begun = self.said = time.monotonic()
        if self.live:
            self.task = self.bar.add_task(name, total=total, completed=done, note="")
        if done:
            self._say(f"{name}: goes on at {done} of {total}")

    def advance(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """Show that `done` units are finished, of `total` where that changes."""
        self.done, self.total = done, self.total if total is None else total
        now = time.monotonic()
        if self.live and self.task is not None:
            self.bar.update(self.task, completed=done, total=self.total, note=note)
        elif now - self.said > QUIET_SECONDS:
            self.said = now
            left = (now - self.begun) / max(1, done - self.resumed) * (self.total - done)
            self._say(f"{self.name}: {done} of {self.total}, {left:.0f} s left  {note}")

    def end(self, message: str) -> None:
        """Close the step with what it made."""
        if self.live and self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None
        self._say(f"{self.name}: {message} ({time.monotonic() - self.begun:.1f} s)")

    def _say(self, line: str) -> None:
        if self.live:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)
