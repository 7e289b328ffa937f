"""Grid tables and their layouts as the kernels of `grid.cuh` read them."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from r2talker.ops.grid_encode.layout import GridLayout

LEVEL_WORDS = 8
LANE_LEVELS = 4
"""Levels of a group: one to each lane of a quad."""


def supports(layout: GridLayout) -> bool:
    """Whether the kernels can read this layout: 2D or 3D, tiled, levels that wrap a power of two in size, 2 or 4 channels."""
    sizes, strides = layout.sizes, layout.strides
    wraps = [sum(stride) * side >= size for stride, side, size in zip(strides, layout.resolutions, sizes, strict=True)]
    powers = all(not wrap or size & (size - 1) == 0 for wrap, size in zip(wraps, sizes, strict=True))
    hashed = any(layout.hashed(level) for level in range(layout.levels))
    return layout.input_dim in (2, 3) and layout.channels in (2, 4) and powers and not hashed and layout.levels <= 16


def group_count(layout: GridLayout) -> int:
    """Groups of four levels; two-channel groups come in pairs, which share a k-step of the matrix units."""
    groups = -(-layout.levels // LANE_LEVELS)
    return groups if layout.channels == 4 else groups + groups % 2


def deep_groups(layout: GridLayout) -> int:
    """Groups with a level whose index uses the third coordinate; they come first."""
    deep = sum(len(strides) == 3 for strides in layout.strides)
    return -(-deep // LANE_LEVELS)


def level_words(layout: GridLayout, device: torch.device) -> Int32[Tensor, "levels 8"]:
    """`Level` of every level: scale (bits of a float), strides of the second and third coordinate, mask, first row; padded to groups.

    A level that pads a group reads row 0, and its columns have no weights.
    """
    words = torch.zeros(group_count(layout) * LANE_LEVELS, LEVEL_WORDS, dtype=torch.int32)
    scales = torch.tensor(layout.scales, dtype=torch.float32).view(torch.int32)
    for level in range(layout.levels):
        strides = [*layout.strides[level], 0, 0][1:3]
        wraps = sum(layout.strides[level]) * layout.resolutions[level] >= layout.sizes[level]
        mask = layout.sizes[level] - 1 if wraps else -1
        words[level, :5] = torch.tensor([int(scales[level]), *strides, mask, layout.offsets[level]], dtype=torch.int32)
    return words.to(device)


def pack_rows(table: Float[Tensor, "rows channels"], layout: GridLayout, pack: int) -> Tensor:
    """Entries of `pack` rows each, as halves: [rows, pack * channels].

    1: the row; 2: rows i and i + 1; 4: rows i, i + 1, i + stride_y, i + stride_y + 1, all inside their level, wrapped where it wraps.
    """
    row = torch.arange(layout.rows, device=table.device)
    size, first, stride = (torch.zeros_like(row) for _ in range(3))
    for level in range(layout.levels):
        part = slice(layout.offsets[level], layout.offsets[level + 1])
        size[part], first[part] = layout.sizes[level], layout.offsets[level]
        stride[part] = [*layout.strides[level], 0][1]
    steps = {1: [row * 0], 2: [row * 0, row * 0 + 1], 4: [row * 0, row * 0 + 1, stride, stride + 1]}[pack]
    halves = table.half()
    return torch.cat([halves[first + (row - first + step) % size] for step in steps], dim=1).contiguous()
