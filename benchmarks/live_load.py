"""Sessions at once on one machine: `python -m benchmarks.live_load AVATAR --sessions 5 --size 512 --seconds 30`.

A real server on loopback; the listeners are a process of their own (`benchmarks.live_listeners`), which speaks and decodes as the page
does. Printed, and written as CSV: pictures per second, pictures dropped, sound to lips from the middle of a frame's sound to its
decoded picture (look-ahead included, what a page holds and its screen not), the time in every stage, and the share of the time in
which the drawing thread was at work. Needs torch, NumPy, OpenCV, PyAV, FastAPI, uvicorn and websockets; no browser, MediaPipe or tyro.
"""

import argparse
import csv
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import restart_as
from r2talker.live.config import ServeConfig
from r2talker.live.library import Library
from r2talker.live.metrics import STAGES, percentile
from r2talker.live.room import Room
from r2talker.live.server import make_server_app
from r2talker.live.web import WebServer


@dataclass(frozen=True)
class Row:
    """One line of the table. of: a session, all of them, or a stage of the pipeline; times in milliseconds."""

    of: str
    side: int
    p50_ms: float
    p95_ms: float
    pictures_per_second: float | None = None
    dropped: int | None = None
    kilobits_per_second: float | None = None


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--size", type=int, default=0, help="side of the pictures; 0 adapts")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds that count")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds before them")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    args = parser.parse_args()
    config = ServeConfig(port=0, sessions=args.sessions)
    app = make_server_app(Library(args.avatar, device=args.device), config)
    server = WebServer(app, config)
    server.start()
    try:
        heard, busy = watch_listeners(server.port, app.state.room, args)
        stages = app.state.room.metrics
    finally:
        server.stop()
    rows = [row_of(f"session {number}", [one], args.seconds) for number, one in enumerate(heard)]
    rows.append(row_of("all", heard, args.seconds))
    for stage in STAGES:
        p50, p95 = (1000 * seconds for seconds in stages.spent(stage, 0.5, 0.95))
        rows.append(Row(f"stage {stage}", rows[-1].side, round(p50, 2), round(p95, 2)))
    device = torch.cuda.get_device_name() if args.device != "cpu" and torch.cuda.is_available() else "CPU"
    tell(
        rows,
        f"{device}, torch {torch.__version__}: drawing {busy:.0%} of the time; look-ahead {look_ahead_ms(heard):.0f} ms is in it",
    )
    if args.csv is not None:
        write(args.csv, rows, {"device": device, "sessions": args.sessions, "seconds": args.seconds, "busy": round(busy, 3)})


def watch_listeners(port: int, room: Room, args: argparse.Namespace) -> tuple[list[dict[str, Any]], float]:
    """What the listeners heard, and the share of their time in which pictures were drawn."""
    options = [f"--{name}={getattr(args, name)}" for name in ("sessions", "size", "settle", "seconds")]
    command = [sys.executable, "-m", "benchmarks.live_listeners", str(port), *options]
    busy, moments = [0.0, 0.0], [0.0, 0.0]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # Somebody who does not come must not be waited for.
        alarm = threading.Timer(args.settle + args.seconds + 120, process.kill)
        alarm.start()
        for place in range(2):
            process.stdout.readline()
            (stage,) = room.library.stages().values() or [None]
            busy[place], moments[place] = stage.busy_seconds if stage else 0.0, time.monotonic()
        answer = process.stdout.read()
        alarm.cancel()
    if process.returncode:
        sys.exit("error: the listeners ended early; what they said stands above")
    return json.loads(answer), (busy[1] - busy[0]) / (moments[1] - moments[0])


def row_of(name: str, heard: list[dict[str, Any]], seconds: float) -> Row:
    """Sessions together; rates are of one session on average."""
    delays = [delay for one in heard for delay in one["delays"]]
    return Row(
        name,
        min(one["side"] for one in heard),
        round(percentile(delays, 0.5), 1),
        round(percentile(delays, 0.95), 1),
        round(len(delays) / seconds / len(heard), 2),
        sum(one["dropped"] for one in heard),
        round(sum(one["kilobits"] for one in heard) / seconds / len(heard), 0),
    )


def look_ahead_ms(heard: list[dict[str, Any]]) -> float:
    """From the middle of a frame to the end of the sound that it waits for."""
    return 1000 * (max(one["look_ahead"] for one in heard) + 0.02)


def tell(rows: list[Row], caption: str) -> None:
    """Print a table."""
    names = [one.name for one in fields(Row)]
    print("  ".join(f"{name:>19}" for name in names))
    for row in rows:
        print("  ".join(f"{'' if value is None else value!s:>19}" for value in asdict(row).values()))
    print(caption)


def write(path: Path, rows: list[Row], same: dict[str, Any]) -> None:
    """The table as CSV, with what is the same for all rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*same, *(one.name for one in fields(Row))])
        writer.writeheader()
        writer.writerows({**same, **asdict(row)} for row in rows)


if __name__ == "__main__":
    restart_as("benchmarks.live_load")
    main()
