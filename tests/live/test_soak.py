"""Ten listeners come, speak and die at random; nothing of them is left."""

from collections.abc import Callable

import pytest

from benchmarks.live_soak import look_round, soak
from r2talker.live.messages import PICTURE
from tests.live.conftest import Client, Piece

SECONDS = 8.0
MOST_OBJECTS = 3
"""What a worker that waits still holds of the last it did."""
MOST_MEGABYTES = 60.0
"""Above the first round. An allocator keeps what it has: a minute of the demo's avatar took 3 to 30 MB a round and ended flat."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_sessions_leave_no_thread_file_memory_or_object(serve: Callable[..., Client]) -> None:
    client = serve()
    soak(client.port, 2.0, 0)
    before = look_round(client.room)
    assert soak(client.port, SECONDS, 1) >= 20
    after = look_round(client.room)
    assert client.room.listeners == {}
    # Threads of pools are made when they are first needed.
    assert {name for name in after.threads ^ before.threads if not name.startswith("r2talker-live")} == set()
    assert after.files <= before.files
    assert after.megabytes < before.megabytes + MOST_MEGABYTES
    assert all(after.alive[kind] <= before.alive[kind] + MOST_OBJECTS for kind in after.alive), (before.alive, after.alive)
    # Whoever comes now is served as ever.
    with client.stream() as stream:
        stream.until(lambda got: isinstance(got, Piece) and got.kind == PICTURE)
