"""What the settings stand for that a user leaves open, and which ones are refused."""

import dataclasses

import pytest

from r2talker.errors import R2TalkerError
from r2talker.settings import parse_duration
from r2talker.train.config import TrainConfig
from r2talker.train.plan import CPU_PRESETS, GPU_PRESETS, settle


@pytest.mark.parametrize("gpu", [False, True])
def test_a_better_quality_is_more_work(gpu: bool) -> None:
    draft, standard, high = (settle(TrainConfig(quality=quality), 512, gpu=gpu) for quality in ("draft", "standard", "high"))
    assert draft.train_size < standard.train_size == high.train_size == 512
    assert draft.head_steps < standard.head_steps < high.head_steps
    assert draft.torso_steps < standard.torso_steps < high.torso_steps
    assert draft.rays <= standard.rays <= high.rays


@pytest.mark.parametrize("gpu", [False, True])
def test_eyes_are_recombined_where_steps_are_many(gpu: bool) -> None:
    assert settle(TrainConfig(), 512, gpu=gpu).recombine == gpu


def test_lids_have_rays_of_their_own_where_steps_are_few() -> None:
    assert settle(TrainConfig(), 512, gpu=False).lids
    assert not settle(TrainConfig(recombine=True), 512, gpu=False).lids
    assert not any(settle(TrainConfig(recombine=recombine), 512, gpu=True).lids for recombine in (None, False, True))


def test_pictures_are_not_blown_up() -> None:
    assert settle(TrainConfig(quality="draft"), 96, gpu=False).train_size == 96
    assert settle(TrainConfig(train_size=200, quality="draft"), 96, gpu=False).train_size == 200


@pytest.mark.parametrize("quality", ["draft", "standard", "high"])
@pytest.mark.parametrize("gpu", [False, True])
def test_what_the_user_says_holds(quality: str, gpu: bool) -> None:
    said = {
        "train_size": 77, "head_steps": 11, "lips_steps": 15, "torso_steps": 12, "rays": 13, "occupancy_cells": 14,
        "net_rate": 0.5, "table": 9, "camera_steps": 16, "recombine": not gpu,
    }  # fmt: skip
    assert settle(TrainConfig(quality=quality, lips_steps=0), 512, gpu=gpu).lips_steps == 0  # type: ignore[arg-type]
    assert dataclasses.asdict(settle(TrainConfig(quality=quality, **said), 512, gpu=gpu)) == {**said, "lids": False}  # type: ignore[arg-type]


def test_patches_fit_in_the_pictures() -> None:
    assert settle(TrainConfig(train_size=24), 512, gpu=False).lips_steps == 0
    with pytest.raises(R2TalkerError, match=r"--patch 32 is more than the side of the training pictures, 24.*--lips-steps 0"):
        settle(TrainConfig(train_size=24), 512, gpu=True)
    assert settle(TrainConfig(patch=24), 24, gpu=True).lips_steps > 0


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"warmup": -5}, "--warmup must be at least 0, got -5"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"seed": 2**31}, "--seed must be at most 2147483647, got 2147483648"),
        ({"table": 25}, "--table must be at most 24, got 25"),
        ({"checkpoint_seconds": -1.0}, "--checkpoint-seconds must be at least 0, got -1"),
        ({"preview_seconds": float("nan")}, "--preview-seconds must be at least 0, got nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, float], complaint: str) -> None:
    with pytest.raises(R2TalkerError, match=complaint):
        TrainConfig(**setting)  # type: ignore[arg-type]


def test_the_presets_are_those_of_the_help() -> None:
    import inspect

    text = inspect.getsource(TrainConfig)
    for presets in (CPU_PRESETS, GPU_PRESETS):
        for name in ("head_steps", "lips_steps", "torso_steps"):
            if not presets["high"].lips_steps and name == "lips_steps":
                continue
            first, second, third = (getattr(preset, name) for preset in presets.values())
            assert f"{first}, {second} or {third}" in text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h", 3600), ("2m30s", 150), ("1h2m3s", 3723), ("1.5m", 90), (" 5M ", 300), ("0.5h", 1800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("time", text) == seconds


@pytest.mark.parametrize("text", ["", " ", "5", "m", "5 minutes", "30s2m", "-5m", "1.2.3m", "nan", "5mm", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(R2TalkerError, match="--time must be a duration such as 90s, 5m, 2m30s or 1h, got"):
        TrainConfig(time=text)


def test_time_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(R2TalkerError, match="--time must be at least 5s, got 2s"):
        TrainConfig(time="2s")
    for steps in ({"head_steps": 100}, {"lips_steps": 100}, {"torso_steps": 100}):
        with pytest.raises(R2TalkerError, match=r"--time decides how many steps.*leave out"):
            TrainConfig(time="5m", **steps)  # type: ignore[arg-type]
    assert TrainConfig(time="5m", rays=100, quality="high").seconds == 300
    # No lips phase is something else than so many steps.
    assert TrainConfig(time="5m", lips_steps=0).seconds == 300
    assert TrainConfig().seconds is None
