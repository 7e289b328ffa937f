"""Unsafe settings are refused before anything listens; avatars are found by name only; queues of permission; counters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r2talker.errors import R2TalkerError
from r2talker.live.config import ServeConfig
from r2talker.live.guard import Allowance, Guard, check_config, is_loopback
from r2talker.live.library import Library
from r2talker.live.metrics import Metrics
from r2talker.live.speech import can_speak, speak_text

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"host": "0.0.0.0"}, "needs a secret"),
        ({"host": "::"}, "needs a secret"),
        ({"host": "studio.example"}, "needs a secret"),
        ({"token": "short"}, "at least 16"),
        ({"token": "sixteen\ncharacters"}, "at least 16"),
        ({"origin": "example.org"}, "https://example.org"),
        ({"port": 70000}, "--port"),
        ({"sessions": 0}, "--sessions"),
        ({"wait": 3}, "--wait"),
        ({"session_minutes": 0.0}, "--session-minutes"),
        ({"body_megabytes": float("nan")}, "--body-megabytes"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(R2TalkerError, match=fault):
        check_config(ServeConfig(**settings))


def test_settings_that_are_safe() -> None:
    for settings in (
        {},
        {"host": "0.0.0.0", "token": TOKEN},
        {"host": "::1"},
        {"host": "localhost", "origin": "https://a.example"},
    ):
        check_config(replace(ServeConfig(), **settings))
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost", "10.0.0.1", "localhost.evil")] == [
        *4 * [True],
        *2 * [False],
    ]


def test_an_origin_may_be_named() -> None:
    guard = Guard(ServeConfig(token=TOKEN, origin="https://page.example/"))

    def refusal(origin: str | None) -> str | None:
        return guard.refusal(host="studio.example", origin=origin, authorization=None, token=TOKEN)

    assert refusal(None) is None
    assert refusal("https://page.example") is None
    assert refusal("https://studio.example") is None
    assert "other origins" in str(refusal("https://page.example.evil"))
    assert "other origins" in str(refusal("http://page.example"))


def test_avatars_are_named_and_never_paths(trained: Any, tmp_path: Path) -> None:
    folder: Path = trained("r2talker")
    root = tmp_path / "avatars"
    root.mkdir()
    (root / "good").symlink_to(folder)
    (root / "not.avatar").mkdir()
    # A link out of the folder is no avatar of the folder.
    with pytest.raises(R2TalkerError, match="neither an avatar nor a folder of avatars"):
        Library(root)
    outside = Library(folder)
    assert outside.names() == [folder.name]
    for name in ("../..", "..", "", ".", "/etc", "not.avatar", f"../{folder.name}", folder.name + "/", f"./{folder.name}"):
        with pytest.raises(R2TalkerError, match="there is no avatar"):
            outside.stage(name)
    with pytest.raises(R2TalkerError, match="neither an avatar nor a folder of avatars"):
        Library(tmp_path / "none")


def test_an_allowance_fills_with_time() -> None:
    allowance = Allowance(10, 5, now=0.0)
    assert [allowance.take(1, 0.0) for _ in range(6)] == [*5 * [True], False]
    assert allowance.take(1, 0.11)
    assert not allowance.take(5, 0.2)
    assert allowance.take(5, 100.0)


def test_counters_and_percentiles_of_all_and_of_one() -> None:
    everybody = Metrics()
    one, other = Metrics(everybody), Metrics(everybody)
    one.count("pictures", 3)
    other.count("pictures_dropped", reason='a "reason"')
    for delay in range(1, 101):
        one.delay(delay)
    assert (one.total("pictures"), other.total("pictures"), everybody.total("pictures")) == (3, 0, 3)
    assert everybody.delays(0.5, 0.95) == [51, 96]
    other.spend("draw", 0.25)
    assert (everybody.spent("draw", 0.5), one.spent("draw", 0.5)) == ([0.25], [0.0])
    text = everybody.text({"fps": {"x": 25.0}})
    assert "r2talker_pictures_total 3\n" in text
    assert 'r2talker_pictures_dropped_total{reason="a \\"reason\\""} 1\n' in text
    assert 'r2talker_sound_to_lips_seconds{quantile="0.5"} 0.051\n' in text
    assert 'r2talker_stage_seconds{of="draw",quantile="0.95"} 0.25\n' in text
    assert 'r2talker_stage_seconds_count{of="draw"} 1\n' in text
    assert 'r2talker_fps{of="x"} 25\n' in text


def test_text_goes_to_a_program_that_is_told_nothing_else(tmp_path: Path) -> None:
    import numpy as np

    from tests.live.conftest import wav_bytes

    (tmp_path / "a.wav").write_bytes(wav_bytes(np.full(1600, 0.5, np.float32)))
    samples = speak_text(f"sh -c 'cat >{tmp_path}/text; cat {tmp_path}/a.wav'", "hello; $(touch owned)")
    assert len(samples) == 1600
    assert (tmp_path / "text").read_text() == "hello; $(touch owned)"
    assert not can_speak("no-such-program --stdin")
    for command, fault in (
        ("no-such-program", "is not installed"),
        ("false", "failed with code 1"),
        ("true", "not a sound file"),
    ):
        with pytest.raises(R2TalkerError, match=fault):
            speak_text(command, "hello")
