"""Head, brows, eyes and blinks beside a mouth that speaks."""

import math

import pytest
import torch

from r2talker.drive.config import Smoothing
from r2talker.drive.head_motion import SHORTEST_STRETCH, PoseBlender, SpeechMotion, rotation_matrix, rotation_vector
from r2talker.drive.life import Life, LifeStyle, Track
from r2talker.drive.motion import BROWS, EYELIDS
from r2talker.drive.poses import mirrored_indices, smooth_poses
from r2talker.drive.smoothing import smooth_values
from tests.tolerances import assert_close

FRAMES = 400
LID = torch.zeros(68, 3)
LID[EYELIDS, 1] = 2.0


@pytest.fixture(scope="module")
def track() -> Track:
    """A head that nods while it speaks (loud: frames 0-99, 200-299) and rests while it does not; two blinks; brows that rise."""
    time = torch.arange(FRAMES)
    loudness = torch.where(time // 100 % 2 == 0, 0.5, -0.5)
    nod = torch.where(loudness > 0, 0.1 * torch.sin(time / 3), 0.0)
    c2w = torch.eye(4).repeat(FRAMES, 1, 1)
    c2w[:, :3, :3] = torch.stack([rotation_matrix(torch.tensor([angle, 0.0, 0.0])) for angle in nod])
    c2w[:, 2, 3] = 3.35
    eye = torch.full((FRAMES,), 0.3)
    for blink in (30, 130):
        eye[blink - 1 : blink + 3] *= torch.tensor([0.5, 0.1, 0.3, 0.7])
    displacements = torch.zeros(FRAMES, 68, 3)
    displacements[:, BROWS, 1] = (time / FRAMES)[:, None]
    displacements[:, EYELIDS, 1] = 2.0 * (eye - 0.3)[:, None]
    return Track(c2w, eye, displacements, loudness)


def perform(track: Track, frames: int, style: LifeStyle, pieces: int = 1, loudness: torch.Tensor | None = None, **kwargs):
    life = Life(track, style, eye_slope=LID, **kwargs)
    loud = torch.zeros(frames) if loudness is None else loudness
    return [life.advance(torch.ones(len(part), 68, 3), part) for part in loud.tensor_split(pieces)]


def test_the_clip_is_replayed_to_and_fro(track: Track) -> None:
    (made,) = perform(track, 2 * FRAMES + 5, LifeStyle())
    there = torch.arange(FRAMES)
    assert torch.equal(made.source, torch.cat([there, there.flip(0), there[:5]]))
    assert torch.equal(made.c2w[:FRAMES], smooth_poses(track.c2w))
    assert torch.equal(made.eye[:FRAMES], track.eye)
    assert torch.equal(made.landmarks[:FRAMES, BROWS], track.displacements[:, BROWS])
    assert torch.equal(made.landmarks[:FRAMES, EYELIDS], track.displacements[:, EYELIDS])
    assert (made.landmarks[:, 48:] == 1).all()


@pytest.mark.parametrize("style", [LifeStyle(), LifeStyle("speech", "new"), LifeStyle("replay", "none")])
def test_pieces_make_the_same_life(track: Track, style: LifeStyle) -> None:
    assert track.loudness is not None
    loudness = track.loudness.roll(20).repeat(3)
    (whole,) = perform(track, 3 * FRAMES, style, loudness=loudness)
    parts = perform(track, 3 * FRAMES, style, pieces=37, loudness=loudness)
    for name in ("c2w", "eye", "landmarks", "source"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_without_blinks_the_eye_stays_open_and_lids_with_it(track: Track) -> None:
    (made,) = perform(track, FRAMES, LifeStyle(blinks="none"))
    assert_close(made.eye, torch.full((FRAMES,), 0.3), "bridged eye")
    assert_close(made.landmarks[:, EYELIDS], torch.zeros(FRAMES, 12, 3), "bridged eye")


def test_new_blinks_close_eye_and_lids_together(track: Track) -> None:
    (made,) = perform(track, 3000, LifeStyle(blinks="new", seed=1))
    assert made.eye.min() < 0.1
    assert made.eye.max() <= 0.3
    assert_close(made.landmarks[:, 37, 1], 2.0 * (made.eye - 0.3), "bridged eye")


def test_a_constant_eye_still_blinks(track: Track) -> None:
    (made,) = perform(track, 1000, LifeStyle(blinks="new"), eye=0.25)
    assert made.eye.max() == 0.25
    assert made.eye.min() < 0.1
    (still,) = perform(track, 1000, LifeStyle(), eye=0.25)
    assert (still.eye == 0.25).all()


@pytest.mark.parametrize("pieces", [1, 13])
def test_recorded_eyes_are_replayed_to_and_fro_and_lids_follow(track: Track, pieces: int) -> None:
    recorded = torch.linspace(0.2, 0.28, 30)
    parts = perform(track, 100, LifeStyle(), pieces=pieces, eye=recorded)
    eye = torch.cat([part.eye for part in parts])
    assert torch.equal(eye, recorded[mirrored_indices(100, 30)])
    # The clip's own eyes blink meanwhile; the lids do not, which are held within what they did in the clip.
    lids = torch.cat([part.landmarks for part in parts])[:, 37, 1]
    assert_close(lids, 2.0 * (eye - 0.3), "geometry")


def test_recorded_eyes_may_blink_anew_or_not_at_all(track: Track) -> None:
    recorded = track.eye[100:160]
    (without,) = perform(track, 60, LifeStyle(blinks="none"), eye=recorded)
    assert_close(without.eye, torch.full((60,), 0.3), "bridged eye")
    (anew,) = perform(track, 1000, LifeStyle(blinks="new"), eye=recorded)
    assert anew.eye.min() < 0.1


def test_path_and_eyes_are_smoothed_as_told(track: Track) -> None:
    (raw,) = perform(track, FRAMES, LifeStyle(), smoothing=Smoothing(smooth_path=1))
    assert torch.equal(raw.c2w, track.c2w)
    (made,) = perform(track, FRAMES, LifeStyle(), smoothing=Smoothing(smooth_path=5, smooth_eyes=3))
    assert torch.equal(made.c2w, smooth_poses(track.c2w, 5))
    assert torch.equal(made.eye, smooth_values(track.eye, 3))
    assert made.eye.min() > track.eye.min()


def test_the_head_nods_when_the_sound_is_loud(track: Track) -> None:
    loudness = torch.where(torch.arange(900) // 90 % 2 == 0, 0.5, -0.5)
    (made,) = perform(track, 900, LifeStyle("speech"), loudness=loudness)
    moving = made.c2w[:, :3, :3].diff(dim=0).norm(dim=(1, 2))
    # A second after a change is needed to hear it, and a stretch may have just begun.
    settled = torch.arange(899) % 90 > 55
    assert moving[settled & (loudness[1:] > 0)].mean() > 3 * moving[settled & (loudness[1:] < 0)].mean()


def test_stretches_are_not_cut_short_and_never_jump(track: Track) -> None:
    generator = torch.Generator().manual_seed(0)
    (made,) = perform(track, 2000, LifeStyle("speech"), loudness=torch.randn(2000, generator=generator) * 0.5)
    jumps = (made.source.diff() != 1).nonzero()[:, 0] + 1
    assert len(jumps) > 5
    assert jumps.diff().min() >= SHORTEST_STRETCH
    fastest = smooth_poses(track.c2w)[:, :3, :3].diff(dim=0).norm(dim=(1, 2)).max()
    assert made.c2w[:, :3, :3].diff(dim=0).norm(dim=(1, 2)).max() < 2.5 * fastest
    assert made.landmarks[:, BROWS, 1].diff(dim=0).abs().max() < 0.2


def test_it_does_not_dwell_on_one_place() -> None:
    track = torch.eye(4).repeat(300, 1, 1)
    motion = SpeechMotion(track, torch.zeros(300))
    shown = motion.advance(torch.zeros(900))
    assert len(shown.unique()) > 200


def test_speech_needs_the_clips_loudness(track: Track) -> None:
    silent = Track(track.c2w, track.eye, track.displacements)
    with pytest.raises(ValueError, match="loudness"):
        Life(silent, LifeStyle("speech"))
    with pytest.raises(ValueError, match="as many poses"):
        SpeechMotion(track.c2w, torch.zeros(3))


def test_nothing_is_made_of_nothing(track: Track) -> None:
    (made,) = perform(track, 0, LifeStyle())
    assert made.c2w.shape == (0, 4, 4)
    assert made.landmarks.shape == (0, 68, 3)


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, 3.0])
def test_rotations_and_vectors_undo_each_other(angle: float) -> None:
    vector = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64) * angle
    assert_close(rotation_vector(rotation_matrix(vector)), vector, "geometry")


def test_a_jump_fades() -> None:
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, :3, :3] = rotation_matrix(torch.tensor([0.0, math.pi / 8, 0.0]))
    c2w = torch.cat([c2w[:1].expand(50, 4, 4), c2w[1:].expand(50, 4, 4)])
    poses = PoseBlender(c2w, fade=20).advance(torch.tensor([0] * 3 + list(range(60, 90))))
    assert torch.equal(poses[:3], c2w[:3])
    assert_close(poses[23:], c2w[60:70], "geometry")
    turned = torch.stack([rotation_vector(pose[:3, :3].double())[1] for pose in poses])
    assert (turned.diff() >= -1e-6).all()
    assert turned.diff().max() < math.pi / 8 / 10
