"""The page in a real browser, whose microphone hears a procedural voice; and the page's copy of the messages."""

import base64
import json
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest

from r2talker.live.messages import HEADER, JPEG, KEY, OPUS, PICTURE, SOUND, schema
from r2talker.live.web import PAGE
from r2talker.media.stream import OPUS_LAG, SoundEncoder
from tests.live.chromium import Page, browser
from tests.live.conftest import Client, needs_browser

# ---- without a browser


def test_the_page_knows_the_messages_of_the_server() -> None:
    text = (PAGE / "protocol.js").read_text()
    (copied,) = re.findall(r"^export const SCHEMA = (\{.*?^\});$", text, re.DOTALL | re.MULTILINE)
    assert json.loads(copied) == schema()
    constants = dict(re.findall(r"(\w+) = (\d+)", re.findall(r"^export const SOUND.*$", text, re.MULTILINE)[0]))
    assert constants == {"SOUND": str(SOUND), "PICTURE": str(PICTURE), "KEY": str(KEY), "JPEG": str(JPEG), "OPUS": str(OPUS)}
    assert f"HEADER_BYTES = {HEADER.size};" in text


class Reader(HTMLParser):
    """Collects what a page needs to be used by everybody."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[tuple[str, bool]] = []
        self.inline: list[str] = []
        self._in_label = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "label":
            self._in_label += 1
            self.labelled.add(str(given.get("for")))
        if tag in ("input", "select", "textarea"):
            self.fields.append((str(given.get("id")), self._in_label > 0))

    def handle_endtag(self, tag: str) -> None:
        self._in_label -= tag == "label"


def test_every_field_has_a_label_and_nothing_is_inline() -> None:
    reader = Reader()
    reader.feed((PAGE / "index.html").read_text())
    assert len(reader.ids) == len(set(reader.ids))
    assert [name for name, inside in reader.fields if not inside and name not in reader.labelled] == []
    # The content security policy would refuse it.
    assert reader.inline == []
    used = set(re.findall(r'byId\("(\w+)"\)', "".join(path.read_text() for path in PAGE.glob("*.js"))))
    assert used <= set(reader.ids)


def test_nothing_is_fetched_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        found = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path


# ---- in a browser

LOUD = """(() => { const wave = new Float32Array(256); studio.player.meter.getFloatTimeDomainData(wave);
    return Math.max(...wave.map(Math.abs)) > 0.01; })()"""


@needs_browser
def test_the_page_says_that_a_token_is_needed_and_takes_it(serve: Callable[..., Client]) -> None:
    token = "0123456789abcdef"
    port = serve(token=token).port
    with browser() as page:
        page.open(f"http://127.0.0.1:{port}/")
        page.wait("window.studio && document.getElementById('notice').textContent === 'the token is missing or wrong'")
        page.open("about:blank")
        page.open(f"http://127.0.0.1:{port}/#token={token}")
        page.wait("window.studio && studio.player.lastNumber > 3")
        # It does not stay in the address, where others would see it.
        assert page.run("location.hash") == ""


@needs_browser
class TestBrowser:
    def test_pictures_move_and_sound_runs(self, page: Page) -> None:
        first = page.run("studio.player.lastNumber")
        page.wait(f"studio.player.lastNumber > {first} + 10")
        page.wait("studio.player.played && studio.player.played.position > 0")
        assert page.seen().std() > 5
        page.wait("document.getElementById('begin').hidden")
        assert page.text("state") == "idle"

    def test_the_microphone_is_spoken_heard_and_measured(self, page: Page) -> None:
        page.press("microphone")
        page.wait("document.getElementById('state').textContent === 'speaking'")
        page.wait("parseInt(document.getElementById('delay').textContent) > 100")
        page.wait(LOUD)
        page.press("microphone")
        page.wait("document.getElementById('state').textContent === 'idle'")

    def test_page_and_metrics_tell_the_same_delay(self, page: Page) -> None:
        """While nothing is measured any more, so that both speak of the same."""
        page.wait("/^[0-9]+ ms/.test(document.getElementById('delay').textContent)")
        told = [int(number) for number in re.findall(r"(\d+) ms", page.text("delay"))]
        text = page.run("fetch('/metrics').then((answer) => answer.text())")
        counted = [
            1000 * float(re.findall(rf'r2talker_sound_to_lips_seconds{{quantile="{share}"}} (\S+)', text)[0])
            for share in ("0.5", "0.95")
        ]
        # Each is rounded.
        assert all(abs(one - other) <= 1 for one, other in zip(told, counted, strict=True)), (told, counted)

    def test_an_interruption_silences(self, page: Page) -> None:
        page.press("microphone")
        page.wait("document.getElementById('state').textContent === 'speaking'")
        page.press("microphone")
        page.press("interrupt")
        page.wait("document.getElementById('state').textContent === 'idle'", 3)

    def test_a_recording_is_offered(self, page: Page) -> None:
        page.press("record")
        page.wait("document.getElementById('record').getAttribute('aria-pressed') === 'true'")
        time.sleep(0.5)
        page.press("record")
        page.wait("!document.getElementById('recorded').hidden")
        length = page.run(
            "fetch(document.getElementById('recorded').href).then((answer) => answer.blob()).then((blob) => blob.size)"
        )
        assert length > 1000

    @pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
    @pytest.mark.parametrize("dark", [False, True])
    def test_it_fits_the_window(self, page: Page, width: int, height: int, dark: bool) -> None:
        page.size(width, height, dark=dark)
        page.wait(f"document.documentElement.scrollWidth <= {width}", 3)
        ground, ink = page.run("(() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]; })()")
        light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ground, ink)]
        assert (light[0] < light[1]) == dark
        assert abs(light[0] - light[1]) > 400

    def test_jpeg_instead_of_h264(self, page: Page) -> None:
        page.run("studio.connection.say('codec', { name: 'jpeg' })")
        time.sleep(0.5)
        number = page.run("studio.player.lastNumber")
        page.wait(f"studio.player.lastNumber > {number} + 5")

    def test_sound_as_opus(self, page: Page) -> None:
        """It is heard, and what the browser decodes is late by as much as the page believes."""
        page.run("studio.connection.say('codec', { name: 'h264', sound: 'opus' })")
        page.wait("studio.player.compressed")
        page.press("microphone")
        page.wait(LOUD)
        page.press("microphone")
        sound = np.zeros(640 * 6, np.int16)
        sound[1500:1520] = 20000
        encoder = SoundEncoder()
        packets = [base64.b64encode(encoder.encode(frame)).decode() for frame in sound.reshape(-1, 640)]
        decoded = np.array(
            page.run(
                f"""new Promise((done) => {{
                    const sounds = [];
                    const decoder = studio.player.newSoundDecoder((_, samples) => sounds.push(...samples));
                    {json.dumps(packets)}.forEach((packet, number) => decoder.decode(new EncodedAudioChunk({{
                        type: "key", timestamp: number * 40000, data: Uint8Array.from(atob(packet), (letter) => letter.charCodeAt(0)),
                    }})));
                    decoder.flush().then(() => done(sounds));
                }})"""
            )
        )
        assert abs(np.argmax(np.abs(decoded)) - 1510 - OPUS_LAG) < 16

    def test_nothing_went_wrong(self, page: Page) -> None:
        page.run("1")
        assert page.faults == []
