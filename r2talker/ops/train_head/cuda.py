"""A training step of the head on CUDA: buffers and launches of the passes in this folder."""

import struct
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float16, Int32, UInt8
from torch import Tensor

from r2talker.ops.cuda.kernels import Kernels
from r2talker.ops.cuda.tables import level_words
from r2talker.ops.render_head.cuda import defines, matrix_pointers, weights_bytes
from r2talker.ops.render_head.networks import DIRECTION, GEOMETRY, HeadNetworks

PARTS = (
    "cuda/device.cuh", "cuda/mlp.cuh", "cuda/grid.cuh", "cuda/rays.cuh", "cuda/head_weights.cuh", "cuda/head_eval.cuh",
    "train_head/step.cuh", "train_head/forward.cu", "train_head/backward.cu", "train_head/spread.cu", "train_head/ambient.cu",
    "train_head/unfold.cu", "occupancy/update.cu",
)  # fmt: skip
MOST = 16
"""Samples per ray that are kept at most."""
BLOCKS, WARPS, PULL_WARPS = 3, 4, 8
DESK_BYTES = 1536
ROW_HALVES = 88
SLOT_WORDS, TARGET_WORDS = 8, 10
CELLS = 128**3


@dataclass(frozen=True)
class Losses:
    """Weights beside the squared error, and the seed of everything drawn.

    coarse_levels, unlock_steps: levels of the position grid that train from the start, and the step at which the last one is there;
    0 steps for all from the start. patch: side of the square patches that a frame's rays fill, 0 for single pixels.
    """

    entropy: float
    ambient: float
    seed: int
    steps: int
    coarse_levels: int = 0
    unlock_steps: int = 0
    patch: int = 0


@dataclass(frozen=True)
class ClipTensors:
    """Training pictures and what goes with them, all on one device.

    truth, torso (with alpha), plate: bytes. views: see `view_words`. regions: [frames, 4, 4] rectangles (top, bottom, left, right)
    of head, lips, eyes and face. schedule: [period, frames per step] which frames a step looks at. shares: [frames per step, 3] of
    the rays that are drawn from the whole picture, from lips and eyes; the rest comes from the head.
    """

    truth: UInt8[Tensor, "frames height width 3"]
    torso: UInt8[Tensor, "frames height width 4"]
    plate: UInt8[Tensor, "height width 3"]
    views: Float[Tensor, "frames 16"]
    regions: Int32[Tensor, "frames 4 4"]
    schedule: Int32[Tensor, "period slots"]
    shares: Float[Tensor, "slots 3"]

    @property
    def slots(self) -> int:
        """Frames per step."""
        return self.schedule.shape[1]

    def words(self, losses: Losses) -> Tensor:
        """`Clip` of step.cuh."""
        tensors = (self.truth, self.torso, self.plate, self.views, self.regions, self.schedule, self.shares)
        pointers = [t.data_ptr() for t in tensors]
        height, width = self.plate.shape[:2]
        packed = struct.pack(
            "7q4i2fI3i",
            *pointers, height, width, len(self.schedule), losses.steps,
            losses.entropy, losses.ambient, losses.seed & 0xFFFFFFFF,
            losses.coarse_levels, losses.unlock_steps, losses.patch,
        )  # fmt: skip
        return torch.frombuffer(bytearray(packed), dtype=torch.uint8).to(self.plate.device)


@dataclass(frozen=True)
class HeadGradients:
    """Single-precision gradients of a `HeadNetworks`, in its shapes; tables accumulate, the rest is overwritten.

    individual: [frames, width], accumulates. code: [slots, code width].
    """

    table: Float[Tensor, "rows channels"]
    first: Float[Tensor, "64 inputs"]
    second: Float[Tensor, "64 64"]
    third: Float[Tensor, "65 64"]
    color: Float[Tensor, "64 inputs"]
    rgb: Float[Tensor, "3 64"]
    individual: Float[Tensor, "frames width"]
    code: Float[Tensor, "slots code"]
    ambient_table: Float[Tensor, "rows 2"] | None = None
    ambient_first: Float[Tensor, "64 inputs"] | None = None
    ambient_second: Float[Tensor, "64 64"] | None = None
    ambient_out: Float[Tensor, "2 64"] | None = None

    def networks(self) -> list[Tensor | None]:
        """In the order of `NetworkGradients`."""
        return [
            self.first, self.second, self.third, self.color, self.rgb, self.ambient_first, self.ambient_second, self.ambient_out,
        ]  # fmt: skip


@dataclass(frozen=True)
class HalfTables:
    """The grids' tables as halves, which the kernels read; the optimiser keeps them up to date."""

    position: Float16[Tensor, "rows channels"]
    ambient: Float16[Tensor, "rows 2"] | None


def step_macros(net: HeadNetworks, slots: int, rays: int) -> dict[str, int]:
    """Macros of all passes. rays: per slot."""
    tiles = rays * MOST // 32 + 2048
    return {**defines(net, 1), "BLOCKS": BLOCKS, "FRAMES": slots, "MOST": MOST, "MOST_TILES": tiles}


def back_bytes(macros: dict[str, int]) -> int:
    """Size of `BackWeights`."""
    position = macros["POS_GROUPS"] * macros["POS_CHANNELS"] // 4
    ambient = macros["AMB_GROUPS"] // 2
    words = 4 * 32 * (position + ambient) + 2 * 512 + 2 * 128
    return 16 * (words + (4 * 32 * position + 512 + 128 if ambient else 0))


def gradient_floats(macros: dict[str, int]) -> int:
    """Size of `Gradients`."""
    return 3 * 4096 + 1024 + 128 + 256 + (2 * 4096 + 64 + 128 if macros["AMB_GROUPS"] else 0)


@dataclass
class HeadStep:
    """The passes of one training step; every call is free of host synchronisation and can be captured in a graph.

    steps: [1] the number of the step, on the device. individual: [frames, width] individual codes. choices: rays of a slot whose pixels
    stand in `chosen`, [slots, choices], before `forward`; negative ones are drawn like the others. exposures: gains and offsets of the
    frames' colours, which are taken back from truth and torso. Where rays fill patches, or with either of these, `forward` leaves colours in
    `shown`, the truth in `wanted`, [slots, rays, 3], opacities in `opacities` and pixel numbers in `pixels`, [slots, rays].
    """

    net: HeadNetworks
    individual: Float[Tensor, "frames width"]
    halves: HalfTables
    gradients: HeadGradients
    clip: ClipTensors
    losses: Losses
    scene: Float[Tensor, " words"]
    bits: Int32[Tensor, " words"]
    steps: Int32[Tensor, "1"]
    rays: int
    kernels: Kernels
    multiprocessors: int
    choices: int = 0
    exposures: Float[Tensor, "frames 2 3"] | None = None
    _kept: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        net, slots, device = self.net, self.clip.slots, self.net.device
        self.macros = step_macros(net, slots, self.rays)
        rows, steps = self.macros["MOST_TILES"] * 32 * slots, self.macros["POS_GROUPS"] * self.macros["POS_CHANNELS"] // 4
        steps += self.macros["AMB_GROUPS"] // 2

        def empty(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        self.joint = empty(64, 64, dtype=torch.float32)
        self.matrices = matrix_pointers(net, self.joint)
        outputs = [0 if m is None else m.data_ptr() for m in self.gradients.networks()]
        self.outputs = torch.tensor(outputs, dtype=torch.int64, device=device)
        self.clip_words = self.clip.words(self.losses)
        levels = [level_words(net.layout, device)]
        levels += [] if net.ambient is None else [level_words(net.ambient.layout, device)]
        self.levels = torch.cat(levels)
        self.forward_weights = empty(slots, weights_bytes(self.macros), dtype=torch.uint8)
        self.back = empty(slots, back_bytes(self.macros), dtype=torch.uint8)
        self.sums = empty(slots, gradient_floats(self.macros), dtype=torch.float32)
        self.slots = torch.zeros(slots, SLOT_WORDS, dtype=torch.int32, device=device)
        self.listed = empty(slots * self.rays, 2, dtype=torch.int64)
        self.targets = empty(slots * self.rays, TARGET_WORDS)
        self.ray_samples = empty(slots * self.rays, MOST)
        # A row's features: 2 * steps fragments of 16 bytes for every lane of a tile of 32 rows.
        self.fragments, self.pulls = (empty(rows, 2 * steps, 4) for _ in range(2))
        self.answers = empty(rows, 4, dtype=torch.float32)
        self.coordinates = empty(rows, 2, dtype=torch.float32)
        self.sample_ray, self.sample_t = empty(rows), empty(rows, dtype=torch.float32)
        looks = bool(self.losses.patch or self.choices or self.exposures is not None)
        self.chosen = torch.full((slots, self.choices), -1, dtype=torch.int32, device=device)
        self.shown, self.wanted = (empty(slots, self.rays, 3, dtype=torch.float32) if looks else None for _ in range(2))
        self.opacities = empty(slots, self.rays, dtype=torch.float32) if looks else None
        self.pixels = empty(slots, self.rays) if looks else None
        self.fresh = torch.zeros(CELLS, device=device)
        self.total = torch.zeros(1, device=device)
        matrices = [net.first, net.second, net.third, net.color, net.rgb, self.joint]
        matrices += [] if net.ambient is None else [net.ambient.first, net.ambient.second, net.ambient.out]
        clip = self.clip
        self._kept = [*matrices, *(m for m in self.gradients.networks() if m is not None)]
        self._kept += [clip.truth, clip.torso, clip.plate, clip.views, clip.regions, clip.schedule, clip.shares]

    def _launch(self, name: str, grid: tuple[int, ...], block: int, args: list[object], shared: int = 0) -> None:
        self.kernels.launch(name, grid, block, args, shared, buffers=self._kept)

    def fold(
        self,
        code: Float[Tensor, "slots code"],
        eye: Float[Tensor, " slots"],
        individual: Float[Tensor, "frames width"] | None = None,
    ) -> None:
        """This step's weights from the networks and the codes and eye values of its frames; slots and sums start at zero.

        individual: codes in the place of the frames' own.
        """
        net = self.net
        torch.mm(net.color[:, DIRECTION : DIRECTION + GEOMETRY], net.third[1:], out=self.joint)
        args = [
            self.forward_weights,
            self.back,
            self.matrices,
            self.clip_words,
            self.steps,
            code,
            eye,
            self.individual if individual is None else individual,
        ]
        self._launch("fold_step", (self.clip.slots,), 512, [*args, self.slots, self.sums], 512)

    def forward(self) -> None:
        """Draw rays and evaluate their samples; after `fold`."""
        slots, rays, halves = self.clip.slots, self.rays, self.halves
        clip, steps, blocks = self.clip_words, self.steps, (-(-rays // 128), self.clip.slots)
        self._launch("draw_rays", blocks, 128, [
            clip, steps, self.scene, self.bits, rays, self.listed, self.targets, self.slots, self.chosen, self.choices, self.exposures,
            self.shown, self.wanted, self.opacities, self.pixels,
        ])  # fmt: skip
        shading = -(-self.multiprocessors * BLOCKS // slots)
        shared = weights_bytes(self.macros) + WARPS * DESK_BYTES + self.levels.numel() * 4
        self._launch("shade_samples", (shading, slots), 32 * WARPS, [
            clip, steps, self.forward_weights, halves.position, halves.ambient, self.levels, self.scene, self.bits, rays, self.listed,
            self.targets, self.slots, self.fragments, self.answers, self.coordinates, self.sample_ray, self.sample_t,
            self.ray_samples,
        ], shared)  # fmt: skip
        if self.shown is not None:
            self._launch("show_rays", blocks, 128, [
                self.scene, rays, self.targets, self.slots, self.answers, self.sample_t, self.ray_samples, self.shown, self.opacities,
            ])  # fmt: skip

    def backward(
        self,
        code: Float[Tensor, "slots code"],
        eye: Float[Tensor, " slots"],
        pulls: Float[Tensor, "slots rays 3"] | None = None,
    ) -> None:
        """Composite the samples and pull the loss back into `gradients`; after `forward`, with what was folded.

        pulls: gradient with respect to the rays' colours of the loss that takes the place of the squared error's sum.
        """
        slots, rays, halves, grads = self.clip.slots, self.rays, self.halves, self.gradients
        clip, steps = self.clip_words, self.steps
        self._launch("weigh_samples", (-(-rays // 128), slots), 128, [
            clip, steps, self.scene, rays, self.targets, self.slots, self.answers, self.coordinates, self.sample_t, self.ray_samples,
            pulls,
        ])  # fmt: skip
        pulling = -(-self.multiprocessors // slots)
        rows = weights_bytes(self.macros) + back_bytes(self.macros) + 3 * 32 * PULL_WARPS * ROW_HALVES * 2
        self._launch("pull_back_networks", (pulling, slots), 32 * PULL_WARPS, [
            clip, steps, self.forward_weights, self.back, rays, self.targets, self.slots, self.fragments, self.answers, self.sample_ray,
            self.pulls, self.sums,
        ], rows)  # fmt: skip
        if self.net.ambient is not None:
            self._launch("pull_back_ambient", (pulling, slots), 32 * PULL_WARPS, [
                self.forward_weights, self.back, halves.ambient, self.levels, self.slots, self.fragments, self.coordinates, self.sample_ray,
                self.pulls, grads.ambient_table, self.sums,
            ], rows)  # fmt: skip
        self._launch("spread_features", (8 * pulling, slots), 128, [
            clip, steps, self.levels, rays, self.targets, self.slots, self.pulls, self.sample_ray, self.sample_t, grads.table,
        ])  # fmt: skip
        unfolded = [self.outputs, self.matrices, self.sums, clip, steps]
        self._launch("unfold_gradients", (64,), 256, [*unfolded, code, eye, grads.code])
        self._launch("unfold_individual", (1,), 256, [*unfolded, self.individual, grads.individual])

    def refresh(self, density: Float[Tensor, " cells"], cells: Int32[Tensor, " possible"]) -> None:
        """The occupancy grid's update under the code of slot 0, after `fold`. density: in column order, -1 where impossible."""
        blocks = min(self.multiprocessors * BLOCKS, -(-len(cells) // (32 * WARPS)))
        shared = weights_bytes(self.macros) + WARPS * DESK_BYTES + self.levels.numel() * 4
        self._launch("sample_density", (blocks,), 32 * WARPS, [
            self.forward_weights, self.halves.position, self.halves.ambient, self.levels, cells, len(cells), self.steps,
            self.losses.seed & 0x7FFFFFFF, self.fresh, self.total,
        ], shared)  # fmt: skip
        self._launch("decay_cells", (CELLS // 256,), 256, [self.fresh, density, self.total])
        self._launch("pack_cells", (CELLS // 256,), 256, [density, self.total, self.bits])
