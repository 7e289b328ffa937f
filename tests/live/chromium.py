"""A real browser, driven over its debugging protocol."""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

PROGRAM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
STARTING = 60.0


class Page:
    """One page of a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._count = 0
        self.faults: list[str] = []
        """Exceptions and console errors of the page."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the debugging protocol."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        deadline = time.monotonic() + 60
        while True:
            answer = json.loads(self._socket.recv(timeout=max(deadline - time.monotonic(), 0.1)))
            if answer.get("method") == "Runtime.exceptionThrown":
                details = answer["params"]["exceptionDetails"]
                self.faults.append(details.get("exception", {}).get("description", details["text"]))
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.faults.append(answer["params"]["entry"]["text"] + " " + answer["params"]["entry"].get("url", ""))
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def run(self, script: str) -> Any:
        """Value of an expression in the page; promises are awaited, and it counts as the user's own doing."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < deadline, f"waited {seconds} s for {condition}; faults: {self.faults}"
            time.sleep(0.05)

    def press(self, name: str) -> None:
        """Click on what has that id."""
        self.run(f"document.getElementById('{name}').click()")

    def put(self, name: str, value: object) -> None:
        """As the user does: set a field and tell those who listen."""
        self.run(
            f"""(() => {{
                const field = document.getElementById({name!r});
                if (field.type === "checkbox") field.checked = {json.dumps(value)}; else field.value = {json.dumps(value)};
                for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, {{ bubbles: true }}));
            }})()"""
        )

    def text(self, name: str) -> str:
        """What stands in what has that id."""
        return str(self.run(f"document.getElementById('{name}').textContent"))

    def seen(self) -> np.ndarray:
        """The picture that the page shows, 32 x 32 RGB."""
        script = """(() => {
            const small = document.createElement("canvas");
            small.width = small.height = 32;
            const context = small.getContext("2d");
            context.drawImage(document.getElementById("picture"), 0, 0, 32, 32);
            return [...context.getImageData(0, 0, 32, 32).data];
        })()"""
        return np.array(self.run(script)).reshape(32, 32, 4)[..., :3]

    def until(self, wanted: Callable[[np.ndarray], bool], seconds: float = 15.0) -> None:
        """Until the picture is as wanted."""
        deadline = time.monotonic() + seconds
        while not wanted(self.seen()):
            assert time.monotonic() < deadline, self.faults
            time.sleep(0.1)

    def open(self, address: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=address)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Size of the window, and which colours the user prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A screenshot as PNG."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextlib.contextmanager
def browser(*flags: str, microphone: Path | None = None) -> Iterator[Page]:
    """Start a headless browser whose microphone plays a wav file over and over; ends it and deletes its files. flags: more of it."""
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            PROGRAM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            *flags,
            "--autoplay-policy=no-user-gesture-required",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
        ]
        if microphone is not None:
            command.append(f"--use-file-for-fake-audio-capture={microphone}")
        process = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(Path(profile)), max_size=None, compression=None) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log"):
                    page.call(f"{domain}.enable")
                yield page
                with contextlib.suppress(Exception):
                    page.call("Browser.close")
        finally:
            process.terminate()
            process.wait(20)


def _address(profile: Path) -> str:
    """Debugging address of the browser's first page."""
    from urllib.request import urlopen

    told = profile / "DevToolsActivePort"
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        if told.exists() and (lines := told.read_text().split()):
            with contextlib.suppress(OSError, StopIteration), urlopen(f"http://127.0.0.1:{lines[0]}/json") as answer:
                pages = json.load(answer)
                return str(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
        time.sleep(0.1)
    raise AssertionError("the browser did not start")
