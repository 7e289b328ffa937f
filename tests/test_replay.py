"""What an avatar replays and how it is smoothed, through the avatar's own doors."""

import pytest
import torch

from r2talker.avatar import Avatar
from r2talker.data.dataset import Dataset
from r2talker.drive.config import Smoothing
from r2talker.drive.poses import mirrored_indices, smooth_poses
from r2talker.drive.smoothing import smooth_values
from r2talker.errors import R2TalkerError
from tests.tiny import TRAIN_FRAMES
from tests.tolerances import assert_close


def test_a_part_of_the_clip_is_replayed(avatar: Avatar) -> None:
    part = avatar.within(10, 30)
    plan = part.plan()
    assert torch.equal(plan.windows[:, 2], avatar.track.displacements[10:30])
    assert torch.equal(plan.eye, avatar.track.eye[10:30])
    assert torch.equal(plan.c2w, smooth_poses(avatar.track.c2w[10:30]))
    loudness = part.planner.track.loudness
    assert loudness is not None
    assert avatar.track.loudness is not None
    assert torch.equal(loudness, avatar.track.loudness[10:30])
    assert torch.equal(part.plan(poses=3).c2w[0], avatar.track.c2w[13])
    assert len(avatar.within(0, -1).plan().windows) == TRAIN_FRAMES
    with pytest.raises(R2TalkerError, match="chooses from 54 frames"):
        avatar.within(10, 60)


def test_a_part_of_the_clip_has_eyes_as_far_as_all_of_it_was_trained(avatar: Avatar) -> None:
    widest = int(avatar.track.eye.argmax())
    others = avatar.within(0, widest) if widest > TRAIN_FRAMES // 2 else avatar.within(widest + 1, -1)
    assert float(others.plan(eye=9.0, poses=0, frames=1).eye) == float(avatar.track.eye.max())


def test_a_part_of_the_clip_under_a_longer_drive(avatar: Avatar) -> None:
    drive = torch.zeros(50, 68, 3)
    plan = avatar.within(10, 30).plan(landmarks=drive, smoothing=Smoothing(smooth_path=1))
    assert torch.equal(plan.c2w, avatar.track.c2w[10 + mirrored_indices(50, 20)])
    assert torch.equal(plan.windows[:, 2], drive)


def test_given_eyes_are_replayed_and_smoothed(avatar: Avatar, audio_avatar: Avatar, data: Dataset) -> None:
    trained, mirrored = avatar.track.eye, mirrored_indices(20, 7)
    # Within what was trained, where they are held.
    eyes = torch.lerp(trained.min(), trained.max(), torch.linspace(0.05, 0.95, 7) ** 2)
    for driven, drive in (
        (avatar, {"landmarks": data.displacements[:20]}),
        (audio_avatar, {"features": data.audio["mel"][:20]}),
    ):
        assert torch.equal(driven.plan(**drive, eye=eyes.double()).eye, eyes[mirrored])
        smooth = driven.plan(**drive, eye=eyes, smoothing=Smoothing(smooth_eyes=3)).eye
        assert torch.equal(smooth, smooth_values(eyes, 3)[mirrored])
        for odd in (eyes[None], eyes[:0]):
            with pytest.raises(R2TalkerError, match=r"eye values of shape \[frames\]"):
                driven.plan(**drive, eye=odd)


@pytest.mark.parametrize("which", ["avatar", "audio_avatar"])
def test_lips_keep_a_share_of_the_encoded_condition(
    which: str, data: Dataset, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The share is kept where the references keep it: before what r2talker makes of its landmarks, across batches."""
    driven = request.getfixturevalue(which)
    drive = {"avatar": {"landmarks": data.displacements[:7]}, "audio_avatar": {"features": data.audio["mel"][:7]}}[which]
    plan, contract = driven.plan(**drive, smoothing=Smoothing(smooth_lips=0.35)), driven.model.head.contract
    with torch.no_grad():
        embedded = list(contract.embed(plan.windows))
        for frame in range(1, 7):
            embedded[frame] = 0.35 * embedded[frame - 1] + 0.65 * embedded[frame]
        expected = contract.code(torch.stack(embedded))
    monkeypatch.setattr("r2talker.avatar.BATCH", 3)
    made = torch.cat([codes for _, codes in driven._codes(plan)])
    assert_close(made, expected, "frames at once")
    raw = torch.cat([codes for _, codes in driven._codes(driven.plan(**drive))])
    assert_close(made[0], raw[0], "frames at once")
    assert (made[1:] - raw[1:]).abs().max() > 10 * (made[0] - raw[0]).abs().max()
    # Every rendering begins anew.
    again = torch.cat([codes for _, codes in driven._codes(plan)])
    assert torch.equal(again, made)


def test_landmarks_beyond_the_limit_are_held(avatar: Avatar, audio_avatar: Avatar, data: Dataset) -> None:
    far = data.displacements[:4] + 3
    held = avatar.plan(landmarks=far, smoothing=Smoothing(landmark_limit=2.3)).windows[:, 2]
    mean, std = (torch.tensor(getattr(data.info.statistics, f"landmark_{name}")) for name in ("mean", "std"))
    assert_close(held[0, :17], (mean + 2.3 * std)[:17], "normalised")
    with pytest.raises(R2TalkerError, match="radnerf is driven by audio features; only landmarks"):
        audio_avatar.plan(features=data.audio["mel"][:4], smoothing=Smoothing(landmark_limit=2.3))
