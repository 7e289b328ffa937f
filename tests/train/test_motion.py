"""The landmark generator learns a known relation between sound and mouth, closes it in silence and stays in its range."""

import dataclasses
import json
import time

import pytest
import torch

from r2talker.drive.config import MotionConfig
from r2talker.drive.driver import generate_landmarks
from r2talker.drive.motion import EYELIDS, MotionModel, advance_sound
from r2talker.drive.sound_lag import find_sound_lag
from r2talker.errors import R2TalkerError
from r2talker.evaluate.motion import evaluate_motion
from r2talker.train.motion import held_blocks, train_motion
from r2talker.train.motion_config import MotionTrainingConfig
from tests.talking import BASE, Talk, make_talk
from tests.tolerances import assert_close

SECONDS, TRAIN_SECONDS = 20, 15
QUICK = MotionTrainingConfig(steps=250, seconds=600, frames=128, variants=1, model=MotionConfig(hidden=64, members=2))


@pytest.fixture(scope="module")
def talk() -> Talk:
    return make_talk(SECONDS)


@pytest.fixture(scope="module")
def model(talk: Talk) -> MotionModel:
    return train_motion(talk.samples, talk.landmarks, TRAIN_SECONDS * 25, QUICK, eye=talk.eye)


def test_it_learns_the_relation_on_frames_it_has_not_seen(talk: Talk, model: MotionModel) -> None:
    scores = evaluate_motion(model, talk.samples, talk.landmarks, slice(TRAIN_SECONDS * 25, None), landmark_base=BASE)
    assert scores.raw.opening > 0.8
    assert scores.raw.width > 0.5
    assert scores.lag == 0
    assert scores.mouth_error < 0.7 * scores.still_error
    assert scores.closed_recall > 0.6


def test_it_has_not_seen_frames_after_the_training_part(talk: Talk) -> None:
    changed = talk.landmarks.clone()
    changed[TRAIN_SECONDS * 25 :] += 1.0
    few = dataclasses.replace(QUICK, steps=10)
    one, other = (train_motion(talk.samples, known, TRAIN_SECONDS * 25, few) for known in (talk.landmarks, changed))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_silence_closes_the_mouth(talk: Talk, model: MotionModel) -> None:
    shut = generate_landmarks(model, torch.zeros(32000))
    opening = shut[:, 62, 1] - shut[:, 66, 1]
    tracked = talk.landmarks[:, 62, 1] - talk.landmarks[:, 66, 1]
    assert (opening < torch.quantile(tracked, 0.3)).all()


def test_output_keeps_to_the_training_range_whatever_is_heard(talk: Talk, model: MotionModel) -> None:
    generator = torch.Generator().manual_seed(3)
    for sound in (torch.randn(16000, generator=generator), torch.ones(16000), 50 * talk.samples[:16000]):
        made = generate_landmarks(model, sound, eye=torch.full((25,), 9.0))
        assert torch.isfinite(made).all()
        assert (made >= model.landmark_min).all()
        assert (made <= model.landmark_max).all()


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 0), (320, 1), (16000, 25), (16100, 25)])
def test_frames_are_the_rounded_seconds(model: MotionModel, samples: int, frames: int) -> None:
    assert generate_landmarks(model, torch.zeros(samples)).shape == (frames, 68, 3)


def test_state_and_config_rebuild_the_model(talk: Talk, model: MotionModel) -> None:
    config = MotionConfig(**json.loads(json.dumps(dataclasses.asdict(model.config))))
    twin = MotionModel(config)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(generate_landmarks(twin, talk.samples), generate_landmarks(model, talk.samples))


def test_a_frame_waits_no_longer_than_the_look_ahead(talk: Talk, model: MotionModel) -> None:
    frame, sound = 40, talk.samples[: 4 * 16000]
    first = (frame + 1) * 640 + model.config.look_ahead_ms * 16
    later = sound.clone()
    later[first:] = 0.9
    made, changed = generate_landmarks(model, sound), generate_landmarks(model, later)
    assert torch.equal(made[: frame + 1], changed[: frame + 1])
    assert not torch.equal(made[frame + 1 :], changed[frame + 1 :])


def test_another_level_moves_the_mouth_alike(talk: Talk, model: MotionModel) -> None:
    made, quieter = (generate_landmarks(model, talk.samples * gain)[:, 66, 1] for gain in (1.0, 0.4))
    assert torch.corrcoef(torch.stack([made, quieter]))[0, 1] > 0.9


def test_eyelids_follow_the_eye_value_and_rest_without_one(talk: Talk, model: MotionModel) -> None:
    sound, frames = talk.samples, talk.landmarks.shape[0]
    still = generate_landmarks(model, sound)[:, EYELIDS]
    assert torch.equal(still, still[:1].expand(frames, -1, -1))
    lid = generate_landmarks(model, sound, eye=talk.eye)[:, 37, 1]
    assert torch.corrcoef(torch.stack([lid, talk.eye]))[0, 1] > 0.95


@pytest.mark.parametrize("late", [-2, 0, 2])
def test_the_lag_of_the_sound_is_found(talk: Talk, late: int) -> None:
    # The formulas put sound and lips in step, where real lips lead by 20 to 40 ms: a frame of difference is expected.
    assert abs(find_sound_lag(advance_sound(talk.samples, -late), talk.landmarks) - late) <= 1


def test_advancing_the_sound_moves_whole_frames() -> None:
    sound = torch.arange(1.0, 1301.0)
    assert advance_sound(sound, 1)[0] == 641
    assert advance_sound(sound, -1)[640] == 1
    assert advance_sound(sound, 1).shape == advance_sound(sound, -1).shape == sound.shape


def test_held_blocks_are_stretches_of_time_that_differ() -> None:
    held = held_blocks(400, 4)
    assert held[0, -1]
    assert (held.sum(1) == held.sum(1)[0]).all()
    assert held.sum(0).max() == 1
    assert (held.int().diff(dim=1).abs().sum(1) <= 2).all()


def test_training_stops_when_the_seconds_are_over(talk: Talk) -> None:
    config = dataclasses.replace(QUICK, steps=10**6, seconds=0.2, variants=0)
    began = time.monotonic()
    model = train_motion(talk.samples[:64000], talk.landmarks[:100], 100, config)
    assert time.monotonic() - began < 20  # a million steps take hours
    assert torch.isfinite(generate_landmarks(model, talk.samples[:16000])).all()


def test_a_mouth_that_never_moves_stays_still(talk: Talk) -> None:
    config = dataclasses.replace(QUICK, steps=5)
    model = train_motion(talk.samples[:64000], torch.zeros(100, 68, 3), 100, config)
    assert_close(generate_landmarks(model, talk.samples[:16000]), torch.zeros(25, 68, 3), "still mouth")


@pytest.mark.parametrize(
    ("samples", "frames", "train", "complaint"),
    [(16000, 25, 25, "2 s"), (16000, 100, 100, "ingest the clip again")],
)
def test_what_cannot_be_learned_is_refused(samples: int, frames: int, train: int, complaint: str) -> None:
    with pytest.raises(R2TalkerError, match=complaint):
        train_motion(torch.zeros(samples), torch.zeros(frames, 68, 3), train, QUICK)


def test_values_that_are_not_finite_are_refused(talk: Talk) -> None:
    landmarks = talk.landmarks.clone()
    landmarks[3] = float("nan")
    with pytest.raises(R2TalkerError, match="not finite"):
        train_motion(talk.samples, landmarks, 375, QUICK)
