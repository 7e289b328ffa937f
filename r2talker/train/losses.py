"""Losses of the phases (upstream.md 6.2), and of patches, which see whether edges and texture are there and not only their colour."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from r2talker.ops.lpips.network import Lpips
from r2talker.ops.lpips.op import lpips

EPSILON = 1e-5
WINDOW, C1, C2 = 7, 0.01**2, 0.03**2
SCALES = (1, 2, 4)


@dataclass(frozen=True)
class PatchLoss:
    """What is asked of square patches of `side` pixels beside the squared error.

    structure: weight of 1 - SSIM. edges: weight of the difference of the gradients. perception: weight of LPIPS, by a network that the
    user has.
    """

    side: int
    structure: float
    edges: float
    perception: float = 0.0
    network: Lpips | None = None


def squared_error(prediction: Float[Tensor, "rays 3"], truth: Float[Tensor, "rays 3"]) -> Float[Tensor, ""]:
    """Mean over rays and channels of the squared difference."""
    return torch.mean((prediction - truth) ** 2)


def binary_entropy(opacity: Float[Tensor, " rays"]) -> Float[Tensor, ""]:
    """Mean entropy in bits of opacities, which pushes them to 0 or 1; clamped to [1e-5, 1 - 1e-5]."""
    a = opacity.clamp(EPSILON, 1 - EPSILON)
    return torch.mean(-a * torch.log2(a) - (1 - a) * torch.log2(1 - a))


def structural_similarity(
    prediction: Float[Tensor, "patches channels height width"], truth: Float[Tensor, "patches channels height width"]
) -> Float[Tensor, " patches"]:
    """Mean SSIM over windows of 7 x 7 pixels with equal weights, colours in [0, 1] (Wang et al. 2004, equation 13)."""

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(values, WINDOW, stride=1)

    a, b = mean(prediction), mean(truth)
    aa, bb, ab = (mean(v) - m for v, m in ((prediction**2, a * a), (truth**2, b * b), (prediction * truth, a * b)))
    likeness = (2 * a * b + C1) * (2 * ab + C2) / ((a * a + b * b + C1) * (aa + bb + C2))
    return likeness.mean(dim=(1, 2, 3))


def edge_difference(
    prediction: Float[Tensor, "patches channels height width"], truth: Float[Tensor, "patches channels height width"]
) -> Float[Tensor, " patches"]:
    """Mean absolute difference of the differences between neighbouring pixels, at full, half and quarter size, averaged."""
    total = prediction.new_zeros(len(prediction))
    for scale in SCALES:
        error = avg_pool2d(prediction - truth, scale)
        total = total + error.diff(dim=-1).abs().mean(dim=(1, 2, 3)) + error.diff(dim=-2).abs().mean(dim=(1, 2, 3))
    return total / (2 * len(SCALES))


def patch_loss(prediction: Float[Tensor, "rays 3"], truth: Float[Tensor, "rays 3"], loss: PatchLoss) -> Float[Tensor, ""]:
    """Mean over rays, which fill one patch after the other row by row, of squared error and of what `loss` adds."""
    a, b = (v.reshape(-1, loss.side, loss.side, 3).permute(0, 3, 1, 2) for v in (prediction, truth))
    structure = 1 - structural_similarity(a, b).mean()
    total = squared_error(prediction, truth) + loss.structure * structure + loss.edges * edge_difference(a, b).mean()
    if loss.network is None:
        return total
    seen = lpips(loss.network, *(v.permute(0, 2, 3, 1) for v in (a, b)))
    return total + loss.perception * seen.mean()
