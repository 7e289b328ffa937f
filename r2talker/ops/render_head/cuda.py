"""The fused pass on CUDA: buffers and launches of `render.cu`."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, Int32, UInt8
from torch import Tensor

from r2talker.ops.cuda.kernels import Defines, Kernels, load_kernels
from r2talker.ops.cuda.tables import deep_groups, group_count, hashes, level_words, pack_rows, supports
from r2talker.ops.occupancy.op import morton_decode, unpack_bits
from r2talker.ops.render_head.networks import HeadNetworks
from r2talker.ops.render_head.reference import Marching
from r2talker.types import Camera

PARTS = (
    "cuda/device.cuh", "cuda/mlp.cuh", "cuda/grid.cuh", "cuda/rays.cuh", "cuda/head_weights.cuh", "cuda/head_eval.cuh",
    "render_head/render.cu",
)  # fmt: skip
PACK = {4: 2, 2: 4}
"""Table rows per entry by the grid's channels: what was fastest (docs/performance.md)."""
BLOCKS = 3
"""Blocks of four warps per multiprocessor: what 168 registers a thread leave room for."""
WARPS = 4
GRID_SIDE = 128
WIDEST_ROUND = 8
MARGIN = 1e-4


def fits(net: HeadNetworks) -> bool:
    """Whether the kernels can evaluate these networks."""
    layouts = [net.layout] if net.ambient is None else [net.layout, net.ambient.layout]
    widths = net.first.shape[0] == 64 and net.third.shape[0] == 65 and net.color.shape[0] == 64
    narrow = net.ambient is None or net.ambient.layout.channels == 2
    return widths and narrow and all(supports(layout) for layout in layouts)


def defines(net: HeadNetworks, pack: int) -> dict[str, int]:
    """Macros of `head_weights.cuh` and of the table entries."""
    ambient = net.ambient
    return {
        "POS_LEVELS": net.layout.levels,
        "POS_CHANNELS": net.layout.channels,
        "POS_GROUPS": group_count(net.layout),
        "POS_DEEP": deep_groups(net.layout),
        "POS_HASHED": int(hashes(net.layout)),
        "AMB_LEVELS": 0 if ambient is None else ambient.layout.levels,
        "AMB_GROUPS": 0 if ambient is None else group_count(ambient.layout),
        "EYE": int(net.eye),
        "FILM": int(net.film),
        "CODE": net.code_width,
        "INDIVIDUAL": net.individual_width,
        "PACK": pack,
        **{f"POS_AXIS_{place}": axis for place, axis in enumerate(net.layout.axis_order)},
    }


def weights_bytes(macros: Defines) -> int:
    """Size of `HeadWeights`."""
    steps = int(macros["POS_GROUPS"]) * int(macros["POS_CHANNELS"]) // 4
    ambient_steps = int(macros["AMB_GROUPS"]) // 2
    wide, narrow, bias = 128 * 16, 4 * 32 * 8, 64 * 4
    size = (steps + ambient_steps + 4 + 4 + 1) * wide + 2 * narrow + 3 * bias
    return size + ((steps + 4) * wide + narrow + bias if ambient_steps else 0)


def matrix_pointers(net: HeadNetworks, joint: Tensor) -> Tensor:
    """`HeadMatrices`: addresses in the order there."""
    matrices: list[Tensor | None] = [net.first, net.second, net.third, net.color, net.rgb, joint]
    matrices += [None] * 3 if net.ambient is None else [net.ambient.first, net.ambient.second, net.ambient.out]
    return torch.tensor([0 if m is None else m.data_ptr() for m in matrices], dtype=torch.int64, device=net.device)


def column_bits(bitfield: UInt8[Tensor, " bytes"]) -> Int32[Tensor, " words"]:
    """Occupancy bits in columns along axis 1: word (x * 128 + z) * 4 + y / 32, bit y % 32 (`rays.cuh`)."""
    cells = torch.arange(GRID_SIDE**3, device=bitfield.device)
    x, y, z = morton_decode(cells).unbind(-1)
    occupied = torch.zeros(GRID_SIDE**3, dtype=torch.int64, device=bitfield.device)
    occupied[(x * GRID_SIDE + z) * GRID_SIDE + y] = unpack_bits(bitfield).long()
    return (occupied.view(-1, 32) << torch.arange(32, device=bitfield.device)).sum(1).to(torch.int32)


def scene_words(marching: Marching, bitfield: UInt8[Tensor, " bytes"]) -> Float[Tensor, " words"]:
    """`Scene`: box, box around the occupied cells, step rule, thresholds."""
    cells = morton_decode(torch.nonzero(unpack_bits(bitfield)).flatten())
    side = 2 / GRID_SIDE
    if len(cells):
        low, high = cells.amin(0).cpu() * side - 1, (cells.amax(0).cpu() + 1) * side - 1
        # Positions beyond the cube count as its border cells.
        low = torch.where(low <= -1, -1e9, low - MARGIN)
        high = torch.where(high >= 1, 1e9, high + MARGIN)
    else:
        low, high = torch.full((3,), 1e9), torch.full((3,), -1e9)
    longest = 2 * math.sqrt(3) / GRID_SIDE
    shortest = min(longest, 2 * math.sqrt(3) / marching.max_steps)
    growth = marching.dt_gamma
    # Beyond this distance steps would grow; the whole scene lies nearer when they stay constant.
    values = [*marching.aabb, *low.tolist(), *high.tolist(), marching.min_near, shortest, longest, growth]
    values.append(marching.transmittance_threshold)
    words = torch.tensor(values, dtype=torch.float32)
    steps = torch.tensor([marching.max_steps], dtype=torch.int32).view(torch.float32)
    return torch.cat([words, steps]).to(bitfield.device)


def view_words(c2w: Float[Tensor, "frames 4 4"], camera: Camera) -> Float[Tensor, "frames 16"]:
    """`View` of every frame: pose, then the camera's intrinsics (its own pose is not used)."""
    intrinsics = torch.tensor([camera.fx, camera.fy, camera.cx, camera.cy], device=c2w.device)
    return torch.cat([c2w[:, :3].reshape(-1, 12), intrinsics.expand(len(c2w), 4)], dim=1).float()


@dataclass
class HeadPainter:
    """Renders up to `frames` pictures of one size per call; holds what does not change between calls.

    The networks' tensors are read again at every call (`fold`), the tables only when the painter is made.
    """

    net: HeadNetworks
    height: int
    width: int
    frames: int
    kernels: Kernels
    macros: dict[str, int]
    multiprocessors: int

    @classmethod
    def load(
        cls, net: HeadNetworks, height: int, width: int, frames: int, *, pack: int | None = None, rounds: bool = False
    ) -> "HeadPainter":
        """A painter on the networks' CUDA device; R2TalkerError when kernels cannot run there.

        rounds: rays take as many samples as the reference's rounds come to, not `max_steps`.
        """
        usual = 1 if hashes(net.layout) else PACK[net.layout.channels]
        macros = {**defines(net, pack or usual), "BLOCKS": BLOCKS, "ROUNDS": int(rounds)}
        kernels = load_kernels(PARTS, macros, net.device)
        count = torch.cuda.get_device_properties(net.device).multi_processor_count
        return cls(net, height, width, frames, kernels, macros, count)

    def __post_init__(self) -> None:
        net, device, pack = self.net, self.net.device, self.macros["PACK"]
        with torch.no_grad():
            self.joint = net.joint().contiguous()
            self.table = pack_rows(net.table, net.layout, pack)
            self.levels = level_words(net.layout, device)
            self.ambient_table = None
            if net.ambient is not None:
                self.ambient_table = pack_rows(net.ambient.table, net.ambient.layout, pack)
                self.levels = torch.cat([self.levels, level_words(net.ambient.layout, device)])
        self.matrices = matrix_pointers(net, self.joint)
        self.weights = torch.empty(self.frames, weights_bytes(self.macros), dtype=torch.uint8, device=device)
        self.counters = torch.zeros(self.frames, 4, dtype=torch.int32, device=device)
        self.rays = torch.empty(self.frames, self.height * self.width, 2, dtype=torch.int64, device=device)
        self.rounds = bool(self.macros.get("ROUNDS"))
        self.late = torch.empty_like(self.rays) if self.rounds else None
        self.late_counters = torch.zeros_like(self.counters) if self.rounds else None

    def see(self, marching: Marching, bitfield: UInt8[Tensor, " bytes"]) -> None:
        """Take over the ray marching rules and what is occupied."""
        self.scene, self.bits = scene_words(marching, bitfield), column_bits(bitfield)
        bins = marching.max_steps + WIDEST_ROUND
        self.living = torch.zeros(self.frames, bins, dtype=torch.int32, device=bitfield.device) if self.rounds else None

    def paint(
        self,
        code: Float[Tensor, "frames code"],
        eye: Float[Tensor, " frames"],
        individual: Float[Tensor, " width"],
        views: Float[Tensor, "frames 16"],
        behind: Float16[Tensor, "frames pixels 4"],
        rgb: UInt8[Tensor, "frames height width 3"],
        opacity: Float[Tensor, "frames pixels"] | None = None,
        depth: Float[Tensor, "frames pixels"] | None = None,
    ) -> None:
        """Fold, list, shade: every pixel of `rgb` is written; no synchronisation with the host."""
        frames, height, width, launch = len(code), self.height, self.width, self.kernels.launch
        net = self.net
        used = [net.first, net.second, net.third, net.color, net.rgb, self.joint]
        used += [] if net.ambient is None else [net.ambient.first, net.ambient.second, net.ambient.out]
        launch(
            "fold_weights", frames, 256, [self.weights, self.matrices, code, eye, individual, self.counters], 512, buffers=used
        )
        tiles = -(-height // 4) * -(-width // 8)
        launch(
            "list_rays",
            (-(-tiles // WARPS), frames),
            32 * WARPS,
            [views, self.scene, self.bits, height, width, behind, rgb, opacity, depth, self.rays, self.counters],
        )
        blocks = min(-(-self.multiprocessors * BLOCKS // frames), -(-height * width // (32 * WARPS)))
        words = self.levels.numel() * 4
        canvas = [height, width, behind, rgb, opacity, depth]
        shade = [self.weights, self.table, self.ambient_table, self.levels, views, self.scene, self.bits, *canvas]
        shared = weights_bytes(self.macros) + WARPS * 1536 + words
        tail: list[Tensor | None] = [self.living, self.late, self.late_counters]
        if self.living is not None and self.late_counters is not None:
            self.living.zero_()
            self.late_counters.zero_()
        launch("shade_rays", (blocks, frames), 32 * WARPS, [*shade, self.rays, self.counters, *tail], shared)
        if self.rounds:
            launch("count_rounds", frames, 32, [self.living, height * width, self.scene, self.late_counters])
            again = [*shade, self.late, self.late_counters, None, None, None]
            launch("shade_rays", (blocks, frames), 32 * WARPS, again, shared)
