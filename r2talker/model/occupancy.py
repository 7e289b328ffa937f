"""Where there is something to see: the head's 3D occupancy grid and the torso's 2D one."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from r2talker.model.head import FrameCode, Head
from r2talker.model.torso import Torso
from r2talker.ops.occupancy.op import cell_centres, dilate, pack_bits

GRID_SIZE = 128
DECAY = 0.95
DENSITY_THRESHOLD = 10.0
CHUNK = 1 << 18


class OccupancyGrid(nn.Module):
    """Decayed maximum of the head's density per cell, and its bits (upstream.md 5.7, 5.8). One cascade of GRID_SIZE^3 cells, Morton order.

    A cell of density -1 can never be occupied; it is not evaluated either.
    """

    density: Float[Tensor, "1 cells"]
    bitfield: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("density", torch.zeros(1, GRID_SIZE**3))
        self.register_buffer("bitfield", torch.full((GRID_SIZE**3 // 8,), 255, dtype=torch.uint8))

    def centres(self) -> Float[Tensor, "cells 3"]:
        """Centres of all cells in NGP space, Morton order."""
        return cell_centres(GRID_SIZE, device=self.density.device) * (1 - 1 / GRID_SIZE)

    def restrict(self, possible: Bool[Tensor, " cells"]) -> None:
        """Exclude for good the cells that are not `possible`; the others count as occupied until the first update."""
        self.density.copy_(torch.where(possible, 0.0, -1.0)[None])
        self.bitfield.copy_(pack_bits(self.density, -0.5))

    @torch.no_grad()
    def update(self, head: Head, frame: FrameCode, generator: torch.Generator, *, most: int = 1 << 21) -> None:
        """Evaluate possible cells at one jittered point under one frame's code, dilate, take the decayed maximum, repack.

        At most `most` cells are evaluated, evenly spread with a random start; the first update always evaluates all.
        """
        cells = torch.nonzero(self.density[0] >= 0).flatten()
        if len(cells) > most and float(self.density.max()) > 0:
            stride = -(-len(cells) // most)
            cells = cells[int(torch.randint(stride, (), generator=generator, device=cells.device)) :: stride]
        centres = self.centres()[cells]
        jitter = torch.rand(centres.shape, generator=generator, device=centres.device) * 2 - 1
        points = centres + jitter / GRID_SIZE
        fresh = torch.zeros_like(self.density)
        fresh[0, cells] = torch.cat([head.density(part, frame).sigma for part in points.split(CHUNK)])
        density = torch.maximum(self.density * DECAY, dilate(fresh))
        self.density.copy_(torch.where(self.density >= 0, density, -1.0))
        # The mean is over all cells, as in the reference, so that a small head keeps a low threshold.
        threshold = self.density.clamp_min(0).mean().clamp(max=DENSITY_THRESHOLD)
        self.bitfield.copy_(pack_bits(self.density, threshold))


class TorsoOccupancy(nn.Module):
    """Decayed maximum of the torso's opacity over the picture (upstream.md 5.9); cell (a, b) of (row, column) lies at b * GRID_SIZE + a."""

    alpha: Float[Tensor, " cells"]
    mean: Float[Tensor, ""]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.zeros(GRID_SIZE**2))
        self.register_buffer("mean", torch.zeros(()))

    @torch.no_grad()
    def update(
        self, torso: Torso, pose: Float[Tensor, "6"], individual: Float[Tensor, " code_width"], generator: torch.Generator
    ) -> None:
        """Evaluate every cell at one jittered point under one pose, dilate by two cells, take the decayed maximum."""
        axis = (2 * torch.arange(GRID_SIZE, device=pose.device) / (GRID_SIZE - 1) - 1) * (1 - 1 / GRID_SIZE)
        column, row = torch.meshgrid(axis, axis, indexing="ij")
        points = torch.stack([row, column], dim=-1).reshape(-1, 2)
        points = points + (torch.rand(points.shape, generator=generator, device=pose.device) * 2 - 1) / GRID_SIZE
        fresh = torso(points, pose, individual).alpha.reshape(1, GRID_SIZE, GRID_SIZE)
        fresh = nn.functional.max_pool2d(fresh, 5, stride=1, padding=2).flatten()
        self.alpha.copy_(torch.maximum(self.alpha * DECAY, fresh))
        self.mean.copy_(self.alpha.mean())

    def covers(self, coords: Float[Tensor, "points 2"], threshold: float) -> Bool[Tensor, " points"]:
        """Where the bilinearly sampled opacity exceeds the smaller of `threshold` and the mean (upstream.md 5.6)."""
        grid = self.alpha.reshape(1, 1, GRID_SIZE, GRID_SIZE)
        sampled = nn.functional.grid_sample(grid, coords[None, None], align_corners=True, padding_mode="zeros")
        return sampled.flatten() > self.mean.clamp(max=threshold)
