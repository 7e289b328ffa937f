"""The conversion in one CUDA kernel."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from r2talker.ops.cuda.kernels import Kernels, load_kernels
from r2talker.ops.yuv420.reference import BITS, BLUE, LUMA, RED

PARTS = ("cuda/device.cuh", "yuv420/convert.cu")
BLOCK = 128


def macros() -> dict[str, int]:
    """Macros of `convert.cu`."""
    rows = {"LUMA": LUMA, "BLUE": BLUE, "RED": RED}
    return {"BITS": BITS, **{f"{name}_{place}": weight for name, row in rows.items() for place, weight in enumerate(row)}}


def convert(rgb: UInt8[Tensor, "batch height width 3"]) -> UInt8[Tensor, "batch rows even_width"]:
    """See `r2talker.ops.yuv420.op.rgb_to_yuv420`. R2TalkerError when kernels cannot run on the pictures' device."""
    return convert_with(load_kernels(PARTS, macros(), rgb.device), rgb)


def convert_with(kernels: Kernels, rgb: UInt8[Tensor, "batch height width 3"]) -> UInt8[Tensor, "batch rows even_width"]:
    """`convert` by given kernels; returns without waiting for the device."""
    batch, height, width, _ = rgb.shape
    high, wide = (height + 1) // 2, (width + 1) // 2
    planes = torch.empty(batch, 3 * high, 2 * wide, dtype=torch.uint8, device=rgb.device)
    if planes.numel():
        kernels.launch("rgb_to_yuv420", (-(-wide // BLOCK), high, batch), BLOCK, [rgb.contiguous(), height, width, planes])
    return planes
