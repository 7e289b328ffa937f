"""Bodies that are found where they were drawn, and what the neck tells of them."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from r2talker.data.dataset import Dataset, read_pictures
from r2talker.ops.camera_rays.op import background_coords
from r2talker.ops.render_torso.follow import Follow, beside_body
from r2talker.train.body import fit_follow, lay_together, track_body
from tests.tiny import Interrupting, Recorder

SIDE, FRAMES = 128, 40
NECK = Follow(scale=4.0, row=-0.3, column=0.1)
PIXEL = 2 / SIDE


def drawn() -> Tensor:
    """RGBA [4, SIDE, SIDE] in [0, 1]: shoulders with a spotted shirt, the neck's usual place in their middle."""
    generator = torch.Generator().manual_seed(0)
    row, column = background_coords(SIDE, SIDE).reshape(SIDE, SIDE, 2).unbind(-1)
    alpha = torch.sigmoid((row - NECK.row - 0.6 * (column - NECK.column).abs() - 0.05) * 60)
    spots = torch.rand(1, 1, 24, 24, generator=generator)
    shirt = grid_sample(spots, torch.stack([column, row], -1)[None], align_corners=True)[0, 0]
    return torch.stack([shirt, 0.8 * shirt, 0.5 + 0.3 * column, alpha])


def shown(stances: Tensor) -> Tensor:
    """Torso pictures as bytes [frames, SIDE, SIDE, 4]; as with clips, the picture's lower edge cuts the body off."""
    frames = []
    for stance in stances:
        at = beside_body(background_coords(SIDE, SIDE), stance, NECK).reshape(1, SIDE, SIDE, 2)
        frames.append(grid_sample(drawn()[None], at.flip(-1), align_corners=True, padding_mode="border")[0])
    return (torch.stack(frames).permute(0, 2, 3, 1) * 255).round().to(torch.uint8)


def wandering(scales: tuple[float, ...], seed: int) -> Tensor:
    """Smooth random values, a column for each scale (standard deviation)."""
    steps = np.random.default_rng(seed).normal(size=(FRAMES + 10, len(scales)))
    smooth = np.stack([np.convolve(column, np.ones(11) / 11**0.5, mode="valid") for column in steps.T], axis=1)
    return torch.from_numpy(smooth * scales).float()


def test_bodies_are_laid_on_one_another() -> None:
    neck, offsets = wandering((0.08, 0.08), 0), wandering((0.03, 0.03, 0.04), 1)
    stances = offsets + torch.cat([neck, torch.zeros(FRAMES, 1)], dim=1)
    found = lay_together(shown(stances), neck, torch.tensor([NECK.row, NECK.column]))
    assert found.median(0).values.abs().max() < 1e-6
    off = (found - found.mean(0)) - (offsets - offsets.mean(0))
    before = (offsets - offsets.mean(0)).pow(2).mean(0).sqrt()
    # A quarter of a pixel, and angles that move the shoulders by about as much.
    assert off[:, :2].pow(2).mean(0).sqrt().max() < 0.25 * PIXEL < 0.25 * before[:2].min()
    assert off[:, 2].pow(2).mean().sqrt() < 0.006 < 0.2 * before[2]


def test_pictures_without_a_body_stay_at_the_neck() -> None:
    nothing = torch.zeros(FRAMES, SIDE, SIDE, 4, dtype=torch.uint8)
    assert torch.equal(lay_together(nothing, wandering((0.05, 0.05), 0), torch.zeros(2)), torch.zeros(FRAMES, 3))


def test_a_plain_body_does_not_run_away() -> None:
    """Without marks only the outline says where it stands, and where it says nothing the neck does."""
    plain = shown(wandering((0.05, 0.05, 0.0), 2))
    plain[..., :3] = 90
    plain[..., 3] = torch.where(torch.arange(SIDE)[:, None] > SIDE // 2, 255, 0).to(torch.uint8)
    found = lay_together(plain, torch.zeros(FRAMES, 2), torch.zeros(2))
    assert found.abs().max() < 1e-4


def test_what_the_neck_tells_is_fitted() -> None:
    neck = wandering((0.08, 0.1), 3)
    gain, lean = torch.tensor([[0.4, 0.1], [-0.2, 0.9]]), torch.tensor([0.3, -0.5])
    offsets = torch.cat([neck @ gain.T - neck, (neck @ lean)[:, None]], dim=1) + torch.tensor([0.1, 0.0, 0.05])
    found = fit_follow(NECK, neck, offsets)
    assert found.gain == pytest.approx((0.4, 0.1, -0.2, 0.9), abs=5e-3)
    assert found.lean == pytest.approx((0.3, -0.5), abs=5e-3)
    still = fit_follow(NECK, 1e-4 * neck, wandering((0.02, 0.02, 0.02), 4))
    assert still.gain == pytest.approx((1.0, 0.0, 0.0, 1.0), abs=0.1)
    assert still.lean == pytest.approx((0.0, 0.0), abs=0.1)


def test_a_clips_bodies(data: Dataset) -> None:
    pictures = read_pictures(data, list(data.train))
    recorder = Recorder()
    body = track_body(data, pictures, recorder)
    assert recorder.begun == [("body", 100, 0)]
    assert recorder.ended == [
        f"goes along with {body.follow.gain[0]:.2f} of the neck's way down and {body.follow.gain[3]:.2f} across"
    ]
    with pytest.raises(KeyboardInterrupt):
        track_body(data, pictures, Interrupting("body", 100))
    assert body.stances.shape == (len(data.train), 3)
    assert bool(body.stances.isfinite().all())
    # The procedural person's body stands nearly still while its head moves.
    assert 0 <= body.reach < 0.2
    assert body.follow.scale == pytest.approx(2 * data.info.focal / data.info.size)
    again = track_body(data, pictures)
    assert torch.equal(again.stances, body.stances)
    assert again.follow == body.follow
