"""A head's networks for one frame: everything constant over the frame folded into matrices and biases, exact in real numbers."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.ops.render_head.networks import DIRECTION, HeadNetworks


@dataclass(frozen=True)
class FoldedHead:
    """hidden = relu(first x + first_bias), relu(second hidden + second_bias); answer = last [hidden, direction] + last_bias.

    The last entry of the answer is the density's exponent, the others are the colour network's hidden layer before its ReLU.
    No direction enters the exponent: the last row's direction columns are zero, and `compiled_layers` gives them no gradient.
    """

    first: Float[Tensor, "hidden inputs"]
    first_bias: Float[Tensor, " hidden"]
    second: Float[Tensor, "hidden hidden"]
    second_bias: Float[Tensor, " hidden"]
    last: Float[Tensor, "answer hidden_and_direction"]
    last_bias: Float[Tensor, " answer"]
    rgb: Float[Tensor, "3 hidden"]


def fits(net: HeadNetworks) -> bool:
    """Whether `compiled` can render these networks: no ambient coordinate, float32 on a CPU, hidden widths in multiples of 8."""
    plain = net.ambient is None and net.table.dtype == torch.float32 and net.table.device.type == "cpu"
    return plain and net.layout.compiles and len(net.second) % 8 == 0 and len(net.color) == len(net.second)


def fold_head(
    density: tuple[Tensor, Tensor, Tensor],
    color: tuple[Tensor, Tensor],
    individual: Float[Tensor, " width"],
    *,
    eye: Float[Tensor, ""] | None = None,
    film: Float[Tensor, "2 2 hidden"] | None = None,
) -> FoldedHead:
    """Fold the matrices of the density and the colour network (upstream.md 4.3, 4.4); differentiable in all of them.

    eye: its column, the last of the first matrix, becomes a bias. film: [layer, shift and scale]; the scale multiplies rows, the
    shift is a bias. individual: a bias. The geometry features meet no activation on their way from the density network into the
    colour network, so their two matrices are one.
    """
    first, second, third = density
    bias = torch.zeros_like(first[:, 0])
    if eye is not None:
        first, bias = first[:, :-1], first[:, -1] * eye.to(first)
    second_bias = torch.zeros_like(second[:, 0])
    if film is not None:
        (shift, scale), (second_bias, second_scale) = film[0], film[1]
        first, bias = first * (1 + scale)[:, None], bias * (1 + scale) + shift
        second = second * (1 + second_scale)[:, None]
    geometry = len(third) - 1
    directions, joint, code = color[0].split([DIRECTION, geometry, color[0].shape[1] - DIRECTION - geometry], dim=1)
    dense = torch.cat([joint @ third[1:], third[:1]])
    last = torch.cat([dense, torch.cat([directions, torch.zeros_like(directions[:1])])], dim=1)
    last_bias = torch.cat([code @ individual, torch.zeros_like(bias[:1])])
    return FoldedHead(first, bias, second, second_bias, last, last_bias, color[1])


def evaluate(
    head: FoldedHead,
    features: Float[Tensor, "samples inputs"],
    directions: Float[Tensor, "samples 16"],
    *,
    impl: Literal["auto", "plain", "compiled"] = "auto",
) -> tuple[Float[Tensor, " samples"], Float[Tensor, "samples 3"]]:
    """The density's exponent and the colour in [0, 1] of samples; directions: spherical harmonics of each.

    impl: `plain` torch, or `compiled` (machine code, float32 on a CPU without autocast); `auto` picks.
    Raises ValueError when `compiled` is asked for and cannot run.
    """
    if _compiles(head, features, impl):
        from r2talker.ops.render_head import compiled_layers

        return compiled_layers.evaluate(head, features, directions)
    hidden = _hidden(head, features)
    answer = torch.addmm(head.last_bias, torch.cat([hidden, directions], dim=1), head.last.T)
    # Under autocast these are halves, whose exponential would overflow.
    exponent, color = answer[:, -1].to(features.dtype), (torch.relu(answer[:, :-1]) @ head.rgb.T).to(features.dtype)
    return exponent, torch.sigmoid(color)


@torch.no_grad()
def exponents(
    head: FoldedHead, features: Float[Tensor, "samples inputs"], *, impl: Literal["auto", "plain", "compiled"] = "auto"
) -> Float[Tensor, " samples"]:
    """The density's exponent alone, without gradients; see `evaluate`."""
    if _compiles(head, features, impl):
        from r2talker.ops.render_head import compiled_layers

        return compiled_layers.exponents(head, features)
    hidden = _hidden(head, features)
    return hidden @ head.last[-1, : hidden.shape[1]] + head.last_bias[-1]


def _hidden(head: FoldedHead, features: Tensor) -> Tensor:
    hidden = torch.relu_(torch.addmm(head.first_bias, features, head.first.T))
    return torch.relu_(torch.addmm(head.second_bias, hidden, head.second.T))


def _compiles(head: FoldedHead, features: Tensor, impl: str) -> bool:
    single = features.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    runs = single and features.device.type == "cpu" and len(head.second) % 8 == 0
    if impl == "compiled" and not runs:
        raise ValueError(f"evaluate: impl 'compiled' needs float32 on a CPU, got {features.dtype} on {features.device}")
    return runs and impl != "plain"
