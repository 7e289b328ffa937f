"""WebRTC players: aiortc at both ends, and a browser's."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from tests.live.chromium import Page, browser
from tests.live.conftest import Client, needs_browser, wav_bytes

aiortc = pytest.importorskip("aiortc", reason="WebRTC is optional: pip install r2talker[webrtc]")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves this machine's own address out, which is the only one that every machine has."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


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
    said = await loop.run_in_executor(None, lambda: client.ask("POST", f"/v1/say?session={where.rsplit('/', 1)[1]}", tone(3.0)))
    assert said.status == 200
    pictures = [await asyncio.wait_for(tracks["video"].recv(), 20) for _ in range(3)]
    sound = [(await asyncio.wait_for(tracks["audio"].recv(), 20)).to_ndarray().ravel() for _ in range(60)]
    left = await loop.run_in_executor(None, lambda: client.ask("DELETE", where))
    await connection.close()
    return pictures, np.concatenate(sound), left.status


def tone(seconds: float) -> bytes:
    """A wav file of 440 Hz."""
    return wav_bytes((np.sin(np.arange(int(seconds * 16000)) / 16000 * 440 * 2 * np.pi) * 8000).astype(np.int16))


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


PLAYER = """<!doctype html><title>player</title><video id="video" autoplay playsinline></video><script type="module">
const studio = new URLSearchParams(location.search).get("studio");
const connection = new RTCPeerConnection(), stream = new MediaStream(), audio = new AudioContext();
const meter = new AnalyserNode(audio, { fftSize: 2048 });
for (const kind of ["video", "audio"]) connection.addTransceiver(kind, { direction: "recvonly" });
connection.ontrack = ({ track }) => {
  stream.addTrack(track);
  if (track.kind === "audio") audio.createMediaStreamSource(new MediaStream([track])).connect(meter);
};
document.getElementById("video").srcObject = stream;
await connection.setLocalDescription();
while (connection.iceGatheringState !== "complete") await new Promise((go) => setTimeout(go, 20));
const headers = { "content-type": "application/sdp" };
const answer = await fetch(`${studio}/v1/whep`, { method: "POST", headers, body: connection.localDescription.sdp });
await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 32;
const context = canvas.getContext("2d");
window.player = {
  connection, where: answer.headers.get("location"), leave: () => fetch(studio + player.where, { method: "DELETE" }),
  picture() { context.drawImage(document.getElementById("video"), 0, 0, 32, 32); return [...context.getImageData(0, 0, 32, 32).data]; },
  loudness() { const wave = new Float32Array(2048); meter.getFloatTimeDomainData(wave); return Math.max(...wave.map(Math.abs)); },
};
</script>"""


@pytest.fixture
def player() -> Iterator[str]:
    """Address of a page elsewhere that plays what a studio sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(PLAYER.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@needs_browser
def test_a_browser_elsewhere_plays_it(serve: Callable[..., Client], player: str) -> None:
    """A page of another origin, which `origin` allows: its pictures move, and it hears what is said."""
    client = serve(origin=player)
    # Otherwise the browser would hide its address behind a name that only its own network resolves.
    with browser("--allow-loopback-in-peer-connection", "--disable-features=WebRtcHideLocalIpsWithMdns") as page:
        page.open(f"{player}/?studio=http://127.0.0.1:{client.port}")
        page.wait("window.player && player.connection.connectionState === 'connected'", 40)
        page.wait("document.getElementById('video').videoWidth >= 64", 40)
        session = page.run("player.where").rsplit("/", 1)[1]
        assert page.run("player.loudness()") < 0.01
        assert client.ask("POST", f"/v1/say?session={session}", tone(10.0)).status == 200
        page.wait("player.loudness() > 0.1", 20)
        assert pictures_move(page)
        assert page.run("player.leave().then((answer) => answer.status)") == 200
        assert page.faults == []
    assert client.room.listeners == {}


def pictures_move(page: Page) -> bool:
    """Whether the player shows different pictures within some seconds, which are pictures and not black."""
    first = np.array(page.run("player.picture()"))
    assert first.reshape(-1, 4)[:, :3].std() > 5
    page.run(f"window.first = {first.tolist()}")
    page.wait("player.picture().some((value, at) => Math.abs(value - first[at]) > 8)", 20)
    return True
