"""Performers in processes of their own."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from websockets.exceptions import ConnectionClosed

from r2talker.avatar import Avatar
from r2talker.errors import R2TalkerError
from r2talker.live.performer import Direction, Performer
from r2talker.live.session import Session
from r2talker.live.troupe import Troupe, processes_beside
from tests.live.conftest import Client

KILLED = """
import sys, time
from pathlib import Path
from r2talker.live.troupe import Troupe

if __name__ == "__main__":
    troupe = Troupe(1)
    print(*troupe.processes(), flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def troupe() -> Iterator[Troupe]:
    troupe = Troupe(1)
    yield troupe
    troupe.close()


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_performs_what_a_thread_would(troupe: Troupe, trained: Callable[[str], Path], avatar: Avatar) -> None:
    actor, here = troupe.hire(trained("r2talker"), seed=5, wait=1), Performer(avatar, seed=5, wait=1)
    assert actor.ahead == here.ahead
    session = Session(here.ahead, 0.0)
    planned = [frame for tenth in range(12) for frame in session.plan(tenth / 10)][:20]
    assert len(planned) == 20

    async def perform() -> None:
        for number, frame in enumerate(planned):
            if number == 4:
                actor.blink()
                here.blink()
            there, expected = await actor.perform(frame, Direction(eye=0.3)), here.perform(frame, Direction(eye=0.3))
            for name in ("values", "window", "eye", "c2w"):
                assert torch.equal(getattr(there, name), getattr(expected, name)), name

    asyncio.run(perform())
    actor.leave()


def test_an_avatar_that_is_not_there_is_refused_and_the_process_stays(troupe: Troupe, tmp_path: Path) -> None:
    before = troupe.processes()
    with pytest.raises(R2TalkerError, match="not a finished avatar"):
        troupe.hire(tmp_path, seed=0, wait=0)
    assert troupe.processes() == before


def test_a_session_whose_process_is_killed_is_closed_and_the_next_one_lives(serve: Callable[..., Client]) -> None:
    client = serve(performers=1)
    with client.stream() as stream:
        stream.until(lambda got: not isinstance(got, dict))
        (process,) = client.room.troupe.processes()
        os.kill(process, signal.SIGKILL)
        with pytest.raises(ConnectionClosed, match="open the page again"):
            stream.until(lambda got: False)
    with client.stream() as stream:
        number = stream.until(lambda got: not isinstance(got, dict)).number
        assert stream.until(lambda got: not isinstance(got, dict) and got.number > number).number > number


def test_performers_are_shared_out(monkeypatch: pytest.MonkeyPatch, trained: Callable[[str], Path]) -> None:
    # Threads do for what is asked here.
    monkeypatch.setattr("r2talker.live.troupe._start", lambda: ThreadPoolExecutor(1))
    troupe, folder = Troupe(2), trained("r2talker")
    first, second, third = (troupe.hire(folder, seed=0, wait=0) for _ in range(3))
    assert first.process is not second.process
    assert third.process is first.process
    first.leave()
    third.leave()
    assert troupe.hire(folder, seed=0, wait=0).process is first.process
    troupe.close()


def test_processes_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        process = int(server.stdout.readline())
        assert is_there(process)
        server.kill()
    deadline = time.monotonic() + 15
    while is_there(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_there(process)


def test_cores_beside_a_gpu_are_for_performers(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, 1), (8, 2), (16, 4), (64, 4)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert processes_beside(torch.device("cuda")) == expected
        assert processes_beside(torch.device("cpu")) == 0
