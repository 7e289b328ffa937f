"""Encoding beside rendering: a thread writes pictures while the next ones are made."""

import sys
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from jaxtyping import UInt8
from numpy import ndarray

from r2talker.media.write import VideoWriter

AHEAD = 4
"""Batches that may wait for the encoder."""

LONGEST_WAIT = 0.1
"""Seconds after which a pressed Ctrl-C is noticed at the latest."""

Batch = UInt8[ndarray, "batch height width 3"] | UInt8[ndarray, "batch rows even_width"]
Write = Callable[[ndarray], None]
"""How the writer takes one picture of a batch."""


class ThreadedWriter:
    """Hands batches of pictures to a VideoWriter that works in a thread; use it in a `with` statement, as the writer itself.

    `write` and `write_planar` block while `ahead` batches wait, so a slow encoder holds the renderer back instead of filling the
    memory. What goes wrong in the thread is raised by the next of these calls or at the end of the block. The block ends when
    everything is encoded, or within a picture's time when it is left by an exception (Ctrl-C too); then, as with VideoWriter,
    nothing is left.
    """

    def __init__(self, writer: VideoWriter, *, ahead: int = AHEAD) -> None:
        if ahead < 1:
            raise ValueError(f"ThreadedWriter: ahead must be at least 1, got {ahead}")
        self.writer, self.ahead = writer, ahead
        self._waiting: deque[tuple[Write, Batch]] = deque()
        self._changed = threading.Condition()
        self._ended, self._discard, self._finished = False, False, False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="r2talker-encoder", daemon=True)

    def __enter__(self) -> "ThreadedWriter":
        self.writer.__enter__()
        try:
            self._thread.start()
        except BaseException:
            self.writer.__exit__(*sys.exc_info())
            raise
        return self

    def write(self, batch: UInt8[ndarray, "batch height width 3"]) -> None:
        """Append pictures. The array belongs to the writer from now on: it is read later."""
        self._append(self.writer.write, batch)

    def write_planar(self, batch: UInt8[ndarray, "batch rows even_width"]) -> None:
        """Append pictures as `VideoWriter.write_planar` takes them, likewise."""
        self._append(self.writer.write_planar, batch)

    def _append(self, write: Write, batch: Batch) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or len(self._waiting) < self.ahead)
            if self._error is not None:
                raise self._error
            self._waiting.append((write, batch))
            self._changed.notify_all()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._end(discard=kind is not None)
            if kind is None and self._error is not None:
                raise self._error
        except BaseException as late:
            self.writer.__exit__(type(late), late, late.__traceback__)
            raise
        self.writer.__exit__(kind, error, trace)

    def _end(self, *, discard: bool) -> None:
        """Return when the thread has ended: the file must not be closed under an encoder at work, however often Ctrl-C is pressed."""
        interruption: KeyboardInterrupt | None = None
        while not self._finished:
            try:
                with self._changed:
                    self._ended, self._discard = True, self._discard or discard
                    self._changed.notify_all()
                    # Not Thread.join: up to Python 3.12 an interrupted one takes a running thread for a finished one. And not without
                    # end: where others had calls restarted after SIGINT (siginterrupt), Ctrl-C does not wake it.
                    self._changed.wait_for(lambda: self._finished, timeout=LONGEST_WAIT)
            except KeyboardInterrupt as error:
                interruption, discard = error, True
        if interruption is not None:
            raise interruption

    def _encode(self) -> None:
        """Body of the thread."""
        failure: BaseException | None = None
        try:
            self._encode_all()
        except BaseException as error:
            failure = error
        with self._changed:
            self._error, self._finished = failure, True
            self._changed.notify_all()

    def _encode_all(self) -> None:
        while (waiting := self._next()) is not None:
            write, batch = waiting
            for picture in batch:
                if self._discard:
                    return
                write(picture)

    def _next(self) -> tuple[Write, Batch] | None:
        """The next batch, or None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._discard or not self._waiting:
                return None
            waiting = self._waiting.popleft()
            self._changed.notify_all()
            return waiting
