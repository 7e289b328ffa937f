"""Several processes train one avatar: as one would, going on after an interruption, and all ending when one fails."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from r2talker.avatar_format import AvatarFolder
from r2talker.data.folder import DatasetFolder
from r2talker.errors import R2TalkerError
from r2talker.train.checkpoint import read_position
from r2talker.train.diary import RunFolder
from r2talker.train.parallel import ALONE, Place, Team, joined_team, read_place
from r2talker.train.run import train_avatar
from tests.ops.cuda.backends import open_backend
from tests.tiny import MOTION
from tests.tolerances import assert_close
from tests.train.team_worker import EMULATED_STEPS, FRAMES, STEPS, TEAM_TRAINING, fit

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
VARIABLES = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Ended:
    """Exit codes of all processes started, and what they said between them, line by line."""

    codes: list[int]
    lines: list[str]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def torchrun(*command: str, env: dict[str, str] = ONE_THREAD) -> Ended:
    done = subprocess.run(
        [*TORCHRUN, *command], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=240, check=False
    )
    return Ended([done.returncode], done.stderr.splitlines())


def torchrun_worker(*arguments: str) -> Ended:
    return torchrun("-m", "tests.train.team_worker", *arguments)


def two_processes(*arguments: str) -> Ended:
    """Without torchrun, which costs a process more, and would end the others before they can answer."""
    place = {**VARIABLES, **ONE_THREAD, "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "tests.train.team_worker", *arguments]
    both = [
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=240)[1] for process in both]
    return Ended([process.returncode for process in both], "".join(said).splitlines())


def left_by(folder: Path) -> tuple[Tensors, Tensors]:
    return load_file(folder / "0.safetensors"), load_file(folder / "1.safetensors")


def weights(avatar: Path) -> Tensors:
    return load_file(AvatarFolder(avatar).weights)


def differing(first: Tensors, second: Tensors) -> set[str]:
    """Names of the tensors that are not bit-equal."""
    assert first.keys() == second.keys()
    return {name for name, value in first.items() if not torch.equal(value, second[name])}


@pytest.fixture(scope="module")
def alone(dataset: DatasetFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar trained by one process that looks at both frames of every step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = replace(TEAM_TRAINING, frames_per_step=2)
        return train_avatar("radnerf", dataset.root, tmp_path_factory.mktemp("alone") / "a.avatar", config, MOTION).avatar
    finally:
        torch.set_num_threads(threads)


def test_an_avatar_of_two_processes_is_that_of_one(dataset: DatasetFolder, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two.avatar"
    ended = torchrun_worker("avatar", str(dataset.root), str(folder))
    assert ended.codes == [0], ended.lines
    ours, theirs = weights(folder), weights(alone)
    for name in theirs:
        assert_close(ours[name], theirs[name], "summed by two processes")
    # The leader alone has written, into one file of curves.
    assert len(list((folder / "training" / "tensorboard").glob("*tfevents*"))) == 1
    # What was finished by two is finished for one.
    assert train_avatar("radnerf", dataset.root, folder, TEAM_TRAINING, MOTION).current


def test_interrupted_the_team_ends_as_if_it_had_not_been(dataset: DatasetFolder, alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a.avatar"
    assert torchrun_worker("avatar", str(dataset.root), str(folder), "head").codes != [0]
    assert not AvatarFolder(folder).info.exists()
    position = read_position(RunFolder(folder / "training").checkpoint)
    assert position is not None
    assert (position.phase, position.step) == ("head", 20)
    ended = torchrun_worker("avatar", str(dataset.root), str(folder))
    assert ended.codes == [0], ended.lines
    ours, theirs = weights(folder), weights(alone)
    for name in theirs:
        assert_close(ours[name], theirs[name], "summed by two processes")


def test_processes_hold_the_same_and_fit_as_one_does(tmp_path: Path) -> None:
    ended = two_processes("regression", str(tmp_path))
    assert ended.codes == [0, 0], ended.lines
    first, second = left_by(tmp_path)
    assert differing(first, second) == set()
    stepper, phase = fit(ALONE)
    assert_close(first["weight"], phase.model.weight, "summed by processes")
    assert_close(first["average"], stepper.average.values[0], "summed by processes")
    assert_close(first["error"], stepper.scalars()["error"], "summed by processes")
    assert phase.prepared == list(range(STEPS))


def test_kernels_are_trained_together(tmp_path: Path) -> None:
    """In the emulator: the processes look at other frames, their gradients are summed, all else stays equal."""
    open_backend("emulator")
    ended = two_processes("emulated", str(tmp_path))
    assert ended.codes == [0, 0], ended.lines
    first, second = left_by(tmp_path)
    assert differing(first, second) == {"frames", "given"}
    assert first["frames"].shape == (EMULATED_STEPS, FRAMES // 2)
    assert torch.equal(first["summed"], first["given"] + second["given"])
    assert int(first["steps"]) == EMULATED_STEPS
    # Both gave something to every part that training moves.
    assert float(first["given"].count_nonzero()) > 1000
    assert float(second["given"].count_nonzero()) > 1000


@pytest.mark.gpu
def test_two_gpus_train_one_head(tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    from benchmarks.bench_train import held_out_psnr
    from benchmarks.fused_engine import FusedEngine
    from benchmarks.models import build_model
    from benchmarks.scene import make_clip
    from tests.train.team_worker import FUSED_RAYS, FUSED_SIZE, FUSED_STEPS

    ended = torchrun_worker("fused", str(tmp_path))
    assert ended.codes == [0], ended.lines
    first, second = left_by(tmp_path)
    assert differing(first, second) == set()
    clip = make_clip(FUSED_SIZE, "cuda")
    engine = FusedEngine(build_model("r2talker", FUSED_SIZE, "cuda"), clip, FUSED_STEPS, FUSED_RAYS, FRAMES)
    engine.fused.advance(FUSED_STEPS)
    assert_close(first["psnr"], held_out_psnr(engine.current_model(), clip), "quality of another run")


class TestFailing:
    def test_a_process_that_fails_says_so_in_one_line_and_all_end(self) -> None:
        ended = two_processes("refuse")
        assert ended.codes == [2, 2]
        assert [line for line in ended.lines if line.startswith("worker: ")] == [
            "worker: the disk of the second machine is full; free some space"
        ]
        assert not any("Traceback" in line for line in ended.lines)

    def test_a_process_that_is_killed_is_missed(self) -> None:
        ended = two_processes("vanish")
        assert ended.codes == [2, -9]
        (line,) = [line for line in ended.lines if line.startswith("worker: ")]
        assert re.match(r"worker: process 1 of 2 lost the others \(.+\); the same command goes on from the last", line)

    def test_what_all_find_wrong_is_said_once(self, tmp_path: Path) -> None:
        ended = torchrun(
            "-m", "r2talker", "train", "radnerf", str(tmp_path / "none.dataset"), str(tmp_path / "a.avatar"), "--device", "cpu"
        )
        assert ended.codes != [0]
        assert sum("none.dataset is not a finished dataset" in line for line in ended.lines) == 1
        # Every process that torchrun reports ended with 2, unless torchrun was quicker.
        codes = re.findall(r"exitcode *: (-?\d+)", "\n".join(ended.lines))
        assert set(codes) <= {"2", "-15"}
        assert "2" in codes

    def test_others_that_never_come_are_not_waited_for_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {**VARIABLES, "MASTER_PORT": str(free_port())}.items():
            monkeypatch.setenv(name, value)
        with (
            pytest.raises(R2TalkerError, match=r"process 2 of 2 met no others at 127\.0\.0\.1:\d+ .*torchrun") as caught,
            joined_team("cpu", joining=timedelta(seconds=1)),
        ):
            pass
        assert "\n" not in str(caught.value)

    def test_a_leader_whose_others_never_come(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {**VARIABLES, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": str(free_port())}.items():
            monkeypatch.setenv(name, value)
        with (
            pytest.raises(R2TalkerError, match="process 1 of 2 met no others"),
            joined_team("cpu", joining=timedelta(seconds=1)),
        ):
            pass


class TestPlaces:
    def test_without_torchrun_there_is_one_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        with joined_team("cpu") as team:
            assert team is ALONE
            assert team.leads
            assert team.decide(lambda: True)
        assert read_place({"WORLD_SIZE": "1", "RANK": "0"}) is None

    def test_what_torchrun_says(self) -> None:
        said = {**VARIABLES, "MASTER_PORT": "29500"}
        assert read_place(said) == Place(rank=1, size=2, local=1, address="127.0.0.1:29500")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"RANK": ""}, r"WORLD_SIZE is 2, but RANK is not set.*torchrun"),
            ({"RANK": "2"}, "no process of a team: RANK=2, WORLD_SIZE=2"),
            ({"RANK": "one"}, "no process of a team: RANK=one"),
            ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000"),
        ],
    )
    def test_variables_that_make_no_sense(self, change: dict[str, str], words: str) -> None:
        with pytest.raises(R2TalkerError, match=words):
            read_place({**VARIABLES, "MASTER_PORT": "29500", **change})

    def test_frames_are_shared_out_evenly(self) -> None:
        three = Team(1, 3)
        assert [three.frames(None, usual) for usual in (1, 4, 6)] == [3, 6, 6]
        assert three.frames(9, 4) == 9
        with pytest.raises(R2TalkerError, match=r"--frames-per-step must be a multiple of the 3 processes.*got 4"):
            three.frames(4, 1)
        assert sorted(place for rank in range(3) for place in Team(rank, 3).places(6)) == list(range(6))
        assert ALONE.frames(None, 4) == 4

    def test_more_processes_than_gpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        for name, value in {**VARIABLES, "MASTER_PORT": "29500"}.items():
            monkeypatch.setenv(name, value)
        with (
            pytest.raises(R2TalkerError, match="process 2 of this machine has no GPU of its own: torch sees 1"),
            joined_team("auto"),
        ):
            pass


def test_a_graph_for_a_team_leaves_the_sum_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone a step is one graph; with others the sum comes after the gradients and before the optimiser."""
    from r2talker.train import flat

    said: list[str] = []

    class Recording:
        def run(self, name: str, work: Callable[[], None]) -> None:
            said.append(name)

    class Summing(Team):
        def sum(self, tensor: torch.Tensor) -> None:
            said.append("sum")

    class Weights:
        class adam:  # noqa: N801
            gradients = torch.zeros(1)
            update = staticmethod(lambda: None)

    for team in (ALONE, Summing(0, 2)):
        flat.take_step(Recording(), Weights(), team, lambda: None)  # type: ignore[arg-type]
    assert said == ["step", "pull", "sum", "update"]
