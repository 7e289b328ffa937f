"""The benchmarks' programs, small: training runs as it says, every table is printed, and bare machines can run them."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import bench_arithmetic, bench_frame, bench_ops, bench_train, bench_video
from benchmarks.bench_train import Checkpoint, PlainEngine, checkpoint_rows, run
from benchmarks.models import build_model
from benchmarks.scene import Clip, make_clip
from benchmarks.table import ROOT
from r2talker.model.talking_head import TalkingHead

SIZE = 32
NOT_ON_A_BENCHMARK_MACHINE = ("av", "mediapipe", "soundfile", "soxr", "tyro")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return make_clip(SIZE)


class Counting:
    """An engine that counts its steps and learns nothing."""

    device = torch.device("cpu")

    def __init__(self, seconds: float = 0.0) -> None:
        self.model = build_model("r2talker", SIZE, self.device)
        self.steps: list[int] = []
        self.seconds = seconds

    def step(self, step: int) -> None:
        self.steps.append(step)
        time.sleep(self.seconds)

    def current_model(self) -> TalkingHead:
        return self.model


class TestTraining:
    def test_readings_come_at_checkpoints_and_at_the_end(self, clip: Clip) -> None:
        engine = Counting()
        readings = run(engine, clip, steps=5, checkpoints=(2, 4, 9))
        assert [reading.step for reading in readings] == [2, 4, 5]
        assert engine.steps == [0, 1, 2, 3, 4]
        assert len({reading.psnr for reading in readings}) == 1

    def test_readings_stop_the_clock(self, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bench_train, "held_out_psnr", lambda *_: time.sleep(0.3) or 20.0)
        readings = run(Counting(0.01), clip, steps=4, checkpoints=(1, 2, 3, 4))
        assert 0.04 <= readings[-1].seconds < 0.3

    def test_seconds_end_a_run(self, clip: Clip) -> None:
        (reading,) = run(Counting(0.02), clip, steps=10**6, seconds=0.1, checkpoints=())
        assert 1 < reading.step <= 6
        assert reading.seconds >= 0.1

    def test_the_plain_engine_learns(self, clip: Clip) -> None:
        engine = PlainEngine(build_model("r2talker", SIZE, clip.background.device), clip, 60, 256, 20000)
        first, last = run(engine, clip, steps=60, checkpoints=(1,))
        assert last.psnr > first.psnr + 3

    def test_rows(self) -> None:
        rows = checkpoint_rows("a head", [Checkpoint(100, 4.0, 25.5)])
        assert [(row.subject, row.quantity, row.value) for row in rows] == [
            ("a head, 100 steps", "held out", 25.5),
            ("a head, 100 steps", "training", 4.0),
            ("a head, 100 steps", "rate", 25.0),
        ]


ONE_METHOD = ["--methods", "r2talker"]
PROGRAMS: dict[str, tuple[Callable[[], None], list[str], str]] = {
    "frame": (bench_frame.main, ONE_METHOD, "r2talker, head + torso, renderer"),
    "train": (bench_train.main, [*ONE_METHOD, "--rays", "64"], "r2talker, plain, 64 rays, 20 steps"),
    "arithmetic": (bench_arithmetic.main, [*ONE_METHOD, "--rays", "64"], "r2talker, plain, single, 64 rays"),
    "ops": (bench_ops.main, [], "grid_encode forward + backward"),
    "video": (bench_video.main, ["--stand-in", "1"], "40 frames, 32 x 32"),
    "video of a head": (bench_video.main, [], "40 frames, 32 x 32"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_its_table_last(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main, options, subject = PROGRAMS[name]
    table = tmp_path / "results.csv"
    common = ["--device", "cpu", "--size", str(SIZE), "--quick", "--table", str(table)]
    monkeypatch.setattr(sys, "argv", [name, *common, *options])
    main()
    lines = capsys.readouterr().out.splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith("| ---"))
    assert any(line.startswith(f"| {subject} |") for line in lines[start:])
    assert not table.exists()  # nobody asked for a record


def test_bare_machines_can_run_them() -> None:
    blocked = "\n".join(f"sys.modules[{name!r}] = None" for name in NOT_ON_A_BENCHMARK_MACHINE)
    programs = ", ".join(f"benchmarks.bench_{name}" for name in ("frame", "train", "parallel", "arithmetic", "ops"))
    code = f"import sys\n{blocked}\nimport {programs}\nprint('imported')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr[-1000:]


def test_without_pyav_the_film_says_so() -> None:
    code = "import sys; sys.modules['av'] = None; sys.argv = ['x', '--quick', '--size', '32']\n"
    code += "from benchmarks import bench_video, command\ncommand.run(bench_video.main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: this benchmark encodes with PyAV, which is not installed; pip install av\n"
