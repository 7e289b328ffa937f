"""Hearing layers learned from several people, and a new person who starts from them."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from r2talker.drive.config import MotionConfig
from r2talker.errors import R2TalkerError
from r2talker.train.motion import train_motion
from r2talker.train.motion_config import MotionTrainingConfig
from r2talker.train.motion_pretrain import PersonClip, pretrain_motion
from r2talker.train.motion_start import MotionStart, read_start, start_settings, write_start
from tests.talking import Talk, make_talk

QUICK = MotionTrainingConfig(steps=200, seconds=600, frames=64, variants=0, model=MotionConfig(hidden=32, members=2))


@pytest.fixture(scope="module")
def people() -> list[Talk]:
    return [make_talk(8, seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def start(people: list[Talk]) -> MotionStart:
    return pretrain_motion([PersonClip(talk.samples, talk.landmarks) for talk in people], QUICK)


@pytest.fixture(scope="module")
def file(start: MotionStart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "motion.safetensors"
    write_start(path, start)
    return path


def opening_error(talk: Talk, config: MotionTrainingConfig) -> float:
    """Mean squared error of the opening on the end of the clip, relative to its variance, of a model hardly trained."""
    from r2talker.drive.driver import generate_landmarks

    model = train_motion(talk.samples, talk.landmarks, 100, config)
    made = generate_landmarks(model, talk.samples)
    a, b = (values[100:, 62, 1] - values[100:, 66, 1] for values in (made, talk.landmarks))
    return float((a - b).square().mean() / b.var())


def test_a_file_brings_back_what_was_learned(start: MotionStart, file: Path) -> None:
    again = read_start(file)
    assert again.config == start.config == QUICK.model
    assert again.people == 2
    assert again.hearing.keys() == start.hearing.keys() == {"first.weight", "first.bias", "second.weight", "second.bias"}
    assert all(torch.equal(again.hearing[key], start.hearing[key]) for key in start.hearing)


def test_learning_from_people_is_repeatable_and_sees_all_of_them(start: MotionStart, people: list[Talk]) -> None:
    clips = [PersonClip(talk.samples, talk.landmarks) for talk in people]
    few = dataclasses.replace(QUICK, steps=3)
    one, same, other = (pretrain_motion(some, few).hearing for some in (clips, clips, [clips[0], clips[0]]))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["first.weight"], other["first.weight"])


def test_a_new_person_learns_faster_from_it(file: Path) -> None:
    talk = make_talk(8, seed=4)
    settings = start_settings(file)
    assert settings is not None
    brief = dataclasses.replace(QUICK, steps=15)
    fresh, started = (opening_error(talk, dataclasses.replace(brief, start=path, start_share=0.3)) for path in ("", str(file)))
    assert started < 0.8 * fresh


def test_layers_that_are_held_stay(file: Path, start: MotionStart) -> None:
    talk = make_talk(4, seed=4)
    held = dataclasses.replace(QUICK, steps=5, weight_decay=0.0, start=str(file), start_share=0.0)
    model = train_motion(talk.samples, talk.landmarks, 100, held)
    assert torch.equal(model.first.weight, start.hearing["first.weight"])


def test_files_of_another_kind_are_refused(file: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"abc")
    for name, words in (("other", "does not come from"), ("broken", "is broken"), ("absent", "does not exist; make it with")):
        with pytest.raises(R2TalkerError, match=words):
            start_settings(tmp_path / f"{name}.safetensors")
    talk = make_talk(4, seed=4)
    wide = dataclasses.replace(QUICK, start=str(file), model=MotionConfig(hidden=48, members=2))
    with pytest.raises(R2TalkerError, match="layers of other sizes"):
        train_motion(talk.samples, talk.landmarks, 100, wide)
    assert start_settings(None) is None


def test_no_clip_and_a_short_clip_teach_nothing() -> None:
    with pytest.raises(R2TalkerError, match="at least one clip"):
        pretrain_motion([], QUICK)
    with pytest.raises(R2TalkerError, match="2 s"):
        pretrain_motion([PersonClip(torch.zeros(16000), torch.zeros(25, 68, 3))], QUICK)
