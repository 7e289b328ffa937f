"""Scalars and pictures for TensorBoard, written at once and in this thread, so that a full disk stops training with a plain error."""

import os
import socket
import time
import warnings
from pathlib import Path
from types import TracebackType

from r2talker.errors import R2TalkerError


class EventLog:
    """One event file in `folder`; use as a context manager.

    Raises R2TalkerError when the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"

    def __enter__(self) -> "EventLog":
        with warnings.catch_warnings():
            # TensorBoard's own imports are not free of deprecation warnings, which are nothing the user can mend.
            warnings.simplefilter("ignore")
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.record_writer import RecordWriter
        self._event, self._summary = Event, Summary
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: every entry is on disk when the call returns, and fails then or never.
            self._records = RecordWriter(self.path.open("wb", buffering=0))
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        except R2TalkerError:
            self._records.close()
            raise
        return self

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add one point of the curve `name`."""
        self._add(self._summary.Value(tag=name, simple_value=value), step)

    def image(self, name: str, png: bytes, height: int, width: int, step: int) -> None:
        """Add an RGB picture, coded as PNG, to the row `name`."""
        coded = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
        self._add(self._summary.Value(tag=name, image=coded), step)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._records.close()

    def _add(self, value: object, step: int) -> None:
        self._write(self._event(wall_time=time.time(), step=step, summary=self._summary(value=[value])))

    def _write(self, event: "object") -> None:
        try:
            self._records.write(event.SerializeToString())  # type: ignore[attr-defined]
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> R2TalkerError:
        return R2TalkerError(f"cannot write {self.path}: {error.strerror or error}; free some space or choose another folder")
