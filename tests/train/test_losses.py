"""Losses of whole patches."""

import pytest
import torch
from torch import Tensor

from r2talker.ops.lpips.network import Lpips
from r2talker.train.losses import PatchLoss, edge_difference, patch_loss, squared_error, structural_similarity
from tests.tolerances import assert_close

SIDE = 16


@pytest.fixture
def patches() -> Tensor:
    """Five patches of smooth noise, [5, 3, SIDE, SIDE]."""
    coarse = torch.rand(5, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, SIDE, mode="bicubic", align_corners=True).clamp(0, 1)


def blurred(patches: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(patches, 5, stride=1, padding=2, count_include_pad=False)


def test_likeness_of_equal_patches_is_one(patches: Tensor) -> None:
    assert_close(structural_similarity(patches, patches), torch.ones(5), "single precision sums")
    assert_close(edge_difference(patches, patches), torch.zeros(5), "single precision sums")


def test_likeness_by_the_formula(patches: Tensor) -> None:
    """One window, computed as it stands in the paper."""
    a, b = patches[:1, :1, :7, :7].double(), blurred(patches)[:1, :1, :7, :7].double()
    va, vb, cov = a.var(correction=0), b.var(correction=0), ((a - a.mean()) * (b - b.mean())).mean()
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * a.mean() * b.mean() + c1) * (2 * cov + c2) / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (va + vb + c2))
    assert_close(structural_similarity(a, b), expected[None], "single precision sums")


def test_another_shade_changes_no_edge_but_blur_does(patches: Tensor) -> None:
    assert_close(edge_difference(patches, patches + 0.1), torch.zeros(5), "single precision sums")
    assert bool((edge_difference(patches, blurred(patches)) > 0.01).all())


def test_blur_costs_more_than_a_shade_of_the_same_squared_error(patches: Tensor) -> None:
    loss = PatchLoss(SIDE, structure=1e-2, edges=1e-1)
    truth, soft = (p.permute(0, 2, 3, 1).reshape(-1, 3) for p in (patches, blurred(patches)))
    shade = truth + squared_error(soft, truth).sqrt()
    assert_close(squared_error(shade, truth)[None], squared_error(soft, truth)[None], "single precision sums")
    assert patch_loss(soft, truth, loss) > 1.5 * patch_loss(shade, truth, loss)


def test_without_weights_a_patch_costs_its_squared_error(patches: Tensor) -> None:
    truth, soft = (p.permute(0, 2, 3, 1).reshape(-1, 3) for p in (patches, blurred(patches)))
    assert_close(
        patch_loss(soft, truth, PatchLoss(SIDE, 0, 0))[None], squared_error(soft, truth)[None], "single precision sums"
    )


def test_a_network_is_asked_too_and_colours_are_brought_to_its_range() -> None:
    torch.manual_seed(0)
    network = Lpips().requires_grad_(False)
    for weight in network.weights:
        weight.uniform_()
    truth, shown = torch.rand(2 * 32 * 32, 3), torch.rand(2 * 32 * 32, 3, requires_grad=True)
    plain, asked = PatchLoss(32, 1e-3, 1e-2), PatchLoss(32, 1e-3, 1e-2, perception=0.5, network=network)
    added = patch_loss(shown, truth, asked) - patch_loss(shown, truth, plain)
    pictures = [v.detach().reshape(2, 32, 32, 3).permute(0, 3, 1, 2) * 2 - 1 for v in (shown, truth)]
    assert_close(added[None], 0.5 * network(*pictures).mean()[None], "single precision sums")
    assert torch.autograd.grad(added, shown)[0].abs().amax() > 0
    assert all(parameter.grad is None for parameter in network.parameters())
