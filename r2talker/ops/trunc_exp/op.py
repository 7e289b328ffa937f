"""Public door of the exponential with a bounded gradient."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

LIMIT = 15.0


def trunc_exp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """exp(x), whose gradient is exp(clamp(x, -15, 15)) so that one extreme density cannot blow up a step (upstream.md 3.4)."""
    result: Tensor = _TruncExp.apply(x)
    return result


class _TruncExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x.clamp(-LIMIT, LIMIT).exp()
