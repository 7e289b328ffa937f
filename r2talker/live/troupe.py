"""Performers on a thread each, or in processes of their own.

Performing a frame is some three hundred small steps, each of which gives the interpreter's lock away and asks for it again. Five
listeners on threads take turns at it step by step: beside an H100 a frame took 75 ms instead of 6. Processes share no lock.
"""

import asyncio
import itertools
import multiprocessing
import os
import threading
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from r2talker.avatar import Avatar
from r2talker.errors import R2TalkerError
from r2talker.live.performer import Direction, Moved, Performer
from r2talker.live.session import Planned

MOST_PROCESSES = 4
"""By default; each holds an avatar on the CPU beside PyTorch, about 400 MB."""


class Actor(Protocol):
    """A performer as a listener uses it, on the event loop. ahead: see `Performer`."""

    ahead: int

    def blink(self) -> None:
        """Close the eyes once, from the next frame on."""
        ...

    async def perform(self, planned: Planned, direction: Direction) -> Moved:
        """Make the frame. R2TalkerError when whoever makes it is gone."""
        ...

    def leave(self) -> None:
        """Forget everything; nothing is performed any more."""
        ...


class ThreadActor:
    """A performer of this process, on the threads of a pool."""

    def __init__(self, performer: Performer, pool: Executor) -> None:
        self._performer, self._pool = performer, pool
        self.ahead = performer.ahead

    def blink(self) -> None:
        """See `Actor`."""
        self._performer.blink()

    async def perform(self, planned: Planned, direction: Direction) -> Moved:
        """See `Actor`."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._performer.perform, planned, direction)

    def leave(self) -> None:
        """See `Actor`."""


@dataclass(eq=False)
class _Place:
    """One process. actors: how many perform there."""

    process: ProcessPoolExecutor
    actors: int = 0


class ProcessActor:
    """A performer in another process; tensors travel as arrays."""

    def __init__(self, place: _Place, number: int, ahead: int) -> None:
        self._place, self._number, self.ahead = place, number, ahead
        self._blinks = False

    @property
    def process(self) -> Executor:
        """Where it performs."""
        return self._place.process

    def blink(self) -> None:
        """See `Actor`."""
        self._blinks = True

    async def perform(self, planned: Planned, direction: Direction) -> Moved:
        """See `Actor`."""
        blinks, self._blinks = self._blinks, False
        try:
            work = self._place.process.submit(_perform, self._number, planned, direction, blinks)
            moved = await asyncio.wrap_future(work)
        except BrokenProcessPool as error:
            raise R2TalkerError("the process that moved this avatar was ended; open the page again") from error
        return Moved(*(torch.from_numpy(part) for part in moved))

    def leave(self) -> None:
        """See `Actor`."""
        self._place.actors -= 1
        try:
            self._place.process.submit(_dismiss, self._number)
        except RuntimeError:
            # Ended, and with it what was to be forgotten.
            return


@dataclass
class Troupe:
    """Processes that perform; new actors go where the fewest are, and a process that was ended is replaced.

    Their number is fixed, and they start at once: loading PyTorch takes seconds.
    """

    size: int
    _places: list[_Place] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._places = [_Place(_start()) for _ in range(self.size)]

    def rehearse(self, avatar: Path) -> None:
        """Let all processes load an avatar, without waiting for them."""
        for place in self._places:
            place.process.submit(_load, avatar)

    def hire(self, avatar: Path, *, seed: int, wait: int) -> ProcessActor:
        """A performer of the avatar in this folder; takes as long as the process needs to load it. wait: see `Performer`."""
        for _ in range(2):
            with self._changing:
                place = min(self._places, key=lambda one: one.actors)
                number = next(self._numbers)
                place.actors += 1
            try:
                ahead = place.process.submit(_hire, number, avatar, seed, wait).result()
            except BrokenProcessPool:
                with self._changing:
                    if place in self._places:
                        self._places[self._places.index(place)] = _Place(_start())
                continue
            except BaseException:
                place.actors -= 1
                raise
            return ProcessActor(place, number, ahead)
        raise R2TalkerError("the processes that move avatars end at once; is there memory left?")

    def processes(self) -> list[int]:
        """Their numbers, once they have started."""
        return [place.process.submit(os.getpid).result() for place in self._places]

    def close(self) -> None:
        """End the processes."""
        for place in self._places:
            place.process.shutdown(wait=True, cancel_futures=True)


def processes_beside(device: torch.device) -> int:
    """How many processes perform by default: none on a CPU, whose cores draw; beside a GPU a quarter of the cores, at most MOST_PROCESSES."""
    if device.type == "cpu":
        return 0
    return max(1, min(MOST_PROCESSES, (os.cpu_count() or 1) // 4))


def _start() -> ProcessPoolExecutor:
    """One process; it is there when it has started `_begin`."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    pool.submit(os.getpid)
    return pool


# -- in the processes

_avatars: dict[Path, Avatar] = {}
_cast: dict[int, Performer] = {}


def _begin() -> None:
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    # A server that is killed cannot say so.
    threading.Thread(target=follow, daemon=True).start()


def _load(avatar: Path) -> Avatar:
    if avatar not in _avatars:
        _avatars[avatar] = Avatar.load(avatar, device="cpu")
    return _avatars[avatar]


def _hire(number: int, avatar: Path, seed: int, wait: int) -> int:
    performer = Performer(_load(avatar), seed=seed, wait=wait)
    _cast[number] = performer
    return performer.ahead


def _perform(number: int, planned: Planned, direction: Direction, blinks: bool) -> tuple[np.ndarray, ...]:
    performer = _cast[number]
    if blinks:
        performer.blink()
    moved = performer.perform(planned, direction)
    return tuple(part.numpy() for part in (moved.values, moved.window, moved.eye, moved.c2w))


def _dismiss(number: int) -> None:
    _cast.pop(number, None)
