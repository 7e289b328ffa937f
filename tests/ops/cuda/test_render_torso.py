"""Fused torso pictures against the plain composition."""

import copy
import dataclasses

import pytest
import torch

from r2talker.ops.camera_rays.op import background_coords, pose_vector
from r2talker.ops.render_head.cuda import view_words
from r2talker.ops.render_torso.cuda import PARTS, TorsoPainter, defines
from r2talker.ops.render_torso.follow import Follow
from r2talker.ops.render_torso.reference import blend
from r2talker.render.networks import torso_networks
from tests.golden.models import golden_camera, golden_model
from tests.ops.cuda.backends import Backend
from tests.tolerances import assert_close

HEIGHT, WIDTH = 40, 33


@pytest.mark.parametrize("follow", [None, Follow(4.0, 0.3, -0.2), Follow(4.0, 0.3, -0.2, (0.4, 0.1, -0.2, 0.9), (0.3, -0.5))])
def test_covered_pixels_are_blended_and_the_others_left(backend: Backend, follow: Follow | None) -> None:
    device = backend.device
    model = copy.deepcopy(golden_model("r2talker")).to(device)
    assert model.torso is not None
    net = dataclasses.replace(torso_networks(model.torso), follow=follow)
    individual = model.torso.individual_codes[0].detach().contiguous()
    generator = torch.Generator().manual_seed(0)
    plate = torch.rand(HEIGHT * WIDTH, 4, generator=generator).half().to(device)
    covered = torch.arange(70, HEIGHT * WIDTH, 3, device=device)
    kernels = backend.load(PARTS, defines(net))
    painter = TorsoPainter(net, covered, plate, HEIGHT, WIDTH, 2, kernels, backend.processors)
    c2w = golden_camera().c2w.to(device).expand(2, 4, 4).clone()
    c2w[1, :3, 3] += 0.05
    behind = torch.full((2, HEIGHT * WIDTH, 4), 7.0, dtype=torch.float16, device=device)
    painter.paint(view_words(c2w, golden_camera()), individual, behind)
    coords = background_coords(HEIGHT, WIDTH).to(device)[covered]
    for frame in range(2):
        with torch.no_grad():
            expected = blend(net, coords, pose_vector(c2w[frame]), individual, plate[covered, :3].float())
        assert_close(behind[frame, covered, :3].float(), expected, "half precision torso")
    rest = torch.ones(HEIGHT * WIDTH, dtype=torch.bool, device=device)
    rest[covered] = False
    assert bool((behind[:, rest] == 7).all())
    assert not torch.equal(behind[0], behind[1])


def test_no_covered_pixel_leaves_everything(backend: Backend) -> None:
    device = backend.device
    model = copy.deepcopy(golden_model("r2talker")).to(device)
    assert model.torso is not None
    net = torso_networks(model.torso)
    plate = torch.zeros(16, 4, dtype=torch.float16, device=device)
    covered = torch.empty(0, dtype=torch.long, device=device)
    painter = TorsoPainter(net, covered, plate, 4, 4, 1, backend.load(PARTS, defines(net)), backend.processors)
    behind = torch.full((1, 16, 4), 3.0, dtype=torch.float16, device=device)
    individual = model.torso.individual_codes[0].detach().contiguous()
    painter.paint(view_words(golden_camera().c2w[None].to(device), golden_camera()), individual, behind)
    assert bool((behind == 3).all())
