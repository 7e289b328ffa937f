"""The session on a clock that only moves when told."""

import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.live.session import FRAME_SAMPLES, FRAME_SECONDS, RATE, Planned, Session, SessionLimits

AHEAD = 3000


class Listener:
    """A session and a clock that moves in steps of 5 ms; remembers what was planned, and when."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self.now = 100.0
        self.session = Session(AHEAD, self.now, limits)
        self.planned: list[Planned] = []
        self.times: list[float] = []

    def pass_time(self, seconds: float, microphone: np.ndarray | None = None) -> list[Planned]:
        """Let time pass; the microphone delivers its samples in pieces of 5 ms."""
        before = len(self.planned)
        for step in range(round(seconds / 0.005)):
            if microphone is not None:
                self.session.push(microphone[step * 80 : (step + 1) * 80])
            for planned in self.session.plan(self.now):
                self.planned.append(planned)
                self.times.append(self.now)
            self.now += 0.005
        return self.planned[before:]


def tone(seconds: float, level: int = 8000) -> np.ndarray:
    """Samples that differ from each other and are loud enough for speech."""
    rng = np.random.default_rng(0)
    return rng.integers(-level, level, round(seconds * RATE)).astype(np.int16)


def heard(planned: list[Planned]) -> np.ndarray:
    return np.concatenate([one.sound for one in planned])


def fed(planned: list[Planned]) -> np.ndarray:
    return np.concatenate([one.feed for one in planned if one.feed is not None])


def test_idle_frames_come_25_times_a_second_and_are_silent() -> None:
    listener = Listener()
    planned = listener.pass_time(2)
    assert len(planned) == 50
    assert [one.number for one in planned] == list(range(50))
    assert all(one.feed is None and not one.sound.any() for one in planned)
    assert listener.session.state(listener.now) == "idle"


def test_what_is_said_is_heard_once_in_step_with_its_frames() -> None:
    listener, samples = Listener(), tone(1.01)
    listener.pass_time(0.1)
    listener.session.say(samples)
    assert listener.session.state(listener.now) == "speaking"
    planned = listener.pass_time(2)
    spoken = [one for one in planned if one.feed is not None]
    assert len(spoken) == 26  # the rest of the last frame is silence
    assert np.array_equal(heard(spoken)[: len(samples)], samples)
    assert np.array_equal(fed(spoken)[: len(samples)], samples)
    assert [one.begins for one in spoken] == [True] + 25 * [False]
    assert sum(one.ends for one in spoken) == 1
    assert listener.session.state(listener.now) == "idle"
    assert np.diff(listener.times).max() <= FRAME_SECONDS + 0.0051


def test_the_ear_hears_its_look_ahead_before_every_frame() -> None:
    listener = Listener()
    listener.session.say(tone(1))
    count = 0
    for place, one in enumerate(listener.pass_time(1)[:25]):
        assert one.feed is not None
        count += len(one.feed)
        assert count == min(RATE, (place + 1) * FRAME_SAMPLES + AHEAD)


def test_sayings_follow_each_other_as_utterances_of_their_own() -> None:
    listener = Listener()
    listener.session.say(tone(0.4))
    listener.session.say(tone(0.4))
    planned = listener.pass_time(1)
    assert [one.number for one in planned if one.begins] == [0, 10]
    assert [one.feed is None for one in planned] == 20 * [False] + 5 * [True]


def test_the_microphone_is_spoken_once_its_look_ahead_is_there() -> None:
    listener, samples = Listener(), tone(2)
    listener.pass_time(0.4)
    listener.session.open_microphone()
    planned = listener.pass_time(2, samples)
    spoken = [(one, when) for one, when in zip(listener.planned, listener.times, strict=True) if one.feed is not None]
    for place, (one, when) in enumerate(spoken):
        assert one.heard == place * FRAME_SAMPLES
        assert np.array_equal(one.sound, samples[one.heard : one.heard + FRAME_SAMPLES])
        complete = 100.4 + (one.heard + FRAME_SAMPLES + AHEAD) / RATE
        assert when == pytest.approx(complete, abs=0.0051)
    assert len(spoken) == (2 * RATE - AHEAD) // FRAME_SAMPLES
    # Until the first of them the avatar rests in time.
    assert len([one for one in planned if one.feed is None]) == pytest.approx((FRAME_SAMPLES + AHEAD) / FRAME_SAMPLES, abs=1)
    assert listener.session.state(listener.now) == "speaking"


def test_a_quiet_microphone_listens() -> None:
    listener = Listener()
    listener.session.open_microphone()
    listener.pass_time(1, tone(1, level=30))
    assert listener.session.state(listener.now) == "listening"
    listener.pass_time(0.5, tone(0.5))
    assert listener.session.state(listener.now) == "speaking"
    listener.pass_time(1.0, tone(1.0, level=30))
    assert listener.session.state(listener.now) == "listening"


def test_a_closed_microphone_is_spoken_to_its_end() -> None:
    listener, samples = Listener(), tone(1)
    listener.session.open_microphone()
    listener.pass_time(1, samples)
    listener.session.close_microphone()
    listener.pass_time(1)
    spoken = [one for one in listener.planned if one.feed is not None]
    assert np.array_equal(heard(spoken)[:RATE], samples)
    assert sum(one.ends for one in spoken) == 1
    assert listener.session.state(listener.now) == "idle"
    # No burst at the end: the look-ahead is played out in time.
    times = [when for one, when in zip(listener.planned, listener.times, strict=True) if one.number >= spoken[-3].number]
    assert np.diff(times).min() > FRAME_SECONDS - 0.0051


def test_a_stalled_microphone_lets_the_avatar_rest_and_goes_on() -> None:
    listener, samples = Listener(), tone(1)
    listener.session.open_microphone()
    listener.pass_time(0.5, samples[: RATE // 2])
    rests = listener.pass_time(1)
    assert 18 <= len([one for one in rests if one.feed is None]) <= 22
    again = [one for one in listener.pass_time(0.5, samples[RATE // 2 :]) if one.feed is not None]
    assert not again[0].begins
    assert np.array_equal(again[0].sound, samples[again[0].heard : again[0].heard + FRAME_SAMPLES])


def test_saying_takes_the_floor_from_the_microphone() -> None:
    listener = Listener()
    listener.session.open_microphone()
    listener.pass_time(0.5, tone(0.5))
    listener.session.say(tone(0.4))
    later = tone(1.0)
    planned = listener.pass_time(1.0, later)
    assert [one.heard for one in planned[:10]] == 10 * [-1]
    after = [one for one in planned if one.heard >= 0]
    assert after[0].begins
    # The saying lasts 0.4 s from the next frame that is due on.
    assert 0.9 * RATE - FRAME_SAMPLES <= after[0].heard <= 0.9 * RATE + 2 * FRAME_SAMPLES
    assert np.array_equal(after[0].sound, later[after[0].heard - RATE // 2 :][:FRAME_SAMPLES])
    assert listener.session.unheard > 0.35 * RATE


def test_after_an_interruption_the_next_frame_rests() -> None:
    listener = Listener()
    listener.session.say(tone(5))
    listener.session.say(tone(5))
    before = listener.pass_time(1)[-1]
    number = listener.session.interrupt()
    assert number == before.number + 1
    assert listener.session.state(listener.now) == "idle"
    assert listener.session.say_waiting == 0
    assert listener.session.wake() < listener.now
    start = listener.now
    after = listener.pass_time(0.2)
    assert all(one.feed is None and one.epoch == before.epoch + 1 for one in after)
    # At once, not when the next frame would have been due.
    assert listener.times[-len(after)] == start
    assert listener.session.is_late(before, listener.now)


def test_an_interrupted_microphone_begins_a_new_utterance() -> None:
    listener = Listener()
    listener.session.open_microphone()
    listener.pass_time(1, tone(1))
    listener.session.interrupt()
    after = [one for one in listener.pass_time(1, tone(1)) if one.feed is not None]
    assert after[0].begins
    assert after[0].heard == RATE


def test_queues_are_bounded() -> None:
    listener = Listener(SessionLimits(say_seconds=2, microphone_seconds=0.5))
    listener.session.say(tone(1.5))
    with pytest.raises(R2TalkerError, match="more than 2 s would wait to be said"):
        listener.session.say(tone(1))
    listener.session.interrupt()
    listener.session.open_microphone()
    samples = tone(10)
    listener.session.push(samples)  # nobody plans meanwhile
    assert listener.session.microphone_waiting <= FRAME_SAMPLES + AHEAD + 0.5 * RATE
    assert listener.session.microphone_waiting + listener.session.unheard == len(samples)
    (first, *_) = listener.session.plan(listener.now)
    assert np.array_equal(first.sound, samples[first.heard : first.heard + FRAME_SAMPLES])


def test_sound_of_a_closed_microphone_is_not_heard() -> None:
    listener = Listener()
    listener.session.push(tone(1))
    assert (listener.session.unheard, listener.session.microphone_waiting) == (RATE, 0)


def test_pictures_are_late_by_what_the_listener_has_played() -> None:
    listener = Listener()
    planned = listener.pass_time(1)[-1]
    session, end = listener.session, (planned.number + 1) * FRAME_SAMPLES
    session.played(end - 2 * FRAME_SAMPLES, listener.now, buffered=0.08, wanted=0.08)
    assert not session.is_late(planned, listener.now)
    assert not session.is_late(planned, listener.now + 1.9 * FRAME_SECONDS)
    assert session.is_late(planned, listener.now + 2.1 * FRAME_SECONDS)
    # Sound that was dropped is not played on; pictures of what follows are not late by it.
    session.played(-1, listener.now, buffered=0, wanted=0.08)
    assert not session.is_late(planned, listener.now + 0.3)
    # Nobody has heard what was not made yet; such a report is not believed.
    session.played(1e9, listener.now, buffered=0.08, wanted=0.08)
    assert not session.is_late(planned, listener.now)


def test_without_reports_pictures_are_late_after_half_a_second() -> None:
    listener = Listener()
    planned = listener.pass_time(0.2)[-1]
    assert not listener.session.is_late(planned, listener.now + 0.3)
    assert listener.session.is_late(planned, listener.now + 0.6)


@pytest.mark.parametrize(("rate", "frames"), [(1.002, 1002.0), (0.998, 998.0)])
def test_the_pace_follows_the_listeners_clock(rate: float, frames: float) -> None:
    """A sound card that is fast or slow by 0.2 % keeps its buffer over 40 s, where 80 ms would be lost or gained else."""
    listener = Listener()
    for _ in range(400):
        listener.pass_time(0.1)
        position = max(0.0, (listener.now - 100.0) * rate * RATE - 0.08 * RATE)
        buffered = listener.session.number * FRAME_SECONDS - position / RATE
        listener.session.played(position, listener.now, buffered=buffered, wanted=0.1)
    assert listener.session.number == pytest.approx(frames, abs=1.5)


def test_a_pause_of_the_process_moves_the_timeline() -> None:
    listener = Listener()
    listener.pass_time(1)
    listener.now += 3
    planned = listener.pass_time(0.1)
    assert len(planned) <= 3
    assert listener.session.moved == pytest.approx(75, abs=1)


def test_wake_says_when_to_plan_again() -> None:
    listener = Listener()
    listener.session.plan(listener.now)
    assert listener.session.wake() == pytest.approx(listener.now + FRAME_SECONDS)
    assert listener.session.plan(listener.session.wake() - 1e-3) == []
    assert len(listener.session.plan(listener.session.wake() + 1e-6)) == 1
