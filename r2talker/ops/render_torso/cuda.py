"""The fused pass on CUDA: buffers and launches of `render.cu`."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from r2talker.ops.cuda.kernels import Kernels, load_kernels
from r2talker.ops.cuda.tables import group_count, level_words, pack_rows, supports
from r2talker.ops.render_torso.follow import Follow
from r2talker.ops.render_torso.networks import TorsoNetworks

PARTS = ("cuda/device.cuh", "cuda/mlp.cuh", "cuda/grid.cuh", "cuda/rays.cuh", "render_torso/render.cu")
PACK = 4
WARPS = 4
BLOCKS = 3


def fits(net: TorsoNetworks) -> bool:
    """Whether the kernels can evaluate these networks."""
    return net.layout.input_dim == 2 and net.layout.channels == 2 and supports(net.layout)


def defines(net: TorsoNetworks, pack: int = PACK) -> dict[str, int]:
    """Macros of `render.cu`."""
    individual = net.deform_first.shape[1] - 42 - 54
    return {"TORSO_LEVELS": net.layout.levels, "TORSO_GROUPS": group_count(net.layout), "INDIVIDUAL": individual, "PACK": pack}


def weights_bytes(groups: int) -> int:
    """Size of `TorsoWeights`."""
    grid = groups // 2
    return 16 * (3 * 128 + 4 * 128 + (grid + 3) * 64 + 2 * 64) + 8 * (4 + 2) * 32 + 4 * (96 + 4)


@dataclass
class TorsoPainter:
    """Blends the torso over one plate for up to `frames` pictures per call.

    covered: flat row-major numbers of the pixels where it can be seen. plate: [H * W, 4] halves, the last one unused.
    """

    net: TorsoNetworks
    covered: Int[Tensor, " pixels"]
    plate: Float16[Tensor, "pixels 4"]
    height: int
    width: int
    frames: int
    kernels: Kernels
    multiprocessors: int

    @classmethod
    def load(
        cls,
        net: TorsoNetworks,
        covered: Int[Tensor, " pixels"],
        plate: Float16[Tensor, "pixels 4"],
        height: int,
        width: int,
        frames: int,
    ) -> "TorsoPainter":
        """A painter on the networks' CUDA device; R2TalkerError when kernels cannot run there."""
        device = net.table.device
        count = torch.cuda.get_device_properties(device).multi_processor_count
        return cls(net, covered, plate, height, width, frames, load_kernels(PARTS, defines(net), device), count)

    def __post_init__(self) -> None:
        net, device = self.net, self.net.table.device
        self.table, self.levels = pack_rows(net.table.detach(), net.layout, PACK), level_words(net.layout, device)
        self.covered = self.covered.to(torch.int32).contiguous()
        self.matrices = [
            net.deform_first, net.deform_second, net.deform_out, net.color_first, net.color_second, net.color_out,
        ]  # fmt: skip
        self.pointers = torch.tensor([m.data_ptr() for m in self.matrices], dtype=torch.int64, device=device)
        self.bytes = weights_bytes(group_count(net.layout))
        self.weights = torch.empty(self.frames, self.bytes, dtype=torch.uint8, device=device)

    def paint(
        self, views: Float[Tensor, "frames 16"], individual: Float[Tensor, " width"], behind: Float16[Tensor, "frames pixels 4"]
    ) -> None:
        """Write the covered pixels of `behind`, one picture per view; the others are left as they are."""
        frames, launch = len(views), self.kernels.launch
        if not len(self.covered):
            return
        # Nothing is followed: a scale of 0 shifts by 0.
        follow = self.net.follow or Follow(0.0, 0.0, 0.0)
        numbers = [follow.scale, follow.row, follow.column, *follow.gain, *follow.lean]
        launch(
            "fold_torso",
            frames,
            256,
            [self.weights, self.pointers, views, individual, *numbers],
            buffers=self.matrices,
        )
        blocks = min(-(-self.multiprocessors * BLOCKS // frames), -(-len(self.covered) // (32 * WARPS)))
        launch(
            "blend_torso",
            (blocks, frames),
            32 * WARPS,
            [
                self.weights, self.table, self.levels, self.covered, len(self.covered), self.height, self.width,
                float(self.net.shrink), self.plate, behind,
            ],
            self.bytes,
        )  # fmt: skip
