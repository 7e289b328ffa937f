"""Values that follow time, made smoother as the references do it (upstream.md 2.6)."""

import torch
from jaxtyping import Float
from torch import Tensor


def smooth_values(values: Float[Tensor, " frames"], window: int) -> Float[Tensor, " frames"]:
    """Mean over `window` frames centred on each, always of the values as given, fewer at the ends; a window of 1 changes nothing."""
    reach = window // 2
    if reach == 0 or len(values) == 0:
        return values
    total = torch.nn.functional.pad(values.to(torch.float64).cumsum(0), (1, 0))
    frame = torch.arange(len(values), device=values.device)
    low, high = (frame - reach).clamp_min(0), (frame + reach + 1).clamp_max(len(values))
    return ((total[high] - total[low]) / (high - low)).to(values.dtype)


class Memory:
    """Each frame keeps a share of what the one before it became; the first is as given. One for each sequence."""

    def __init__(self, share: float) -> None:
        """share: of the previous frame, 0 to below 1; 0 changes nothing."""
        self._share = share
        self._last: Tensor | None = None

    def advance(self, values: Float[Tensor, "frames width"]) -> Float[Tensor, "frames width"]:
        """The next frames, any number of them."""
        if self._share == 0 or len(values) == 0:
            return values
        kept = []
        for value in values:
            self._last = value if self._last is None else self._share * self._last + (1 - self._share) * value
            kept.append(self._last)
        return torch.stack(kept)
