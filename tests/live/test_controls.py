"""Every control of the page, pressed in a real browser; and the table of docs/live.md that says so."""

import base64
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from r2talker.live.config import ServeConfig
from r2talker.live.training import watch_training
from r2talker.live.web import PAGE
from r2talker.render.sight import Sight
from tests.live.chromium import Page, browser
from tests.live.conftest import needs_browser
from tests.live.test_training import Run

DOCS = Path(__file__).parents[2] / "docs" / "live.md"
REFERENCE = (
    "image or depth", "orbit", "zoom", "pan", "start, stop training", "reset weights", "save checkpoint", "export mesh",
    "play the clip", "clear what waits", "frame of the clip", "individual code", "eye opening", "field of view", "growth of steps",
    "samples per ray", "box planes", "background colour", "accumulate", "pose read-out",
)  # fmt: skip
"""What the reference's viewer offers (upstream.md 6.10)."""


# ---- the table


def table() -> list[list[str]]:
    """Rows of docs/live.md: what, controls, tests."""
    section = DOCS.read_text().split("## Controls\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


class Fields(HTMLParser):
    """Ids, or names where several share one, of what can be operated."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("input", "select", "textarea", "button") or (tag == "a" and "id" in given):
            self.found.add(str(given.get("id") or given.get("name")))


def test_the_table_has_all_that_the_reference_offers_and_all_of_the_page() -> None:
    rows = table()
    assert [name for name in REFERENCE if name not in {row[0] for row in rows}] == []
    fields = Fields()
    fields.feed((PAGE / "index.html").read_text())
    told = set(re.findall(r"`(\w+)`", " ".join(row[1] for row in rows)))
    assert {"box", "picture"} <= told
    assert fields.found - told == set()


def test_the_tests_of_the_table_are_there() -> None:
    known = {
        name
        for path in Path(__file__).parents[1].rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    for what, _, tests in table():
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, what
        assert set(named) <= known, what


# ---- in a browser


def watch_looks(page: Page) -> None:
    """Looks are collected on their way to the server."""
    page.run("window.looks = []; studio.controls.onLook = (look) => { looks.push(look); studio.connection.say('look', look); }")


def look(page: Page, condition: str) -> None:
    """Wait until the last look is so, and nothing was refused."""
    page.wait(f"looks.length > 0 && ((look) => {condition})(looks[looks.length - 1])")
    assert page.run("document.getElementById('notice').hidden"), page.text("notice")


@needs_browser
class TestControls:
    def test_fields_of_the_picture(self, page: Page) -> None:
        watch_looks(page)
        page.put("size", "64")
        before = page.seen().astype(int)
        page.put("colour", "#00ff00")
        look(page, "look.background === 'colour' && look.colour === '#00ff00' && look.size === 64")
        page.until(lambda picture: bool((picture.astype(int) - before)[..., 1].mean() > 5))
        page.wait("studio.player.canvas.width === 64")
        page.put("background", "clip")
        page.put("landmarks", True)
        look(page, "look.landmarks && look.background === 'clip'")
        page.put("landmarks", False)
        for kind in ("depth", "normal", "alpha", "image"):
            page.run(f"document.querySelector('[name=kind][value={kind}]').click()")
            look(page, f"look.kind === '{kind}'")
            if kind == "alpha":
                page.until(lambda picture: bool(np.abs(picture[..., 0].astype(int) - picture[..., 1]).max() < 30))

    def test_a_picture_of_ones_own_stands_behind(self, page: Page) -> None:
        page.run(
            """new Promise((done) => {
                const canvas = document.createElement("canvas"), files = new DataTransfer(), field = document.getElementById("backdrop");
                canvas.width = canvas.height = 32;
                const context = canvas.getContext("2d");
                context.fillStyle = "#ff0000";
                context.fillRect(0, 0, 32, 32);
                canvas.toBlob((blob) => {
                    files.items.add(new File([blob], "red.png", { type: "image/png" }));
                    field.files = files.files;
                    field.dispatchEvent(new Event("change", { bubbles: true }));
                    done();
                });
            })"""
        )
        page.until(lambda picture: picture[0, 0, 0] > 150 and picture[0, 0, 1] < 80)
        page.put("background", "clip")

    def test_fields_of_camera_face_and_rendering(self, page: Page) -> None:
        watch_looks(page)
        values = {
            "pose": 5, "fov": 30, "eye": 0.1, "code": 3, "max_steps": 8, "max_spp": 4, "dt_gamma": 0.01, "face": "clip",
            "box0": -0.9, "box1": -0.45, "box2": -0.9, "box3": 0.9, "box4": 0.45, "box5": 0.9,
        }  # fmt: skip
        for name, value in values.items():
            page.put(name, value)
        look(page, "look.pose === 5 && look.max_spp === 4 && look.face === 'clip' && look.aabb[5] === 0.9")
        got = page.run("looks[looks.length - 1]")
        same = ("fov", "eye", "code", "max_steps", "dt_gamma")
        assert {name: got[name] for name in same} == {name: values[name] for name in same}
        assert got["aabb"] == [-0.9, -0.45, -0.9, 0.9, 0.45, 0.9]
        assert "over frame 5" in page.text("readout")
        number = page.run("studio.player.lastNumber")
        page.wait(f"studio.player.lastNumber > {number} + 3")
        page.put("max_spp", 1)
        page.put("eyes", False)
        page.put("head", "replay")
        look(page, "look.replay && look.pose === -1 && look.eye === -1")
        page.put("head", "fixed")
        look(page, "look.pose === 5 && !look.replay")
        page.press("blink")
        page.press("home")
        look(page, "look.pose === -1 && look.fov === 0")
        page.put("face", "spoken")

    def test_the_picture_is_turned_by_mouse_and_keys(self, page: Page) -> None:
        box = page.run("JSON.stringify(document.getElementById('picture').getBoundingClientRect())")
        x, y = (json.loads(box)[key] + 60 for key in ("left", "top"))
        for modifiers, moved in ((0, "yaw"), (8, "pan_x")):
            for kind, dx in (("mousePressed", 0), ("mouseMoved", 40), ("mouseReleased", 40)):
                page.call(
                    "Input.dispatchMouseEvent", type=kind, x=x + dx, y=y, button="left", buttons=1, clickCount=1, modifiers=modifiers
                )  # fmt: skip
            page.wait(f"studio.controls.orbit.{moved} !== 0")
        page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-200)
        page.wait("studio.controls.orbit.zoom > 0")
        assert page.text("readout") != page.run("studio.controls.home(), document.getElementById('readout').textContent")
        for key, code, moved in (("ArrowLeft", 37, "yaw < 0"), ("ArrowUp", 38, "pitch > 0")):
            page.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code)
            page.wait(f"studio.controls.orbit.{moved}")
        page.call("Input.dispatchKeyEvent", type="keyDown", key="Home", code="Home", windowsVirtualKeyCode=36)
        page.wait("studio.controls.orbit.yaw === 0 && studio.controls.orbit.zoom === 0")

    def test_two_fingers_zoom_and_pan(self, page: Page) -> None:
        """Spread to twice as far apart and moved to the right: the head is twice as near; one finger orbits."""
        page.size(390, 844)
        page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        page.run("studio.controls.home(), window.scrollTo(0, 0)")
        box = json.loads(page.run("JSON.stringify(document.getElementById('picture').getBoundingClientRect())"))
        x, y = box["left"] + box["width"] / 2, box["top"] + box["height"] / 2

        def touch(kind: str, *places: float) -> None:
            page.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x + dx, "y": y} for dx in places])

        try:
            touch("touchStart", -30, 30)
            for step in range(1, 7):
                touch("touchMove", -30 - 4 * step, 30 + 6 * step)
            page.wait("studio.controls.orbit.zoom > 6")
            touch("touchEnd")
            zoom, pan, yaw = page.run("(({ zoom, pan_x, yaw }) => [zoom, pan_x, yaw])(studio.controls.orbit)")
            assert 1.1**zoom == pytest.approx(2.0)
            assert pan == pytest.approx(6 / page.run("document.getElementById('picture').clientWidth"))
            assert yaw == 0
            touch("touchStart", 0)
            touch("touchMove", 20)
            page.wait("studio.controls.orbit.yaw > 0")
            touch("touchEnd")
            assert page.run("studio.controls.orbit.zoom") == zoom
        finally:
            page.call("Emulation.setTouchEmulationEnabled", enabled=False)
            page.size(1280, 900)
            page.run("studio.controls.home()")

    def test_texts_and_files_are_spoken(self, page: Page, voice: Path) -> None:
        content = base64.b64encode(voice.read_bytes()).decode()
        page.run(
            f"""window.voice = () => {{
                const bytes = Uint8Array.from(atob("{content}"), (letter) => letter.charCodeAt(0)), files = new DataTransfer();
                files.items.add(new File([bytes], "voice.wav", {{ type: "audio/wav" }}));
                return files;
            }}"""
        )
        ways = (
            "document.getElementById('text').value = 'Good morning'; document.getElementById('speak').click()",
            "(() => { const field = document.getElementById('sound'); field.files = voice().files; "
            "field.dispatchEvent(new Event('change', { bubbles: true })); })()",
            "document.getElementById('picture').dispatchEvent(new DragEvent('drop', { dataTransfer: voice(), cancelable: true }))",
        )
        for way in ways:
            page.run(way)
            page.wait("document.getElementById('state').textContent === 'speaking'")
            page.press("interrupt")
            page.wait("document.getElementById('state').textContent === 'idle'", 5)

    def test_another_avatar(self, page: Page) -> None:
        page.put("avatar", "second.avatar")
        page.wait("studio.controls.avatar === 'second.avatar' && studio.player.lastNumber > 3", 30)

    def test_the_head_is_exported(self, page: Page) -> None:
        page.put("cells", "64")
        for kind, begin in (("glb", b"glTF"), ("ply", b"ply\n")):
            page.wait(f"document.getElementById('{kind}').href.includes('resolution=64')")
            got = page.run(
                f"fetch(document.getElementById('{kind}').href).then((a) => a.arrayBuffer()).then((b) => [...new Uint8Array(b)].slice(0, 4))"
            )
            assert bytes(got) == begin

    def test_nothing_went_wrong(self, page: Page) -> None:
        page.run("1")
        assert page.faults == []


@needs_browser
def test_a_training_run_is_watched_and_steered() -> None:
    with watch_training("a.avatar", ServeConfig(port=0)) as (watch, address), browser() as page:
        run = Run(watch)
        try:
            page.open(address)
            page.wait("window.studio && !document.getElementById('training').hidden")
            page.press("pause")
            page.wait("document.getElementById('state').textContent === 'paused'")
            time.sleep(0.1)
            held = run.step
            assert "paused" in page.text("phase")
            page.press("save")
            page.run("window.confirm = () => true")
            deadline = time.monotonic() + 10
            while run.saved != [held] and time.monotonic() < deadline:
                time.sleep(0.05)
            assert run.saved == [held]
            watch_looks(page)
            page.run("document.querySelector('[name=kind][value=depth]').click()")
            look(page, "look.kind === 'depth'")
            page.run("document.getElementById('picture').focus()")
            page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37)
            page.until(lambda picture: picture.mean() > 200)
            page.wait("studio.controls.orbit.yaw === -5")
            while run.drawn[-1] != Sight("depth", yaw=-5.0) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert run.drawn[-1] == Sight("depth", yaw=-5.0)
            assert run.step == held
            # Only what a run can show is offered.
            hidden = "['kind', 'size', 'background'].map((name) => document.querySelector(`[name=${name}], #${name}`).checkVisibility())"
            assert page.run(hidden) == [True, False, False]
            page.press("home")
            page.run("document.querySelector('[name=kind][value=image]').click()")
            page.until(lambda picture: picture.mean() < 150)
            page.press("reset")
            while (run.resets, run.step) != (1, 1) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert (run.resets, run.step) == (1, 1)
            page.press("resume")
            page.wait("document.getElementById('state').textContent === 'training'")
            while run.step < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert run.step >= 3
            page.wait("document.getElementById('picture').width === 32")
            assert page.faults == []
        finally:
            run.ended = True
            run.thread.join(5)
