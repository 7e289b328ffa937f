"""A training run that is watched, paused, saved and resumed by somebody at the page."""

import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError

from r2talker.live.config import ServeConfig
from r2talker.live.messages import PICTURE
from r2talker.live.training import MOST_POINTS, Watch, watch_training
from r2talker.media.stream import decode_picture
from r2talker.render.sight import Sight
from tests.live.conftest import Client, Piece

PICTURE_OF_NOW = np.full((24, 32, 3), 120, np.uint8)
MOVED = np.full((32, 32, 3), 220, np.uint8)


class Run:
    """A loop of steps in a thread."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.step, self.saved, self.resets, self.ended = watch, 0, [], 0, False
        self.drawn: list[Sight] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended:
            self.step += 1
            if self.watch.step("head", self.step, 1000, {"loss": 1 / self.step}, self._draw, self._save):
                self.step, self.resets = 0, self.resets + 1
            time.sleep(0.005)

    def _draw(self, sight: Sight) -> np.ndarray:
        self.drawn.append(sight)
        return PICTURE_OF_NOW if sight == Sight() else MOVED

    def _save(self) -> None:
        self.saved.append(self.step)


def test_a_run_is_watched_paused_saved_and_resumed() -> None:
    with watch_training("a.avatar", ServeConfig(port=0)) as (watch, address):
        run = Run(watch)
        try:
            time.sleep(0.1)
            assert run.drawn == []  # nobody looks
            client = Client(int(address.rstrip("/").rsplit(":", 1)[1]), None)
            assert client.ask("GET", "/").status == 200
            with client.stream() as stream:
                assert stream.welcome["talks"] is False
                shown = stream.until(lambda got: isinstance(got, Piece) and got.kind == PICTURE)
                assert np.abs(decode_picture(shown.payload).astype(int) - 120).max() < 4
                told = stream.word("training")
                assert (told["phase"], told["steps"], told["paused"]) == ("head", 1000, False)
                assert told["curve"][0] == [1.0, 1.0]
                stream.say("train", action="pause")
                stream.until(lambda got: isinstance(got, dict) and got.get("paused") is True)
                time.sleep(0.1)
                held = run.step
                stream.say("train", action="save")
                stream.listen(0.8)
                assert run.saved == [held]
                assert run.step == held
                stream.say("look", kind="depth", yaw=30.0)
                turned = stream.until(lambda got: isinstance(got, Piece) and got.width == 32 == got.height)
                assert np.abs(decode_picture(turned.payload).astype(int) - 220).max() < 4
                assert (run.drawn[-1], run.step) == (Sight("depth", yaw=30.0), held)
                stream.say("train", action="resume")
                stream.until(lambda got: isinstance(got, dict) and got.get("paused") is False)
                time.sleep(0.1)
                assert run.step > held
                stream.say("blink")
                assert "only to be watched" in stream.word("refused")["message"]
                stream.say("train", action="pause")
                stream.until(lambda got: isinstance(got, dict) and got.get("paused") is True)
        finally:
            run.ended = True
    # The page is gone, so a paused run goes on.
    run.thread.join(5)
    assert not run.thread.is_alive()


def test_the_curve_is_bounded_and_begins_anew_with_a_phase() -> None:
    watch = Watch()
    for step in range(5000):
        watch.step("head", step, 5000, {"loss": 1.0} if step % 2 == 0 else {}, lambda _: PICTURE_OF_NOW, lambda: None)
    curve = watch.now().curve
    assert MOST_POINTS // 3 < len(curve) <= MOST_POINTS
    assert curve[-1][0] > 4900
    assert watch.now().scalars == {"loss": 1.0}
    watch.step("torso", 0, 10, {"loss": 2.0}, lambda _: PICTURE_OF_NOW, lambda: None)
    assert watch.now().curve == [[0.0, 2.0]]


def test_a_look_that_cannot_be_ends_the_connection_and_not_the_run() -> None:
    with watch_training("a.avatar", ServeConfig(port=0)) as (watch, address):
        run = Run(watch)
        try:
            client = Client(int(address.rstrip("/").rsplit(":", 1)[1]), None)
            with client.stream() as stream:
                stream.say("look", pitch=91.0)
                with pytest.raises(ConnectionClosedError, match=r"look\.pitch must lie between -90 and 90, got 91"):
                    stream.listen(10)
            before = run.step
            time.sleep(0.1)
            assert run.step > before
        finally:
            run.ended = True
    run.thread.join(5)
