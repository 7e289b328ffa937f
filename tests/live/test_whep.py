"""A WebRTC player: aiortc at both ends."""

import asyncio
from typing import Any

import numpy as np
import pytest

from tests.live.conftest import Client, wav_bytes

aiortc = pytest.importorskip("aiortc", reason="WebRTC is optional: pip install r2talker[webrtc]")


async def play(client: Client) -> tuple[list[Any], np.ndarray, int]:
    """Sound and pictures of a second, and the status of leaving."""
    connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    connection.addTransceiver("video", direction="recvonly")
    connection.addTransceiver("audio", direction="recvonly")
    tracks: dict[str, Any] = {}
    connection.on("track", lambda track: tracks.__setitem__(track.kind, track))
    await connection.setLocalDescription(await connection.createOffer())
    loop = asyncio.get_running_loop()
    offer = connection.localDescription.sdp.encode()
    answer = await loop.run_in_executor(None, lambda: client.ask("POST", "/v1/whep", offer, content_type="application/sdp"))
    assert answer.status == 201, answer.body
    await connection.setRemoteDescription(aiortc.RTCSessionDescription(answer.body.decode(), "answer"))
    where = answer.headers["location"]
    tone = wav_bytes((np.sin(np.arange(48000) / 16000 * 440 * 2 * np.pi) * 8000).astype(np.int16))
    said = await loop.run_in_executor(None, lambda: client.ask("POST", f"/v1/say?session={where.rsplit('/', 1)[1]}", tone))
    assert said.status == 200
    pictures = [await asyncio.wait_for(tracks["video"].recv(), 20) for _ in range(3)]
    sound = [(await asyncio.wait_for(tracks["audio"].recv(), 20)).to_ndarray().ravel() for _ in range(60)]
    left = await loop.run_in_executor(None, lambda: client.ask("DELETE", where))
    await connection.close()
    return pictures, np.concatenate(sound), left.status


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_player_sees_and_hears(client: Client) -> None:
    pictures, sound, left = asyncio.run(play(client))
    assert pictures[0].width == pictures[0].height >= 64
    assert np.abs(sound).max() > 2000
    assert left == 200
    assert client.ask("DELETE", "/v1/whep/nobody").status == 404


def test_what_is_no_offer_is_refused(client: Client) -> None:
    answer = client.ask("POST", "/v1/whep", b"v=0\r\nnonsense", content_type="application/sdp")
    assert (answer.status, "not an SDP offer" in answer.json["detail"]) == (400, True)
    assert client.room.listeners == {}
