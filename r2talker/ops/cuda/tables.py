"""Grid tables and their layouts as the kernels of `grid.cuh` read them."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from r2talker.ops.grid_encode.layout import GridLayout

LEVEL_WORDS = 8
LANE_LEVELS = 4
"""Levels of a group: one to each lane of a quad."""


def supports(layout: GridLayout) -> bool:
    """Whether the kernels can read this layout: 3D, or 2D and tiled, levels that wrap a power of two in size, 2 or 4 channels."""
    powers = all(layout.sizes[level] & (layout.sizes[level] - 1) == 0 for level in range(layout.levels) if wraps(layout, level))
    dims = layout.input_dim == 3 or (layout.input_dim == 2 and not hashes(layout))
    return dims and layout.channels in (2, 4) and powers and layout.levels <= 16


def hashes(layout: GridLayout) -> bool:
    """Whether rows of any level are found by hashing."""
    return any(layout.hashed(level) for level in range(layout.levels))


def wraps(layout: GridLayout, level: int) -> bool:
    """Whether row numbers of a level leave it before they are masked."""
    return layout.hashed(level) or sum(layout.strides[level]) * layout.resolutions[level] >= layout.sizes[level]


def group_count(layout: GridLayout) -> int:
    """Groups of four levels; two-channel groups come in pairs, which share a k-step of the matrix units."""
    groups = -(-layout.levels // LANE_LEVELS)
    return groups if layout.channels == 4 else groups + groups % 2


def deep_groups(layout: GridLayout) -> int:
    """Groups with a level whose index uses the third coordinate; they come first."""
    deep = sum(len(layout.strides[level]) == 3 or layout.hashed(level) for level in range(layout.levels))
    return -(-deep // LANE_LEVELS)


def level_words(layout: GridLayout, device: torch.device) -> Int32[Tensor, "levels 8"]:
    """`Level` of every level: scale (bits of a float), strides of the second and third coordinate, mask, first row, whether it is
    hashed; padded to groups.

    A level that pads a group reads row 0, and its columns have no weights.
    """
    words = torch.zeros(group_count(layout) * LANE_LEVELS, LEVEL_WORDS, dtype=torch.int32)
    scales = torch.tensor(layout.scales, dtype=torch.float32).view(torch.int32)
    for level in range(layout.levels):
        strides = [*layout.strides[level], 0, 0][1:3]
        mask = layout.sizes[level] - 1 if wraps(layout, level) else -1
        row = [int(scales[level]), *strides, mask, layout.offsets[level], int(layout.hashed(level))]
        words[level, : len(row)] = torch.tensor(row, dtype=torch.int32)
    return words.to(device)


def pack_rows(table: Float[Tensor, "rows channels"], layout: GridLayout, pack: int) -> Tensor:
    """Entries of `pack` rows each, as halves: [rows, pack * channels].

    1: the row; 2: rows i and i + 1; 4: rows i, i + 1, i + stride_y, i + stride_y + 1, all inside their level, wrapped where it wraps.
    Layouts that hash have neighbours elsewhere: 1 only.
    """
    if pack != 1 and hashes(layout):
        raise ValueError(f"pack_rows: a grid that hashes takes single rows, not {pack} to an entry")
    row = torch.arange(layout.rows, device=table.device)
    size, first, stride = (torch.zeros_like(row) for _ in range(3))
    for level in range(layout.levels):
        part = slice(layout.offsets[level], layout.offsets[level + 1])
        size[part], first[part] = layout.sizes[level], layout.offsets[level]
        stride[part] = [*layout.strides[level], 0][1]
    steps = {1: [row * 0], 2: [row * 0, row * 0 + 1], 4: [row * 0, row * 0 + 1, stride, stride + 1]}[pack]
    halves = table.half()
    return torch.cat([halves[first + (row - first + step) % size] for step in steps], dim=1).contiguous()
