"""What one march is given, and the rules that its forms share: step length, occupancy of a point, the list of samples."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from r2talker.ops.occupancy.op import morton_encode
from r2talker.types import Samples


@dataclass(frozen=True)
class March:
    """Arguments of `r2talker.ops.march_rays.op.march_rays`, checked."""

    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]
    near: Float[Tensor, " rays"]
    far: Float[Tensor, " rays"]
    bitfield: UInt8[Tensor, " bytes"]
    max_steps: int
    dt_gamma: float
    bound: float
    grid_size: int
    noise: Float[Tensor, " rays"] | None
    extra: int = 0

    @property
    def most(self) -> int:
        """Samples per ray at most."""
        return self.max_steps + self.extra

    @property
    def cascades(self) -> int:
        return self.bitfield.numel() * 8 // self.grid_size**3

    @property
    def compiles(self) -> bool:
        """Whether `compiled` can run: a single cascade of at least 4^3 cells (64 cells are one word), float32 on a CPU."""
        floats = all(values.dtype == torch.float32 for values in (self.origins, self.directions, self.near, self.far))
        return floats and self.origins.device.type == "cpu" and self.cascades == 1 and self.grid_size >= 4

    @property
    def half(self) -> float:
        """Half side of the first cascade."""
        return min(1.0, self.bound)

    @property
    def longest_step(self) -> float:
        return 2 * math.sqrt(3) * 2 ** (self.cascades - 1) / self.grid_size

    @property
    def shortest_step(self) -> float:
        return min(self.longest_step, 2 * math.sqrt(3) / self.max_steps)

    def step(self, t: Float[Tensor, "*rays"]) -> Float[Tensor, "*rays"]:
        """Step length at t: grows with distance between the shortest and the longest (upstream.md 5.2)."""
        return (t * self.dt_gamma).clamp(self.shortest_step, self.longest_step)

    def start(self) -> Float[Tensor, " rays"]:
        """First t of every ray."""
        return self.near if self.noise is None else self.near + self.step(self.near) * self.noise

    def position(self, t: Float[Tensor, " samples"], ray: Int[Tensor, " samples"]) -> Float[Tensor, "samples 3"]:
        """Points at t along the given rays, clamped to the bound."""
        origins, directions = self.origins.index_select(0, ray), self.directions.index_select(0, ray)
        return torch.addcmul(origins, t[:, None], directions).clamp(-self.bound, self.bound)

    def occupied(self, cell: Int[Tensor, "samples 3"], cascade: Int[Tensor, " samples"] | int) -> Bool[Tensor, " samples"]:
        """The bits of cells."""
        index = morton_encode(cell) + cascade * self.grid_size**3
        return (self.bitfield.index_select(0, index >> 3) >> (index & 7).to(torch.uint8) & 1).bool()

    def samples(
        self,
        ray: Int[Tensor, " samples"],
        t: Float[Tensor, " samples"],
        delta: Float[Tensor, " samples"],
        t_end: Float[Tensor, " samples"],
    ) -> Samples:
        """The list of samples, given in ray order; differentiable in origins and directions with t held constant."""
        counts = torch.zeros(len(self.near), dtype=torch.long, device=ray.device).index_add_(0, ray, torch.ones_like(ray))
        return Samples(
            positions=self.position(t, ray),
            directions=self.directions.index_select(0, ray),
            delta=delta,
            t_end=t_end,
            ray_index=ray,
            offsets=counts.cumsum(0) - counts,
            counts=counts,
        )
