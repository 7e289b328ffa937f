"""Where there is something to see: the head's 3D occupancy grid and the torso's 2D one."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from r2talker.model.head import FrameCode, Head
from r2talker.model.torso import Torso
from r2talker.ops.occupancy.op import cell_centres, morton_decode, morton_encode, pack_bits

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
        self._cells: tuple[Tensor, Tensor] | None = None

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

        At most `most` cells are evaluated, evenly spread with a random start; the first update always evaluates all. Cells that
        are not possible take no part at all, which is what makes an update cheap for a head that fills a tenth of the grid.
        """
        cells, neighbours = self._possible()
        density = self.density[0, cells]
        chosen = torch.arange(len(cells), device=cells.device)
        if len(cells) > most and float(density.max()) > 0:
            stride = -(-len(cells) // most)
            chosen = chosen[int(torch.randint(stride, (), generator=generator, device=cells.device)) :: stride]
        centres = (2 * morton_decode(cells[chosen]).float() / (GRID_SIZE - 1) - 1) * (1 - 1 / GRID_SIZE)
        jitter = torch.rand(centres.shape, generator=generator, device=centres.device) * 2 - 1
        points = centres + jitter / GRID_SIZE
        # One more entry, always 0, stands for the neighbours that are not possible.
        fresh = density.new_zeros(len(cells) + 1)
        fresh[chosen] = torch.cat([head.sigma(part, frame) for part in points.split(CHUNK)])
        spread = torch.maximum(fresh[:-1], fresh[neighbours].amax(0))
        density = torch.maximum(density * DECAY, spread)
        self.density[0, cells] = density
        # The mean is over all cells, as in the reference, so that a small head keeps a low threshold.
        threshold = (density.sum() / self.density.numel()).clamp(max=DENSITY_THRESHOLD)
        self.bitfield.copy_(pack_bits(self.density, threshold))

    def _possible(self) -> tuple[Int[Tensor, " possible"], Int[Tensor, "6 possible"]]:
        """Morton numbers of the possible cells, and the places of their six face neighbours in that list (its length if not in it)."""
        cells = torch.nonzero(self.density[0] >= 0).flatten()
        if self._cells is None or self._cells[0].shape != cells.shape or not torch.equal(self._cells[0], cells):
            place = torch.full((GRID_SIZE**3,), len(cells), device=cells.device)
            place[cells] = torch.arange(len(cells), device=cells.device)
            coords = morton_decode(cells)
            found = []
            for axis in range(3):
                for step in (-1, 1):
                    beside = coords.clone()
                    beside[:, axis] += step
                    inside = (beside[:, axis] >= 0) & (beside[:, axis] < GRID_SIZE)
                    found.append(place[morton_encode(beside.clamp(0, GRID_SIZE - 1))].where(inside, len(cells)))
            self._cells = (cells, torch.stack(found))
        return self._cells


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
        self,
        torso: Torso,
        pose: Float[Tensor, "6"],
        individual: Float[Tensor, " code_width"],
        generator: torch.Generator | None,
    ) -> None:
        """Evaluate every cell at one jittered point under one pose, dilate by two cells, take the decayed maximum.

        generator: draws the jitter; None for the device's own, as in a recorded graph.
        """
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
