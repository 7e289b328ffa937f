"""Public door of LPIPS."""

from jaxtyping import Float
from torch import Tensor

from r2talker.ops.lpips.network import SMALLEST, Lpips


def lpips(
    network: Lpips, prediction: Float[Tensor, "batch height width 3"], truth: Float[Tensor, "batch height width 3"]
) -> Float[Tensor, " batch"]:
    """LPIPS 0.1 (AlexNet) of pictures with colours in [0, 1], which are brought to [-1, 1] first; 0 for equal ones.

    Differentiable. Raises ValueError for pictures of different shapes or with a side below SMALLEST pixels.
    """
    if prediction.shape != truth.shape or prediction.dim() != 4 or prediction.shape[-1] != 3:
        raise ValueError(f"expected two batches of [height, width, 3], got {list(prediction.shape)} and {list(truth.shape)}")
    if min(prediction.shape[1:3]) < SMALLEST:
        raise ValueError(f"LPIPS needs pictures of at least {SMALLEST} pixels, got {list(prediction.shape[1:3])}")
    return network(*(picture.permute(0, 3, 1, 2) * 2 - 1 for picture in (prediction, truth)))
