"""What a training run leaves for people to look at while it goes on: curves, previews, `training.html`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from r2talker.files import write_bytes
from r2talker.train.event_log import EventLog
from r2talker.train.history import History

Picture: TypeAlias = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class RunFolder:
    """Files of a training run inside the avatar's folder."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint.safetensors"

    @property
    def motion(self) -> Path:
        """The finished landmark generator."""
        return self.root / "motion.safetensors"

    @property
    def history(self) -> Path:
        return self.root / "history.json"

    @property
    def page(self) -> Path:
        """The summary, in the avatar's folder itself."""
        return self.root.parent / "training.html"

    def preview(self, phase: str) -> Path:
        """Latest preview of a phase."""
        return self.root / f"preview_{phase}.png"


class Diary:
    """Keeps `history`, and tells TensorBoard; use as a context manager.

    write_page: called with the latest preview of every phase when there is something new to see. Every file but TensorBoard's is
    replaced at once, so whoever looks never sees half of one.
    """

    def __init__(self, folder: RunFolder, history: History, write_page: Callable[[Mapping[str, Picture]], None]) -> None:
        self.folder, self.history, self._write_page = folder, history, write_page
        self._previews: dict[str, Picture] = {}
        self._log = EventLog(folder.root / "tensorboard")

    def __enter__(self) -> "Diary":
        self._log.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._log.__exit__(kind, error, trace)

    def begin(self, phase: str, steps: int, seconds: float) -> None:
        """A phase begins, or goes on."""
        self.history.begin(phase, steps, seconds)

    def forget(self, step: int) -> None:
        """What was read of the phase from this step on is no longer true; TensorBoard is told again as it is read again."""
        self.history.phases[-1].cut(step)

    def note(self, scalars: Mapping[str, float], *, step: int, steps: int, seconds: float) -> None:
        """Readings of a step of the phase, which has `steps`, after so many seconds of training."""
        record = self.history.phases[-1]
        record.steps, record.ended = steps, seconds
        record.points.append({"step": step, "seconds": round(seconds, 2), **scalars})
        for name, value in scalars.items():
            self._log.scalar(f"{record.name}/{name}", value, step)

    def show(self, picture: Picture, step: int) -> None:
        """A preview of the phase: truth beside rendering."""
        import cv2

        record = self.history.phases[-1]
        phase, (truth, made) = record.name, np.split(picture.astype(np.float64) / 255, 2, axis=1)
        psnr = -10 * math.log10(max(float(((truth - made) ** 2).mean()), 1e-10))
        record.previews.append({"step": step, "psnr": psnr})
        self._log.scalar(f"{phase}/held-out psnr", psnr, step)
        png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()
        write_bytes(self.folder.preview(phase), png)
        height, width = picture.shape[:2]
        self._log.image(f"{phase}/preview", png, height, width, step)
        self._previews[phase] = picture
        self._write_page(self._previews)

    def save(self) -> None:
        """Write the history; to be called before a checkpoint, because what comes after a checkpoint is cut off when it is read."""
        self.history.write(self.folder.history)
