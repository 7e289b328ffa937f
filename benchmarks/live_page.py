"""Sound to lips in a real browser: `python -m benchmarks.live_page AVATAR --seconds 20`.

Debian's Chromium, headless, opens the studio of a real server on this machine; its microphone hears a procedural voice. Printed is
what the page measured, with where the time went: look-ahead, stages of the server, and the sound that the page holds.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.environment import restart_as
from r2talker.live.config import ServeConfig
from r2talker.live.library import Library
from r2talker.live.metrics import percentile
from r2talker.live.server import make_server_app
from r2talker.live.web import WebServer
from r2talker.media.write import write_wav
from r2talker.subject.voice import synthesise_speech
from tests.live.chromium import Page, browser

HEIGHT = 880
WATCH = """
window.seen = { delays: [], wanted: [], buffered: [], needs: [] };
const report = studio.player.report.bind(studio.player);
studio.player.report = () => {
  const told = report();
  seen.delays.push(...told.delays); seen.wanted.push(told.wanted); seen.buffered.push(told.buffered);
  seen.needs.push(...studio.player.needs.slice(-6));
  return told;
};
document.getElementById("microphone").click();
"""


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=3.0, help="seconds at the beginning that are told apart")
    parser.add_argument("--size", type=int, default=0, help="side of the pictures; 0 adapts")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--picture", type=Path, help="PNG to make of the page while it speaks: a desk's width, light, and a phone's, dark"
    )
    args = parser.parse_args()
    config = ServeConfig(port=0)
    app = make_server_app(Library(args.avatar, device=args.device), config)
    server = WebServer(app, config)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            voice = Path(folder) / "voice.wav"
            write_wav(voice, synthesise_speech(8.0, 3).samples)
            with browser(microphone=voice) as page:
                measure(page, server.address, args)
                if args.picture is not None:
                    photograph(page, args.picture)
        print(
            "\n".join(line for line in app.state.room.metrics.text({}).splitlines() if "quantile" in line or "dropped" in line)
        )
    finally:
        server.stop()


def measure(page: Page, address: str, args: argparse.Namespace) -> None:
    """Speak for so long and print the delays."""
    page.size(1280, 900)
    page.open(address)
    page.wait("window.studio && studio.player.lastNumber > 3", 60)
    if args.size:
        page.run(f"studio.connection.say('look', {{...studio.controls.look(), size: {args.size}}})")
    page.run(f"(() => {{{WATCH}}})()")
    page.wait("seen.delays.length > 0")
    for name, seconds in (("settling", args.settle), ("settled", args.seconds)):
        page.run("for (const kind in seen) seen[kind].length = 0")
        time.sleep(seconds)
        seen = page.run("seen")
        told = "  ".join(f"{share:.0%} {percentile(seen['delays'], share):.0f}" for share in (0.05, 0.5, 0.95))
        fps = len(seen["delays"]) / seconds
        held = f"holds {np.mean(seen['buffered']) * 1000:.0f} ms, wants {np.mean(seen['wanted']) * 1000:.0f} ms"
        needs = f"pictures need {np.median(seen['needs']) * 1000:.0f} ms (90 %: {percentile(seen['needs'], 0.9) * 1000:.0f})"
        print(f"{name}: {fps:.1f} pictures/s, sound to lips ms: {told}; {held}; {needs}")
    print(
        "side",
        page.run("studio.player.canvas.width"),
        "output latency ms",
        page.run("studio.player.audio.outputLatency * 1000"),
    )


def photograph(page: Page, path: Path) -> None:
    """The page on a desk and on a phone, side by side, while somebody speaks."""
    shown = []
    for width, dark in ((1280, False), (390, True)):
        page.size(width, HEIGHT, dark=dark)
        time.sleep(2)
        page.wait("document.getElementById('state').textContent === 'speaking'")
        page.picture(path)
        shown.append(np.asarray(cv2.imread(str(path))))
    cv2.imwrite(str(path), np.concatenate(shown, 1), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    restart_as("benchmarks.live_page")
    main()
