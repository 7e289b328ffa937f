"""One worker that draws for all listeners of one avatar: newest frames only, frames of several listeners in one batch."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from r2talker.avatar import Avatar
from r2talker.live.pace import Pace, sides
from r2talker.live.performer import Moved, on_cpu
from r2talker.live.session import FRAME_SECONDS, Planned
from r2talker.live.stills import Stills
from r2talker.live.views import Drawer, View

BATCH = 8


@dataclass(frozen=True)
class Order:
    """A picture that somebody wants. late: whether nobody would look at it any more. deliver, missed: called by the worker's thread.

    deliver takes None instead of a picture when drawing failed; `error` of the stage says how.
    """

    listener: str
    planned: Planned
    moved: Moved
    view: View
    late: Callable[[], bool]
    deliver: Callable[["Order", UInt8[np.ndarray, "side side 3"]], None]
    missed: Callable[["Order"], None]


class Stage:
    """Draws the newest order of every listener; an order that another replaces before its turn is missed, never queued.

    actor: the avatar as the listeners' performers use it.
    """

    def __init__(self, avatar: Avatar, *, name: str = "stage", gpu: AbstractContextManager[object] | None = None) -> None:
        """gpu: lock that all who use the avatar's GPU share."""
        self.avatar, self.actor = avatar, on_cpu(avatar)
        self._gpu = threading.Lock() if gpu is None else gpu
        self.pace = Pace(sides(avatar.info.size), avatar.info.size, FRAME_SECONDS)
        self.error: str | None = None
        self.busy_seconds, self.pictures = 0.0, 0
        self._drawer = Drawer(avatar, batch=BATCH)
        self._stills = Stills(self._drawer)
        self._waiting: dict[str, Order] = {}
        self._listeners: dict[str, float] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name=f"r2talker-{name}", daemon=True)
        self._thread.start()

    def turn(self) -> AbstractContextManager[object]:
        """To be held while the avatar's own tensors are used: recording a GPU's graph fails when another thread uses that GPU meanwhile.

        A CPU serves all at once.
        """
        return self._gpu if self.avatar.device.type == "cuda" else nullcontext()

    def submit(self, order: Order) -> None:
        """Have it drawn next."""
        with self._changed:
            replaced = self._waiting.pop(order.listener, None)
            self._waiting[order.listener] = order
            self._listeners[order.listener] = time.monotonic()
            self._changed.notify()
        if replaced is not None:
            replaced.missed(replaced)

    def side(self, now: float) -> int:
        """The side that keeps up with all who look now."""
        with self._changed:
            self._listeners = {name: last for name, last in self._listeners.items() if now - last < 1.0}
            return self.pace.choose(len(self._listeners), now)

    @property
    def waiting(self) -> int:
        """Orders that have not had their turn."""
        return len(self._waiting)

    def close(self) -> None:
        """End the worker; orders that wait are missed."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if self._ended:
                    return
                orders = self._take()
            wanted = [order for order in orders if not order.late()]
            for order in orders:
                if order not in wanted:
                    order.missed(order)
            if wanted:
                self._draw(wanted)

    def _take(self) -> list[Order]:
        """Orders that can be drawn in one batch, with the one that waits longest."""
        first = next(iter(self._waiting.values()))
        alike = [order for order in self._waiting.values() if _batchable(order.view, first.view)][:BATCH]
        for order in alike:
            del self._waiting[order.listener]
        return alike

    def _pictures(self, orders: list[Order]) -> list[UInt8[np.ndarray, "side side 3"]]:
        view = orders[0].view
        if view.look.max_spp > 1:
            return [self._stills.draw(order.listener, order.moved, view) for order in orders]
        return self._drawer.draw([order.moved for order in orders], view)

    def _draw(self, orders: list[Order]) -> None:
        begun = time.perf_counter()
        try:
            with self.turn():
                pictures = self._pictures(orders)
        except Exception as error:
            # The worker serves others too; whoever asked for this learns it from the report.
            self.error = f"{type(error).__name__}: {error}"
            for order in orders:
                order.missed(order)
            return
        taken = time.perf_counter() - begun
        self.busy_seconds += taken
        self.pictures += len(orders)
        if orders[0].view.look.max_spp == 1:
            # Jittered renderings take longer and would lower the side, which begins them anew.
            with self._changed:
                self.pace.note(orders[0].view.side, taken / len(orders))
        for order, picture in zip(orders, pictures, strict=True):
            order.deliver(order, picture)


def _batchable(one: View, other: View) -> bool:
    return one.look == other.look and one.key == other.key
