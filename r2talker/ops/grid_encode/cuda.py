"""Grid encoding in CUDA kernels, single precision."""

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float32, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable

from r2talker.ops.cuda.kernels import Kernels, load_kernels, missing
from r2talker.ops.cuda.tables import wraps
from r2talker.ops.grid_encode.layout import GridLayout

PARTS = ("cuda/device.cuh", "grid_encode/encode.cu")
BLOCK = 128


def supports(layout: GridLayout, device: torch.device) -> bool:
    """Whether the kernels can run: 2D or 3D, levels that wrap a power of two in size, on a CUDA device with NVRTC."""
    return layout.input_dim in (2, 3) and bool(_wrap_powers(layout)) and missing(device) is None


def encode(
    x: Float32[Tensor, "points dim"], table: Float32[Tensor, "rows channels"], layout: GridLayout, bound: float
) -> Float32[Tensor, "points features"]:
    """Encode `x`; see `r2talker.ops.grid_encode.op.grid_encode`."""
    macros = {"DIM": layout.input_dim, "CHANNELS": layout.channels, "LEVELS": layout.levels}
    return encode_with(load_kernels(PARTS, macros, x.device), x, table, layout, bound)


def encode_with(kernels: Kernels, x: Tensor, table: Tensor, layout: GridLayout, bound: float) -> Tensor:
    """`encode` by given kernels."""
    encoded: Tensor = _Encode.apply(x, table, layout, bound, kernels)
    return encoded


def _wrap_powers(layout: GridLayout) -> bool:
    sizes = [layout.sizes[k] for k in range(layout.levels) if wraps(layout, k)]
    return all(size & (size - 1) == 0 for size in sizes)


@lru_cache(maxsize=32)
def _level_words(layout: GridLayout, device: torch.device) -> Int32[Tensor, "levels 8"]:
    """`EncodeLevel` of every level."""
    scales = torch.tensor(layout.scales, dtype=torch.float32).view(torch.int32)
    rows = []
    for level in range(layout.levels):
        strides = [*layout.strides[level], 0, 0][:3]
        mask = layout.sizes[level] - 1 if wraps(layout, level) else -1
        rows.append([int(scales[level]), *strides, mask, layout.offsets[level], int(layout.hashed(level)), 0])
    return torch.tensor(rows, dtype=torch.int32, device=device)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, layout: GridLayout, bound: float, kernels: Kernels) -> Tensor:
        x, table = x.contiguous(), table.contiguous()
        out = torch.empty(len(x), layout.features, device=x.device)
        levels = _level_words(layout, x.device)
        if len(x):
            blocks = -(-len(x) * layout.levels // BLOCK)
            kernels.launch("encode", blocks, BLOCK, [x, table, levels, len(x), float(bound), out])
        ctx.save_for_backward(x, table, levels)
        ctx.layout, ctx.bound, ctx.kernels = layout, bound, kernels
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, table, levels = ctx.saved_tensors
        of_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        of_table = torch.zeros_like(table) if ctx.needs_input_grad[1] else None
        if len(x) and (of_x is not None or of_table is not None):
            blocks = -(-len(x) * ctx.layout.levels // BLOCK)
            args = [x, table, levels, len(x), float(ctx.bound), grad.contiguous(), of_table, of_x]
            ctx.kernels.launch("encode_backward", blocks, BLOCK, args)
        return of_x, of_table, None, None, None
