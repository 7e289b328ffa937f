"""The nouns that cross the walls between rooms. All frozen; shapes, units and frames are part of the type.

Frames: *NGP space* has axis 0 = head up, axis 1 = head front, axis 2 = right as seen in the picture; the head sits near the
origin inside [-1, 1]^3. Camera-to-world matrices `c2w` have columns right, down, forward, position.
"""

from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in NGP space; pixel centres are at +0.5; lengths in pixels."""

    c2w: Float[Tensor, "4 4"]
    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int

    def resized(self, height: int, width: int) -> "Camera":
        """The same view on another pixel grid."""
        sy, sx = height / self.height, width / self.width
        return replace(self, fx=self.fx * sx, fy=self.fy * sy, cx=self.cx * sx, cy=self.cy * sy, height=height, width=width)


@dataclass(frozen=True)
class Rays:
    """Unit-direction rays in NGP space."""

    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]


@dataclass(frozen=True)
class Samples:
    """Occupied samples of all rays, concatenated in ray order.

    Sample `offsets[n] + k` is the k-th of ray n. `delta` is the step length, `t_end` the ray parameter at the end of the step;
    the position is at its start (upstream.md 5.3).
    """

    positions: Float[Tensor, "samples 3"]
    directions: Float[Tensor, "samples 3"]
    delta: Float[Tensor, " samples"]
    t_end: Float[Tensor, " samples"]
    ray_index: Int[Tensor, " samples"]
    offsets: Int[Tensor, " rays"]
    counts: Int[Tensor, " rays"]


@dataclass(frozen=True)
class DriveSpec:
    """What a method wants to be driven by.

    kind: `landmarks` (frame shape [68, 3]) or `audio` (frame shape [16, K] feature rows at 50 Hz).
    window: frames per window; the window of frame q is q - window // 2 ... q - window // 2 + window - 1.
    normalise: subtract the mean and divide by the standard deviation of the training split first.
    """

    kind: Literal["landmarks", "audio"]
    window: int
    normalise: bool


@dataclass(frozen=True)
class Frame:
    """One rendered picture, colours in [0, 1]; depth is along the ray in [0, 1] between near and far, 0 where nothing was hit."""

    rgb: Float[Tensor, "height width 3"]
    alpha: Float[Tensor, "height width"]
    depth: Float[Tensor, "height width"]
