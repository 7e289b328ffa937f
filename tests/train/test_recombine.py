"""Eyes of one frame with the driving values of another."""

import torch

from r2talker.train.config import SamplingConfig
from r2talker.train.recombine import driven_by_others, role_of, sampling_of

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
