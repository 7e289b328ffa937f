"""The conversion to yuv420p: the kernel against the reference, the reference against the formula and the writer's own conversion."""

import numpy as np
import pytest
import torch
from torch import Tensor

from r2talker.ops.yuv420 import reference
from r2talker.ops.yuv420.cuda import PARTS, convert_with, macros
from r2talker.ops.yuv420.op import rgb_to_yuv420
from tests.ops.cuda.backends import Backend
from tests.tolerances import assert_close

SIZES = [(2, 2), (1, 1), (6, 10), (5, 6), (6, 5), (7, 9), (4, 300), (3, 257)]


def noise(batch: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)


def split(planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Y, Cb and Cr of a batch, [batch, rows, columns] each."""
    height, width = planes.shape[1] // 3 * 2, planes.shape[2]
    luma, *chroma = planes.flatten(1).split([height * width, height * width // 4, height * width // 4], dim=1)
    return luma.unflatten(1, (height, width)), *(plane.unflatten(1, (height // 2, width // 2)) for plane in chroma)


def by_formula(rgb: Tensor) -> list[Tensor]:
    """Y, Cb, Cr in double precision, not rounded: the analogue signals of BT.601 in its 8-bit scales. Even sides only."""
    unit = rgb.double() / 255
    pooled = torch.nn.functional.avg_pool2d(unit.movedim(-1, 1), 2).movedim(1, -1)
    luma, pooled_luma = (colours @ torch.tensor([0.299, 0.587, 0.114]).double() for colours in (unit, pooled))
    return [
        16 + 219 * luma,
        128 + 224 * (pooled[..., 2] - pooled_luma) / 1.772,
        128 + 224 * (pooled[..., 0] - pooled_luma) / 1.402,
    ]


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_kernel_gives_the_references_bytes(backend: Backend, batch: int, height: int, width: int) -> None:
    rgb = noise(batch, height, width).to(backend.device)
    planes = convert_with(backend.load(PARTS, macros()), rgb)
    assert planes.shape == (batch, 3 * ((height + 1) // 2), 2 * ((width + 1) // 2))
    assert torch.equal(planes, reference.convert(rgb))


def test_the_kernel_reads_pictures_that_do_not_lie_in_order(backend: Backend) -> None:
    rgb = noise(2, 6, 8).to(backend.device).transpose(1, 2)
    planes = convert_with(backend.load(PARTS, macros()), rgb)
    assert torch.equal(planes, reference.convert(rgb.contiguous()))


def test_the_extremes_do_not_leave_their_bytes(backend: Backend) -> None:
    corners = torch.tensor([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], dtype=torch.uint8)
    rgb = corners[:, None, None].expand(-1, 2, 2, -1).to(backend.device)
    luma, *chroma = split(convert_with(backend.load(PARTS, macros()), rgb))
    assert (int(luma.min()), int(luma.max())) == (16, 235)
    assert [(int(plane.min()), int(plane.max())) for plane in chroma] == [(16, 240), (16, 240)]


@pytest.mark.parametrize(
    ("colour", "wanted"),
    [
        # The 100 % colour bars of ITU-R BT.601 in 8 bits.
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81, 90, 240)),
        ((0, 255, 0), (145, 54, 34)),
        ((0, 0, 255), (41, 240, 110)),
        ((255, 255, 0), (210, 16, 146)),
        ((0, 255, 255), (170, 166, 16)),
        ((255, 0, 255), (106, 202, 222)),
    ],
)
def test_colour_bars(colour: tuple[int, int, int], wanted: tuple[int, int, int]) -> None:
    planes = rgb_to_yuv420(torch.tensor(colour, dtype=torch.uint8).expand(1, 4, 6, 3))
    assert tuple(plane.unique().tolist() for plane in split(planes)) == tuple([value] for value in wanted)


def test_greys_have_no_colour() -> None:
    greys = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, 2, 2, 3)
    _, blue, red = split(rgb_to_yuv420(greys))
    assert bool((blue == 128).all())
    assert bool((red == 128).all())


def test_the_reference_is_the_rounded_formula() -> None:
    rgb = noise(2, 64, 48)
    for plane, exact in zip(split(rgb_to_yuv420(rgb, impl="reference")), by_formula(rgb), strict=True):
        assert_close(plane, exact, "formula of yuv")


@pytest.mark.parametrize(("height", "width"), [(64, 48), (33, 51), (34, 51), (33, 50)])
def test_the_writers_own_conversion_is_at_most_one_step_away(height: int, width: int) -> None:
    pytest.importorskip("av", reason="the writer needs PyAV")
    from r2talker.media.write import _to_planes

    for rgb in (noise(1, height, width)[0], torch.full((height, width, 3), 255, dtype=torch.uint8)):
        ours, theirs = rgb_to_yuv420(rgb[None])[0], _to_planes(rgb.numpy())
        assert_close(ours.int(), theirs.astype(np.int32), "one 8-bit step")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[batch, height, width, 3\], got torch.uint8 \[4, 4, 3\]"):
        rgb_to_yuv420(noise(1, 4, 4)[0])
    with pytest.raises(ValueError, match=r"got torch.float32"):
        rgb_to_yuv420(noise(1, 4, 4).float())
    with pytest.raises(ValueError, match=r"got torch.uint8 \[1, 0, 4, 3\]"):
        rgb_to_yuv420(noise(1, 4, 4)[:, :0])
    with pytest.raises(ValueError, match=r"impl must be 'auto', 'reference' or 'cuda', not 'fast'"):
        rgb_to_yuv420(noise(1, 4, 4), impl="fast")
    with pytest.raises(ValueError, match=r"impl 'cuda' cannot run.*not cpu"):
        rgb_to_yuv420(noise(1, 4, 4), impl="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("impl", ["auto", "cuda", "reference"])
def test_the_door_on_a_gpu(impl: str) -> None:
    rgb = noise(8, 65, 64)
    assert torch.equal(rgb_to_yuv420(rgb.cuda(), impl=impl).cpu(), rgb_to_yuv420(rgb))
