"""Sound that arrives live moves the face as a file does; silence lives, interruptions close the mouth."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from r2talker.conditions import window_conditions
from r2talker.drive.life import LifeStyle
from r2talker.live.performer import Direction, Moved, Performer
from r2talker.live.session import Session
from tests.tolerances import assert_close

if TYPE_CHECKING:
    from r2talker.avatar import Avatar

MOUTH = slice(48, 68)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    from r2talker.subject.voice import synthesise_speech

    return (synthesise_speech(1.2, 5).samples * 32767).astype(np.int16)


def follow(performer: Performer, session: Session, seconds: float, start: float = 0.0) -> Iterator[Moved]:
    for step in range(round(seconds * 100)):
        for planned in session.plan(start + step / 100):
            yield performer.perform(planned)


@pytest.mark.parametrize("kind", ["avatar", "audio_avatar"])
def test_what_is_said_moves_the_face_as_a_file_does(kind: str, request: pytest.FixtureRequest, speech: np.ndarray) -> None:
    avatar: Avatar = request.getfixturevalue(kind)
    performer = Performer(avatar)
    session = Session(performer.ahead, 0.0)
    session.say(speech)
    moved = list(follow(performer, session, 1.2))
    plan = avatar.plan(audio=speech.astype(np.float32) / 32768, life=LifeStyle("speech", "new"))
    assert len(moved) == len(plan.windows) == 30
    # Before the first frame a file repeats it; live there is silence.
    inner = slice(avatar.model.method.drive.window, 30 - avatar.model.method.drive.window)
    live = torch.stack([one.window for one in moved])
    assert_close(live[inner], plan.windows[inner], "streamed landmarks")
    assert_close(torch.stack([one.eye for one in moved]), plan.eye, "streamed landmarks")


def test_silence_lives(avatar: "Avatar") -> None:
    performer = Performer(avatar)
    moved = list(follow(performer, Session(performer.ahead, 0.0), 4))
    mouths = torch.stack([one.values[MOUTH] for one in moved])
    assert torch.equal(mouths, mouths[:1].expand_as(mouths))
    assert torch.stack([one.c2w for one in moved]).std(0)[:3, 3].max() > 0
    for one in moved:
        assert torch.isfinite(one.window).all()
        turn = one.c2w[:3, :3]
        assert_close(turn @ turn.T, torch.eye(3), "rotation")


def test_an_interruption_closes_the_mouth_at_once(avatar: "Avatar", speech: np.ndarray) -> None:
    performer = Performer(avatar)
    session = Session(performer.ahead, 0.0)
    rest = next(follow(performer, session, 0.02)).values[MOUTH]
    session.say(speech)
    spoken = list(follow(performer, session, 0.6, start=0.02))
    assert (spoken[-1].values[MOUTH] - rest).abs().max() > 0
    session.interrupt()
    after = list(follow(performer, session, 0.4, start=0.62))
    assert torch.equal(after[0].values[MOUTH], rest)
    assert torch.equal(after[2].window[:, MOUTH], rest.expand(5, 20, 3))
    first = (after[0].window[:2, MOUTH] - rest).abs().max()
    assert 0 < first < (spoken[-1].window[:2, MOUTH] - rest).abs().max()
    # The head goes on where it was about to go.
    assert (after[0].c2w - spoken[-1].c2w).abs().max() < 0.1
    # Another utterance is not disturbed by what the first left.
    session.say(speech)
    again = torch.stack([one.values[MOUTH] for one in follow(performer, session, 1.2, start=1.1)])
    fresh = Performer(avatar)
    other = Session(fresh.ahead, 0.0)
    other.say(speech)
    first = torch.stack([one.values[MOUTH] for one in follow(fresh, other, 1.2)])
    assert_close(again[:25], first[:25], "streamed landmarks")


def test_eyes_open_and_blink_as_told(avatar: "Avatar") -> None:
    performer = Performer(avatar)
    session = Session(performer.ahead, 0.0)
    frames = session.plan(0.0)
    moved = performer.perform(frames[0], Direction(eye=0.125))
    assert float(moved.eye) == 0.125
    performer.blink()
    eyes = [float(performer.perform(frames[0], Direction(eye=0.2)).eye) for _ in range(14)]
    assert min(eyes) < 0.1
    assert eyes[-1] == pytest.approx(0.2)


def test_frames_of_the_clip_are_shown(avatar: "Avatar") -> None:
    """Its pose, its face with those before and after it, with eyes of one's own; speech goes on behind it."""
    performer, track = Performer(avatar), avatar.track
    planned = Session(performer.ahead, 0.0).plan(0.0)[0]
    posed = performer.perform(planned, Direction(pose=7))
    assert torch.equal(posed.c2w, track.c2w[7])
    assert not torch.equal(posed.values, track.displacements[7])
    shown = performer.perform(planned, Direction(pose=7, face=7))
    assert torch.equal(shown.values, track.displacements[7])
    assert torch.equal(shown.eye, track.eye[7])
    windows = window_conditions(track.displacements, avatar.model.method.drive, avatar.info.statistics)
    assert_close(shown.window, windows[7], "streamed landmarks")
    again = performer.perform(planned, Direction(pose=7, face=7))
    assert torch.equal(again.window, shown.window)
    for end in (0, len(track.eye) - 1):
        assert_close(performer.perform(planned, Direction(face=end)).window, windows[end], "streamed landmarks")
    open_eyes = performer.perform(planned, Direction(face=7, eye=0.3))
    assert float(open_eyes.eye) == pytest.approx(0.3)
    assert torch.equal(open_eyes.values[MOUTH], shown.values[MOUTH])


def test_an_avatar_without_a_generator_is_refused(trained: Callable[[str], object]) -> None:
    from r2talker.avatar import Avatar
    from r2talker.errors import R2TalkerError

    deaf = Avatar.load(trained("r2talker"), device="cpu")  # type: ignore[arg-type]
    deaf.motion = None
    with pytest.raises(R2TalkerError, match="cannot speak live"):
        Performer(deaf)
