"""`r2talker serve` says what is wrong before it listens."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]


def test_unsafe_addresses_need_a_token(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R2TALKER_TOKEN", raising=False)
    assert "give --token or set R2TALKER_TOKEN" in refused("serve", tmp_path, "--host", "0.0.0.0")
    monkeypatch.setenv("R2TALKER_TOKEN", "0123456789abcdef")
    # The token is enough to come to the next question.
    assert "neither an avatar" in refused("serve", tmp_path, "--host", "0.0.0.0")


def test_a_place_without_avatars(refused: Refused, tmp_path: Path) -> None:
    assert f"{tmp_path / 'none'} is neither an avatar" in refused("serve", tmp_path / "none")


def test_a_port_that_is_taken(refused: Refused, trained: Callable[[str], Path]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = refused("serve", trained("r2talker"), "--port", taken.getsockname()[1])
    assert "cannot listen at 127.0.0.1:" in line
    assert "choose another --port" in line
