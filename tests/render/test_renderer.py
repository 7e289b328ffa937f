"""Batches of pictures: those of `render_frame`, in buffers that take turns, brought to the host."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker.model.head import FrameCode
from r2talker.ops.yuv420.op import rgb_to_yuv420
from r2talker.render.config import RenderSettings
from r2talker.render.frame import render_frame
from r2talker.render.host import copy_to_host, lay_out, leaves_as_planes
from r2talker.render.renderer import Renderer
from tests.golden.models import NAMES, golden_camera, golden_frame, golden_model
from tests.tolerances import TOLERANCES

SETTINGS = RenderSettings()
CAMERA = golden_camera().resized(12, 20)


def plate() -> Tensor:
    return torch.randint(0, 256, (12, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def drive(name: str, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, eye values and poses of frames that all differ."""
    share = torch.linspace(0.5, 1, count)
    with torch.no_grad():
        codes = golden_frame(name).condition * share[:, None]
    poses = golden_camera().c2w.repeat(count, 1, 1)
    poses[:, 0, 3] += 0.1 * (1 - share)
    return codes, 0.3 * share, poses


def renderer(name: str, batch: int = 3) -> Renderer:
    return Renderer(golden_model(name), SETTINGS, CAMERA, plate(), batch=batch)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_frames(name: str) -> None:
    codes, eye, poses = drive(name, 3)
    drawn = renderer(name).draw(codes, eye, poses)
    assert drawn.dtype == torch.uint8
    model = golden_model(name)
    for index in range(3):
        frame = FrameCode(codes[index], eye[index], model.head.individual_codes[0])
        picture = render_frame(model, replace(CAMERA, c2w=poses[index]), frame, plate() / 255, SETTINGS)
        apart = (drawn[index].float() - picture.rgb * 255).abs().max()
        assert apart <= TOLERANCES["one 8-bit step"].atol
    assert not torch.equal(drawn[0], drawn[2])


def test_a_picture_lasts_until_the_next_but_one_draw() -> None:
    codes, eye, poses = drive("r2talker", 3)
    some = renderer("r2talker")
    first = some.draw(codes, eye, poses)
    kept = first.clone()
    second = some.draw(codes.flip(0), eye.flip(0), poses.flip(0))
    assert torch.equal(first, kept)
    assert torch.equal(second.flip(0), kept)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_batch_may_be_short(count: int) -> None:
    some, values = renderer("r2talker"), drive("r2talker", 3)
    whole = some.draw(*values).clone()
    assert torch.equal(some.draw(*(value[:count] for value in values)), whole[:count])


def test_what_does_not_fit_is_refused() -> None:
    codes, eye, poses = drive("r2talker", 4)
    with pytest.raises(ValueError, match="at most 3, got 4, 4 and 4"):
        renderer("r2talker").draw(codes, eye, poses)
    with pytest.raises(ValueError, match="got 1, 2 and 2"):
        renderer("r2talker").draw(codes[:2], eye[:1], poses[:2])
    with pytest.raises(ValueError, match=r"uint8 \[12, 20, 3\], got torch.uint8 \[20, 12, 3\]"):
        Renderer(golden_model("r2talker"), SETTINGS, CAMERA, plate().transpose(0, 1))
    with pytest.raises(ValueError, match=r"uint8 \[12, 20, 3\], got torch.float32"):
        Renderer(golden_model("r2talker"), SETTINGS, CAMERA, plate().float())
    with pytest.raises(ValueError, match="at least 1, got 0"):
        renderer("r2talker", batch=0)


def take_turns(count: int, device: str) -> Iterator[Tensor]:
    """Batches numbered 1, 2, 3 ..., drawn into two buffers in turn."""
    ring = [torch.zeros(2, 300, 300, 3, dtype=torch.uint8, device=device) for _ in range(2)]
    for number in range(1, count + 1):
        yield ring[number % 2].fill_(number)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_the_host_keeps_every_batch(device: str, count: int) -> None:
    kept = list(copy_to_host(take_turns(count, device)))
    assert [batch.shape for batch in kept] == [(2, 300, 300, 3)] * count
    assert [np.unique(batch).tolist() for batch in kept] == [[number] for number in range(1, count + 1)]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_encoder_gets_planes_from_a_gpu_and_pictures_from_a_cpu(device: str) -> None:
    kept = list(copy_to_host(lay_out(take_turns(9, device), torch.device(device))))
    drawn = [batch.cpu().clone() for batch in take_turns(9, device)]
    assert leaves_as_planes(torch.device(device)) == (device == "cuda")
    wanted = map(rgb_to_yuv420, drawn) if device == "cuda" else drawn
    assert all(np.array_equal(got, batch) for got, batch in zip(kept, wanted, strict=True))
