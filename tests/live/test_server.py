"""The protocol, spoken to a real server on loopback."""

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from r2talker.live.messages import OPUS, PICTURE, SOUND, schema
from r2talker.live.session import RATE
from r2talker.live.web import PONG_SECONDS
from r2talker.media.stream import decode_picture
from tests.live.conftest import Client, Piece, wav_bytes

TONE = (np.sin(np.arange(RATE) / RATE * 440 * 2 * np.pi) * 8000).astype(np.int16)


def pictures(pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.kind == PICTURE]


def closed(stream: object, seconds: float = 10.0) -> tuple[int, str]:
    """Code and reason with which the server ends a session."""
    with pytest.raises(ConnectionClosed) as end:
        stream.listen(seconds)  # type: ignore[attr-defined]
    # Whoever goes on sending may lose the last frame.
    return (1006, "") if end.value.rcvd is None else (end.value.rcvd.code, end.value.rcvd.reason)


# ---- what a session gives


def test_idle_sound_and_pictures_come_in_time(client: Client) -> None:
    with client.stream() as stream:
        stream.listen(2)
        sound = [piece for piece in stream.pieces if piece.kind == SOUND]
        assert 30 <= len(sound) <= 60
        assert [piece.number for piece in sound] == list(range(len(sound)))
        shown = pictures(stream.pieces)
        assert shown
        picture = decode_picture(shown[-1].payload)
        assert picture.shape == (shown[-1].height, shown[-1].width, 3)
        report = stream.word("report")
        assert report["state"] == "idle"
        assert set(report) == {"type", *schema()["toPage"]["report"]}
        assert set(stream.welcome) == {"type", *schema()["toPage"]["welcome"]}


def test_h264_is_decoded_from_its_first_picture_on(client: Client) -> None:
    import av

    decoder = av.CodecContext.create("h264", "r")
    with client.stream("codec=h264") as stream:
        first = stream.until(lambda got: isinstance(got, Piece) and got.kind == PICTURE)
        assert first.flags & 1
        stream.listen(1)
    frames = [frame for piece in pictures(stream.pieces) for frame in decoder.decode(av.Packet(piece.payload))]
    assert frames
    assert (frames[0].width, frames[0].height) == (first.width, first.height)


def test_a_sound_file_is_spoken_and_heard_as_it_is(client: Client) -> None:
    with client.stream() as stream:
        answer = client.ask("POST", "/v1/say", wav_bytes(TONE))
        assert (answer.status, answer.json["seconds"]) == (200, 1.0)
        stream.until(lambda _: sum(piece.kind == SOUND for piece in stream.pieces) >= 45)
        heard = stream.sound()
        start = np.flatnonzero(heard)[0]
        assert np.abs(heard[start - 1 :][:RATE].astype(int) - TONE).max() <= 1
        assert any(word.get("state") == "speaking" for word in stream.words)


def test_the_microphone_comes_back_with_its_lips(client: Client) -> None:
    with client.stream() as stream:
        stream.say("microphone", open=True)
        begun = time.monotonic()
        for piece in range(50):
            stream.socket.send(TONE[piece * 320 : (piece + 1) * 320].astype("<i2").tobytes())
            stream.listen(begun + (piece + 1) * 0.02 - time.monotonic())
        spoken = [piece for piece in stream.pieces if piece.heard >= 0]
        assert {piece.kind for piece in spoken} == {SOUND, PICTURE}
        for piece in spoken:
            if piece.kind == SOUND:
                assert piece.payload == TONE[piece.heard : piece.heard + 640].astype("<i2").tobytes()
        delays = [piece.at - begun - (piece.heard + 320) / RATE for piece in pictures(spoken)]
        # Look-ahead plus what this machine needs to draw; not a measurement.
        assert stream.welcome["look_ahead"] < min(delays) < 2
        stream.say("microphone", open=False)
        stream.word("report")


def test_an_interruption_is_answered_at_once_and_silence_follows(client: Client) -> None:
    with client.stream() as stream:
        client.ask("POST", "/v1/say", wav_bytes(np.tile(TONE, 20)))
        stream.until(lambda got: isinstance(got, Piece) and any(got.payload) and got.kind == SOUND)
        asked = time.monotonic()
        stream.say("interrupt")
        number = stream.word("interrupted")["number"]
        assert time.monotonic() - asked < 1
        stream.listen(0.5)
        after = [piece for piece in stream.pieces if piece.number >= number and piece.kind == SOUND]
        assert after
        assert not any(any(piece.payload) for piece in after)
        assert client.ask("POST", "/v1/interrupt").status == 200
        assert stream.word("interrupted")["number"] > number


def test_controls_change_the_pictures(client: Client) -> None:
    with client.stream() as stream:
        stream.say("look", size=96, kind="alpha")
        shown = stream.until(lambda got: isinstance(got, Piece) and got.width == 96)
        picture = decode_picture(shown.payload)
        assert np.abs(picture[..., 0].astype(int) - picture[..., 1]).max() < 10
        stream.say("look", size=64, background="picture")
        content = (Path(__file__).parents[2] / "docs" / "demo.png").read_bytes()
        assert client.ask("POST", f"/v1/background?session={stream.welcome['session']}", content[:100]).status == 400
        assert client.ask("POST", f"/v1/background?session={stream.welcome['session']}", content).status == 200
        stream.say("look", code=10**9)
        assert "look.code" in stream.word("refused")["message"]
        stream.say("blink")
        stream.say("switch", avatar="nobody.avatar")
        assert "there is no avatar 'nobody.avatar'" in stream.word("refused")["message"]
        stream.say("train", action="pause")
        assert "nothing is being trained" in stream.word("refused")["message"]
        stream.say("switch", avatar=stream.welcome["avatar"])
        assert stream.word("welcome")["avatar"] == stream.welcome["avatar"]
        assert stream.until(lambda got: isinstance(got, Piece)).number <= 50


def test_sound_is_compressed_for_those_who_ask(client: Client) -> None:
    import av

    with client.stream("codec=jpeg&sound=opus") as stream:
        client.ask("POST", "/v1/say", wav_bytes(TONE))
        stream.listen(1.5)
        pieces = [piece for piece in stream.pieces if piece.kind == SOUND]
        assert all(piece.flags == OPUS for piece in pieces)
        assert sum(len(piece.payload) for piece in pieces) < 0.25 * 1280 * len(pieces)
        decoder = av.CodecContext.create("opus", "r")
        decoder.sample_rate, decoder.layout = 48000, "mono"
        sound = [frame.to_ndarray() for piece in pieces for frame in decoder.decode(av.Packet(piece.payload))]
        assert np.abs(np.concatenate(sound, -1)).max() > 0.1
        stream.say("codec", name="jpeg", sound="pcm")
        plain = stream.until(lambda got: isinstance(got, Piece) and got.kind == SOUND and got.flags == 0)
        assert len(plain.payload) == 1280


def test_a_recording_can_be_fetched(client: Client, tmp_path: Path) -> None:
    from r2talker.media.read import probe_video, read_audio

    with client.stream() as stream:
        stream.say("look", size=64)
        stream.until(lambda got: isinstance(got, Piece) and got.width == 64)
        stream.say("record", on=True)
        client.ask("POST", "/v1/say", wav_bytes(TONE))
        stream.listen(1.5)
        stream.say("record", on=False)
        recorded = stream.word("recorded")
        answer = client.ask("GET", recorded["url"])
    assert answer.headers["content-type"] == "video/mp4"
    (tmp_path / "a.mp4").write_bytes(answer.body)
    assert probe_video(tmp_path / "a.mp4").width == 64
    assert np.abs(read_audio(tmp_path / "a.mp4")).max() > 0.1
    for name in ("none.mp4", "..%2f..%2fetc%2fpasswd", "%2e%2e/metrics"):
        assert client.ask("GET", f"/v1/recordings/{name}").status == 404


def test_plain_requests(client: Client) -> None:
    assert client.ask("GET", "/v1/schema").json == schema()
    assert client.ask("GET", "/v1/state").json["sessions"] == {}
    described = client.ask("GET", "/openapi.json").json["paths"]
    assert {"/v1/say", "/v1/interrupt", "/v1/state", "/metrics"} <= set(described)
    with client.stream() as stream:
        stream.until(lambda got: isinstance(got, Piece) and got.kind == PICTURE)
        state = client.ask("GET", "/v1/state").json["sessions"]
        assert list(state) == [stream.welcome["session"]]
        text = client.ask("GET", "/metrics").body.decode()
    for line in text.splitlines():
        assert line.startswith("# TYPE r2talker_") or len(line.rsplit(" ", 1)) == 2
        if not line.startswith("#"):
            float(line.rsplit(" ", 1)[1])
    assert "r2talker_sessions_now 1" in text
    assert 'r2talker_sound_to_lips_seconds{quantile="0.95"}' in text
    assert all(f'r2talker_stage_seconds{{of="{stage}",quantile="0.95"}}' in text for stage in ("perform", "draw", "encode"))


def test_text_is_spoken_by_the_users_program(client: Client) -> None:
    """`cat` stands for a program that reads text and writes sound: text is no sound, which is said."""
    with client.stream():
        answer = client.ask("POST", "/v1/say", b"hello", content_type="text/plain")
        assert (answer.status, "not a sound file" in answer.json["detail"]) == (400, True)
        answer = client.ask("POST", "/v1/say", b" ", content_type="text/plain")
        assert "1 to 2000 characters" in answer.json["detail"]


def test_the_mesh_is_a_file(client: Client) -> None:
    answer = client.ask("GET", "/v1/mesh?format=ply&resolution=16&threshold=0.5")
    assert (answer.status, answer.body[:4]) == (200, b"ply\n")
    assert client.ask("GET", "/v1/mesh?resolution=100000").status == 400
    assert client.ask("GET", "/v1/mesh?avatar=..%2f..").status == 400


def test_the_page_and_nothing_else_of_its_folder(client: Client) -> None:
    answer = client.ask("GET", "/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert client.ask("GET", "/page/worklet.js").headers["content-type"].startswith("text/javascript")
    for path in ("/page/..%2fserver.py", "/page/../server.py", "/page/", "/page/none.js", "/page/%2e%2e%2f%2e%2e%2favatar.py"):
        assert client.ask("GET", path).status == 404


# ---- what it does not take


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("no json", "must be JSON"),
        ('{"type": "quit"}', "no message of type"),
        ('{"type": "look", "size": "big"}', "look.size must be integer"),
        (b"\0" * 3, "PCM16"),
        (b"\0" * 100_000, "at most a second"),
    ],
)
def test_malformed_messages_close_that_session_only(client: Client, message: str | bytes, reason: str) -> None:
    with client.stream() as other, client.stream() as stream:
        stream.socket.send(message)
        code, said = closed(stream)
        assert code == 1008
        assert reason in said
        before = len(other.pieces)
        other.listen(0.5)
        assert len(other.pieces) > before


def test_too_much_is_too_much(client: Client) -> None:
    with client.stream() as stream:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(7):
                stream.socket.send(bytes(2 * RATE))
        assert closed(stream)[0] in (1006, 1008)
    with client.stream() as stream, pytest.raises(ConnectionClosed):  # noqa: PT012
        for _ in range(2000):
            stream.say("blink")
        stream.listen(10)
    with client.stream() as stream:
        # The server may hang up before all of it has been sent.
        with contextlib.suppress(ConnectionClosed):
            stream.socket.send("x" * (2 << 20))
        assert closed(stream)[0] in (1006, 1009)
    # What is announced is refused before it comes.
    assert client.ask("POST", "/v1/say", None, Content_Length=str(2 << 20)).status == 413
    assert client.ask("POST", "/v1/say", None, Content_Length="many").status in (400, 403)


def test_bodies_of_unknown_length_are_bounded(client: Client) -> None:
    with client.stream(), socket.create_connection(("127.0.0.1", client.port), timeout=20) as raw:
        raw.sendall(b"POST /v1/say HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        answer = b""
        # The connection may be gone before the answer could be read.
        with contextlib.suppress(OSError):
            for _ in range(160):  # ten times what is allowed
                raw.sendall(chunk)
                time.sleep(0.001)
        with contextlib.suppress(OSError):
            answer = raw.recv(100)
    assert b" 413 " in answer or not answer
    assert client.ask("GET", "/v1/state").status == 200


def test_the_room_is_full_at_its_limit(client: Client) -> None:
    with client.stream(), client.stream(), client.stream() as third:
        fourth = client.stream()
        code, said = closed(fourth)
        fourth.close()
        assert (code, "which is the limit" in said) == (1013, True)
        names = client.ask("POST", "/v1/interrupt")
        assert names.status == 400
        assert third.welcome["session"] in names.json["detail"]
    deadline = time.monotonic() + 5
    while client.room.full and time.monotonic() < deadline:
        time.sleep(0.02)
    with client.stream() as again:
        assert again.welcome["session"]


def test_sessions_end_after_their_time(serve: Callable[..., Client]) -> None:
    brief = serve(session_minutes=0.01)
    with brief.stream() as stream:
        assert "time is over" in closed(stream)[1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "127.0.0.1", "Origin": "http://127.0.0.1"}, 200),
        ({"Host": "127.0.0.1", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1", "Origin": "null"}, 403),
    ],
)
def test_other_origins_and_names_are_refused(client: Client, headers: dict[str, str], status: int) -> None:
    assert client.ask("GET", "/v1/state", None, **headers).status == status
    assert client.ask("POST", "/v1/interrupt", b"", **headers).status in (status, 400)


def test_a_websocket_of_another_origin_is_refused(client: Client) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus):
        client.stream(Origin="https://evil.example")


def test_a_token_opens_the_door(serve: Callable[..., Client]) -> None:
    from websockets.exceptions import InvalidStatus

    token = "0123456789abcdef"
    guarded = serve(token=token)
    assert guarded.ask("GET", "/").status == 200  # the page itself holds no secret
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        assert guarded.ask("GET", "/v1/state", None, **headers).status == 403
    assert guarded.ask("GET", "/v1/state?token=wrong").status == 403
    assert guarded.ask("GET", f"/v1/state?token={token}").status == 200
    assert guarded.ask("GET", "/v1/state", None, Authorization=f"Bearer {token}").status == 200
    # With a token other names are right, other origins are not.
    assert guarded.ask("GET", f"/?token={token}", None, Host="studio.example").status == 200
    assert guarded.ask("GET", f"/v1/state?token={token}", None, Origin="https://evil.example").status == 403
    with pytest.raises(InvalidStatus):
        guarded.stream()
    with guarded.stream(f"token={token}") as stream:
        assert stream.welcome["avatar"]


def test_pages_of_the_named_origin_may_read_answers(serve: Callable[..., Client]) -> None:
    token, page = "0123456789abcdef", "https://page.example"
    guarded = serve(token=token, origin=page)
    asked = guarded.ask("OPTIONS", "/v1/say", None, Origin=page)
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, page)
    assert "authorization" in asked.headers["access-control-allow-headers"]
    state = guarded.ask("GET", "/v1/state", None, Origin=page, Authorization=f"Bearer {token}")
    assert (state.status, state.headers["access-control-allow-origin"]) == (200, page)
    assert guarded.ask("GET", "/v1/state", None, Origin=page).status == 403
    other = guarded.ask("OPTIONS", "/v1/say", None, Origin="https://evil.example")
    assert (other.status, "access-control-allow-origin" in other.headers) == (403, False)


# ---- what is left behind


def test_a_dead_client_frees_its_place(client: Client) -> None:
    """It completes the handshake and is never heard of again, without closing: within 10 s it is noticed."""
    raw = socket.create_connection(("127.0.0.1", client.port))
    request = "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    raw.sendall((request + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
    assert raw.recv(12) == b"HTTP/1.1 101"
    deadline = time.monotonic() + 5
    while not client.room.listeners and time.monotonic() < deadline:
        time.sleep(0.02)
    begun = time.monotonic()
    while client.room.listeners and time.monotonic() - begun < 12:
        time.sleep(0.05)
    assert time.monotonic() - begun < 10
    assert PONG_SECONDS < 10
    raw.close()
