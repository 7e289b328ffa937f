"""Scores of a landmark generator on a dataset folder."""

import dataclasses
import math

import pytest
import torch

from r2talker.data.dataset import Dataset
from r2talker.data.folder import DatasetFolder
from r2talker.drive.config import MotionConfig
from r2talker.drive.motion import MotionModel
from r2talker.evaluate import motion_report
from r2talker.evaluate.motion import VoiceScores
from r2talker.evaluate.motion_report import describe_clip, describe_voice, evaluate_clip, held_out_part, picture_curves
from r2talker.media.write import write_wav
from tests.talking import make_talk


@pytest.fixture(scope="module")
def talking(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The procedural dataset, stretched to 8 s of a person made of formulas, who is seen in the picture as in space."""
    talk, folder = make_talk(8), DatasetFolder(tmp_path_factory.mktemp("talking"))
    write_wav(folder.audio, talk.samples.numpy(), rate=16000)
    frames = len(talk.landmarks)
    info = dataclasses.replace(data.info, frames=frames, train_frames=150, landmark_scale=1.0)
    pixels = (data.rest + talk.landmarks)[..., :2] * 500
    c2w = data.c2w[:1].expand(frames, 4, 4)
    return dataclasses.replace(data, folder=folder, info=info, displacements=talk.landmarks, pixels=pixels, c2w=c2w)


def test_perfect_landmarks_score_perfectly(talking: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_report, "generate_landmarks", lambda *_: talking.displacements)
    clip = evaluate_clip(MotionModel(MotionConfig()).eval(), talking, talking.held_out)
    assert clip.frames == 50
    assert clip.scores.raw.mean == pytest.approx(1)
    assert clip.scores.mouth_pixels == 0
    # The chin moves along, by which the picture's curves are divided.
    assert clip.picture_raw.mean > 0.9
    assert clip.picture_fast.mean > 0.9
    text = describe_clip("talk", clip)
    for words in (
        "talk: 2.0 s held out",
        "opening  width  height  mean",
        "0.0 px at 512",
        "best lag +0 frames",
        "closed-lip recall 1.00",
    ):
        assert words in text


def test_picture_curves_do_not_see_the_distance(talking: Dataset) -> None:
    near, far = picture_curves(talking.pixels), picture_curves(talking.pixels / 3)
    assert torch.allclose(near.opening, far.opening)
    assert torch.allclose(near.width, far.width)


def test_the_held_out_part_is_the_end(talking: Dataset) -> None:
    assert held_out_part(talking, None) == range(150, 200)
    assert held_out_part(talking, 3.0) == range(125, 200)
    assert held_out_part(talking, 100.0) == range(200)


def test_a_voice_is_one_line() -> None:
    assert describe_voice("anna", VoiceScores(0.61, 0.08, 31)) == (
        "  anna: opening follows the syllables by 0.61; opening 0.08 of its range in 31 frames of pause"
    )
    assert "no pauses" in describe_voice("bert", VoiceScores(0.5, math.nan, 0))
