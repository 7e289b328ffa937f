"""Public door of the conversion to yuv420p."""

from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from r2talker.ops.cuda.kernels import missing
from r2talker.ops.yuv420 import cuda, reference


@torch.no_grad()
def rgb_to_yuv420(
    rgb: UInt8[Tensor, "batch height width 3"], *, impl: Literal["auto", "reference", "cuda"] = "auto"
) -> UInt8[Tensor, "batch rows even_width"]:
    """Pictures as planar yuv420p in limited range (ITU-R BT.601; `reference.py` has the formula): half the bytes.

    Odd heights and widths are padded to even ones by repeating the last row or column. Returns [batch, 3/2 height, width] with
    these even sides: the bytes of Y [height, width], Cb [height/2, width/2] and Cr [height/2, width/2], one after the other.
    impl: `reference` (plain torch), `cuda` (one kernel, the same bytes); `auto` takes the kernel where it can run.
    Raises ValueError when `rgb` does not fit or has no pixels, or when `cuda` is asked for and cannot run.
    """
    if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3 or not rgb.shape[1] * rgb.shape[2]:
        raise ValueError(f"rgb_to_yuv420: rgb must be uint8 [batch, height, width, 3], got {rgb.dtype} {list(rgb.shape)}")
    if impl not in ("auto", "reference", "cuda"):
        raise ValueError(f"rgb_to_yuv420: impl must be 'auto', 'reference' or 'cuda', not {impl!r}")
    reason = missing(rgb.device)
    if impl == "cuda" and reason is not None:
        raise ValueError(f"rgb_to_yuv420: impl 'cuda' cannot run: {reason}; take 'reference'")
    return reference.convert(rgb) if impl == "reference" or reason is not None else cuda.convert(rgb)
