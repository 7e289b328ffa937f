"""Sessions at once on one machine: `python -m benchmarks.live_load AVATAR --sessions 5 --size 512`.

Every session speaks a noise that its microphone delivers in pieces of 20 ms in real time. What is timed: from the moment the
look-ahead of a frame has arrived to its picture on the host (perform, wait, draw, copy). No web server, page or network; H.264 where
PyAV is installed and `--encode` is given. Needs neither FastAPI nor a browser, so that it runs on a bare GPU machine.
"""

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from r2talker.avatar import Avatar
from r2talker.live.messages import Look
from r2talker.live.metrics import percentile
from r2talker.live.performer import Performer
from r2talker.live.session import FRAME_SECONDS, RATE, Session
from r2talker.live.stage import Order, Stage
from r2talker.live.views import View

PIECE = 0.02


class Load:
    """One session in a thread of its own."""

    def __init__(self, name: str, stage: Stage, side: int, encode: bool) -> None:
        self.name, self._stage, self._side, self._encode = name, stage, side, encode
        self.delays: list[float] = []
        self.dropped = 0
        self._performer = Performer(stage.actor, wait=1)
        self.ahead = self._performer.ahead / RATE
        self._encoder: Any = None
        self._pool = ThreadPoolExecutor(1)

    def run(self, seconds: float) -> None:
        """Speak for so long."""
        rng = np.random.default_rng(0)
        session = Session(self._performer.ahead, time.monotonic())
        session.open_microphone()
        begun = due = time.monotonic()
        while due < begun + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            session.push(rng.integers(-3000, 3000, round(PIECE * RATE)).astype(np.int16))
            arrived = time.monotonic()
            for planned in session.plan(arrived):
                moved = self._performer.perform(planned)
                view = View(Look(), self._side or self._stage.side(time.monotonic()))
                late = arrived + 10 * FRAME_SECONDS
                order = Order(self.name, planned, moved, view, partial(is_past, late), self._taker(arrived), self._miss)
                self._stage.submit(order)
            due += PIECE

    def finish(self) -> None:
        """Wait for the encoder."""
        self._pool.shutdown()

    def _taker(self, arrived: float) -> Any:
        def take(order: Order, picture: np.ndarray) -> None:
            self._pool.submit(self._finish, arrived, picture)

        return take

    def _finish(self, arrived: float, picture: np.ndarray) -> None:
        if self._encode:
            from r2talker.media.stream import PictureEncoder

            side = picture.shape[0]
            if self._encoder is None or self._encoder.width != side:
                self._encoder = PictureEncoder(side, side)
            self._encoder.encode(picture)
        self.delays.append((time.monotonic() - arrived) * 1000)

    def _miss(self, order: Order) -> None:
        self.dropped += 1


def is_past(moment: float) -> bool:
    """Whether the monotonic clock has passed `moment`."""
    return time.monotonic() > moment


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--size", type=int, default=0, help="side of the pictures; 0 adapts")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--encode", action="store_true")
    args = parser.parse_args()
    stage = Stage(Avatar.load(args.avatar, device=args.device))
    loads = [Load(str(number), stage, args.size, args.encode) for number in range(args.sessions)]
    # What is compiled at first use belongs to nobody's delay.
    loads[0].run(2.0)
    loads[0] = Load("0", stage, args.size, args.encode)
    busy, begun = stage.busy_seconds, time.monotonic()
    threads = [threading.Thread(target=load.run, args=(args.seconds,)) for load in loads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - begun
    stage.close()
    for load in loads:
        load.finish()
    for load in loads:
        p50, p95 = percentile(load.delays, 0.5), percentile(load.delays, 0.95)
        fps = len(load.delays) / elapsed
        print(f"session {load.name}: {fps:.1f} pictures/s, {load.dropped} dropped, p50 {p50:.1f} ms, p95 {p95:.1f} ms")
    print(
        f"stage busy {(stage.busy_seconds - busy) / elapsed:.0%} at side {args.size or stage.pace.side}, look-ahead "
        f"{loads[0].ahead * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
