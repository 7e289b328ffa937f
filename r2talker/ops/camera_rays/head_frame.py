"""Between the head frame of `transforms_*.json` (x right in the picture, y up, z out of the face; metres) and NGP space."""

import torch
from jaxtyping import Float
from torch import Tensor

# NGP axis k is head axis _AXES[k]; camera columns right/up/backward become right/down/forward (upstream.md 2.2).
_AXES = (1, 2, 0)
_COLUMNS = (1.0, -1.0, -1.0)


def c2w_from_head(
    matrix: Float[Tensor, "*frames 4 4"], *, scale: float = 4.0, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Float[Tensor, "*frames 4 4"]:
    """Camera-to-world in NGP space from a head-frame one with columns right, up, backward (upstream.md 2.2)."""
    c2w = matrix.clone()
    c2w[..., :3, :3] = matrix[..., _AXES, :3] * matrix.new_tensor(_COLUMNS)
    c2w[..., :3, 3] = scale * matrix[..., _AXES, 3] + matrix.new_tensor(offset)
    return c2w


def head_from_c2w(
    c2w: Float[Tensor, "*frames 4 4"], *, scale: float = 4.0, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Float[Tensor, "*frames 4 4"]:
    """The inverse of `c2w_from_head`."""
    back = torch.tensor(_AXES).argsort().tolist()
    matrix = c2w.clone()
    matrix[..., :3, :3] = c2w[..., back, :3] * c2w.new_tensor(_COLUMNS)
    matrix[..., :3, 3] = ((c2w[..., :3, 3] - c2w.new_tensor(offset)) / scale)[..., back]
    return matrix
