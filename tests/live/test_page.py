"""The page in a real browser, whose microphone hears a procedural voice; and the page's copy of the messages."""

import json
import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from r2talker.live.messages import HEADER, JPEG, KEY, OPUS, PICTURE, SOUND, schema
from r2talker.live.web import PAGE
from tests.live.chromium import PROGRAM, Page, browser
from tests.live.conftest import Client

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs chromium (Debian's package) on the PATH")


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


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from r2talker.media.write import write_wav
    from r2talker.subject.voice import synthesise_speech

    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    write_wav(path, synthesise_speech(4.0, 3).samples)
    return path


@pytest.fixture(scope="module")
def page(voice: Path, serve: Callable[..., Client]) -> Iterator[Page]:
    """The studio, loaded and showing pictures."""
    with browser(microphone=voice) as page:
        page.size(1280, 900)
        page.open(f"http://127.0.0.1:{serve().port}/")
        page.wait("window.studio && studio.player.lastNumber > 3", 60)
        yield page


def press(page: Page, name: str) -> None:
    page.run(f"document.getElementById('{name}').click()")


def put(page: Page, name: str, value: object) -> None:
    """As the user does: set a field and tell those who listen."""
    page.run(
        f"""(() => {{
            const field = document.getElementById({name!r});
            if (field.type === "checkbox") field.checked = {json.dumps(value)}; else field.value = {json.dumps(value)};
            for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, {{ bubbles: true }}));
        }})()"""
    )


def seen(page: Page) -> np.ndarray:
    """The picture that the page shows, 32 x 32 RGB."""
    script = """(() => {
        const small = document.createElement("canvas");
        small.width = small.height = 32;
        const context = small.getContext("2d");
        context.drawImage(document.getElementById("picture"), 0, 0, 32, 32);
        return [...context.getImageData(0, 0, 32, 32).data];
    })()"""
    return np.array(page.run(script)).reshape(32, 32, 4)[..., :3]


def until(page: Page, wanted: Callable[[np.ndarray], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not wanted(seen(page)):
        assert time.monotonic() < deadline, page.faults
        time.sleep(0.1)


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
        assert seen(page).std() > 5
        page.wait("document.getElementById('begin').hidden")
        assert page.run("document.getElementById('state').textContent") == "idle"

    def test_the_microphone_is_spoken_heard_and_measured(self, page: Page) -> None:
        press(page, "microphone")
        page.wait("document.getElementById('state').textContent === 'speaking'")
        page.wait("parseInt(document.getElementById('delay').textContent) > 100")
        loud = """(() => { const wave = new Float32Array(256); studio.player.meter.getFloatTimeDomainData(wave);
            return Math.max(...wave.map(Math.abs)) > 0.01; })()"""
        page.wait(loud)
        press(page, "microphone")
        page.wait("document.getElementById('state').textContent === 'idle'")

    def test_an_interruption_silences(self, page: Page) -> None:
        press(page, "microphone")
        page.wait("document.getElementById('state').textContent === 'speaking'")
        press(page, "microphone")
        press(page, "interrupt")
        page.wait("document.getElementById('state').textContent === 'idle'", 3)

    def test_every_control_reaches_the_server(self, page: Page) -> None:
        """Each changes the look, none is refused, and the page stays alive."""
        page.run(
            "window.looks = []; studio.controls.onLook = (look) => { looks.push(look); studio.connection.say('look', look); }"
        )
        for name, value in {
            "size": "64", "background": "colour", "colour": "#00ff00", "pose": 5, "fov": 30, "eye": 0.1, "code": 3, "max_steps": 8,
            "dt_gamma": 0.01, "box0": -0.9, "box1": -0.45, "box2": -0.9, "box3": 0.9, "box4": 0.45, "box5": 0.9, "landmarks": True,
            "head": "alive", "eyes": False, "cells": "64",
        }.items():  # fmt: skip
            put(page, name, value)
        page.wait("looks.length > 0")
        time.sleep(0.3)
        look = page.run("looks[looks.length - 1]")
        expected = {"size": 64, "background": "colour", "colour": "#00ff00", "pose": -1, "fov": 30, "eye": -1, "code": 3}
        assert {name: look[name] for name in expected} == expected
        assert look["aabb"] == [-0.9, -0.45, -0.9, 0.9, 0.45, 0.9]
        assert look["landmarks"] is True
        put(page, "landmarks", False)
        for kind in ("depth", "normal", "alpha", "image"):
            page.run(f"document.querySelector('[name=kind][value={kind}]').click()")
            page.wait(f"looks[looks.length - 1].kind === '{kind}'")
            if kind == "alpha":
                until(page, lambda picture: bool(np.abs(picture[..., 0] - picture[..., 1]).max() < 30))
        for name in ("blink", "home"):
            press(page, name)
        assert page.run("document.getElementById('notice').hidden"), page.run("document.getElementById('notice').textContent")
        assert "format=glb" in page.run("document.getElementById('glb').href")

    def test_the_picture_is_turned_by_mouse_and_keys(self, page: Page) -> None:
        box = page.run("JSON.stringify(document.getElementById('picture').getBoundingClientRect())")
        x, y = (json.loads(box)[key] + 60 for key in ("left", "top"))
        for kind, dx in (("mousePressed", 0), ("mouseMoved", 40), ("mouseReleased", 40)):
            page.call("Input.dispatchMouseEvent", type=kind, x=x + dx, y=y, button="left", buttons=1, clickCount=1)
        page.wait("studio.controls.orbit.yaw !== 0")
        page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-200)
        page.wait("studio.controls.orbit.zoom > 0")
        page.call("Input.dispatchKeyEvent", type="keyDown", key="Home", code="Home", windowsVirtualKeyCode=36)
        page.wait("studio.controls.orbit.yaw === 0 && studio.controls.orbit.zoom === 0")

    def test_a_recording_is_offered(self, page: Page) -> None:
        press(page, "record")
        page.wait("document.getElementById('record').getAttribute('aria-pressed') === 'true'")
        time.sleep(0.5)
        press(page, "record")
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

    def test_nothing_went_wrong(self, page: Page) -> None:
        page.run("1")
        assert page.faults == []
