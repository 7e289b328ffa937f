"""Public door of the frequency encoding."""

from jaxtyping import Float
from torch import Tensor

from r2talker.ops.freq_encode import reference


def freq_encode(x: Float[Tensor, "points dim"], octaves: int) -> Float[Tensor, "points features"]:
    """x, its sines and cosines at 2^0 ... 2^(octaves - 1), no factor pi: dim * (1 + 2 octaves) columns (upstream.md 3.3).

    Raises ValueError unless `x` is [N, D] and octaves >= 0.
    """
    if x.ndim != 2 or octaves < 0:
        raise ValueError(f"freq_encode: x must be [points, dim] and octaves >= 0, got {list(x.shape)} and {octaves}")
    return reference.encode(x, octaves)
