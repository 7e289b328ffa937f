"""The load test runs on a bare machine and tells every session and stage."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.live_load import row_of
from r2talker.cli.main import ENVIRONMENT
from r2talker.live.metrics import STAGES

ABSENT = ("mediapipe", "soundfile", "soxr", "tyro", "aiortc", "tensorboard", "rich")
PROGRAM = """
import runpy, sys
sys.modules.update(dict.fromkeys({absent!r}))
sys.argv[1:] = {arguments!r}
runpy.run_module("benchmarks.live_load", run_name="__main__")
"""


def test_two_sessions_on_a_machine_without_the_rest(trained: Callable[[str], Path], tmp_path: Path) -> None:
    table = tmp_path / "load.csv"
    arguments = [
        str(trained("r2talker")),
        "--sessions=2",
        "--size=32",
        "--seconds=3",
        "--settle=1",
        "--device=cpu",
        f"--csv={table}",
    ]
    program = PROGRAM.format(absent=ABSENT, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **ENVIRONMENT},
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "drawing" in done.stdout
    rows = {row["of"]: row for row in csv.DictReader(table.read_text().splitlines())}
    assert list(rows) == ["session 0", "session 1", "all", *(f"stage {stage}" for stage in STAGES)]
    assert rows["all"]["side"] == "32"
    assert float(rows["all"]["pictures_per_second"]) > 1
    # Nothing comes before the sound that it waits for.
    assert float(rows["session 0"]["p50_ms"]) > 166
    assert float(rows["stage draw"]["p95_ms"]) >= float(rows["stage draw"]["p50_ms"]) > 0


def test_sessions_are_summed_up() -> None:
    one = {"side": 64, "delays": [100.0, 200.0, 300.0, 400.0], "dropped": 1, "kilobits": 8.0}
    other = {"side": 32, "delays": [500.0, 600.0], "dropped": 2, "kilobits": 4.0}
    row = row_of("all", [one, other], 2.0)
    assert (row.side, row.pictures_per_second, row.dropped, row.kilobits_per_second) == (32, 1.5, 3, 3.0)
    assert (row.p50_ms, row.p95_ms) == (400.0, 600.0)
