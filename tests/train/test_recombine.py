"""Eyes of one frame with the driving values of another."""

import torch

from r2talker.train.config import SamplingConfig
from r2talker.train.recombine import classes_of_openings, driven_by_others, frame_for_eyes, role_of, sampling_of

CPU = torch.device("cpu")


def test_one_frame_in_eight_is_there_for_its_eyes() -> None:
    assert [role_of(number, True) for number in range(16)].count("eyes") == 2
    assert all(role_of(number, False) == "face" for number in range(16))


def test_only_eyes_are_driven_by_other_frames() -> None:
    assert driven_by_others(["face", "eyes", "face"], CPU).tolist() == [False, True, False]


def test_all_rays_of_such_a_frame_look_at_its_eyes() -> None:
    usual = SamplingConfig(anywhere=0.1, lips=0.2, eyes=0.3)
    assert sampling_of("face", usual) == usual
    assert sampling_of("eyes", usual) == SamplingConfig(anywhere=0, lips=0, eyes=1)


def test_every_opening_comes_as_often_and_every_frame_of_it() -> None:
    eye = torch.tensor([1.0, 1.1, 0.0, 0.95, 1.0, 0.5, 1.2, 1.0, 0.05])
    classes = classes_of_openings(eye, [k for k in range(9) if k != 3])
    assert classes == [[2, 8], [5], [0, 1, 4, 6, 7]]
    chosen = [frame_for_eyes(classes, 0, occasion) for occasion in range(30)]
    assert [sum(frame in members for frame in chosen) for members in classes] == [10, 10, 10]
    assert [chosen.count(frame) for frame in (0, 1, 4, 6, 7, 2, 8)] == [2] * 5 + [5] * 2
    assert chosen != [frame_for_eyes(classes, 1, occasion) for occasion in range(30)]


def test_eyes_that_never_close_are_one_class() -> None:
    assert classes_of_openings(torch.ones(4), range(4)) == [[0, 1, 2, 3]]
