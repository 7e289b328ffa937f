"""Windows of neighbouring frames (upstream.md 4.1, attention mode 2)."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from r2talker.compatibility import WindowEdge


def gather_windows(
    sequence: Shaped[Tensor, "frames *shape"], length: int, *, edge: WindowEdge = "replicate"
) -> Shaped[Tensor, "frames window *shape"]:
    """Window of frame q: frames q - length // 2 ... q - length // 2 + length - 1.

    Frames outside the sequence repeat the first or last one (`replicate`), or are zero as the references have them (`zeros`).
    Raises ValueError for a length below 1.
    """
    if length < 1:
        raise ValueError(f"window length must be at least 1, got {length}")
    frames = sequence.shape[0]
    index = (
        torch.arange(frames, device=sequence.device)[:, None]
        - length // 2
        + torch.arange(length, device=sequence.device)[None, :]
    )
    windows = sequence[index.clamp(0, max(frames - 1, 0))]
    if edge == "zeros":
        inside = ((index >= 0) & (index < frames)).reshape(frames, length, *[1] * (sequence.dim() - 1))
        windows = torch.where(inside, windows, torch.zeros_like(windows))
    return windows
