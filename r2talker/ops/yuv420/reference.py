"""The conversion in plain torch, in whole numbers, so that kernels can repeat it bit for bit.

ITU-R BT.601 (section 2.5) in 8 bits, limited range, with R, G, B in 0 ... 255:

    Y  =  16 + 219/255 (0.299 R + 0.587 G + 0.114 B)
    Cb = 128 + 112/255 (B - L) / (1 - 0.114), Cr = 128 + 112/255 (R - L) / (1 - 0.299), L = 0.299 R + 0.587 G + 0.114 B

rounded to the nearest. Chroma is that of the mean of 2 x 2 pixels, which is not rounded before. The weights are these factors times
2^16, rounded so that those of chroma add up to zero: a grey has Cb = Cr = 128 exactly.
"""

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

BITS = 16
LUMA = (16829, 33039, 6416)
BLUE = (-9714, -19070, 28784)
RED = (28784, -24103, -4681)


def convert(rgb: UInt8[Tensor, "batch height width 3"]) -> UInt8[Tensor, "batch rows even_width"]:
    """See `r2talker.ops.yuv420.op.rgb_to_yuv420`."""
    _, height, width, _ = rgb.shape
    whole = rgb.int()
    if height % 2:
        whole = torch.cat([whole, whole[:, -1:]], dim=1)
    if width % 2:
        whole = torch.cat([whole, whole[:, :, -1:]], dim=2)
    sums = whole.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).sum(dim=(2, 4), dtype=torch.int32)
    planes = [_weigh(whole, LUMA, BITS, 16), _weigh(sums, BLUE, BITS + 2, 128), _weigh(sums, RED, BITS + 2, 128)]
    return torch.cat([plane.flatten(1) for plane in planes], dim=1).to(torch.uint8).unflatten(1, (-1, whole.shape[2]))


def _weigh(
    colours: Int[Tensor, "batch height width 3"], weights: tuple[int, int, int], bits: int, zero: int
) -> Int[Tensor, "batch height width"]:
    red, green, blue = colours.unbind(-1)
    return (red * weights[0] + green * weights[1] + blue * weights[2] + (zero << bits) + (1 << bits - 1)) >> bits
