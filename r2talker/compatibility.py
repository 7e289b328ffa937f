"""The reference's own rules that ours differ from or could differ from: one setting, stored in every avatar (docs/from-upstream.md).

Weights are only right under the rules that they were trained under. Each rule is consulted in one place, named here.
Imports no torch.
"""

from dataclasses import dataclass
from typing import Literal

FilmOrder = Literal["shift first", "scale first"]
IndexRule = Literal["tiled", "hash"]
WindowEdge = Literal["replicate", "zeros"]
StepRule = Literal["constant", "growing"]
SampleBudget = Literal["exact", "rounds"]


@dataclass(frozen=True)
class Compatibility:
    """Rules of one avatar, as `avatar.json` holds them under `compatibility`."""

    film: FilmOrder = "shift first"
    """Which half of a style network's output is added to a hidden layer, and which multiplies it (upstream.md 4.4). Asked by the
    conditioning that has style networks; codes are [shift, scale] whatever the rule."""
    index: IndexRule = "tiled"
    """How the position grid's fine levels find a row: `tiled` ignores coordinates that no longer fit, `hash` mixes all (3.1). Asked
    by `GridLayout.hashed`."""
    axes: str = "zxy"
    """Order in which coordinates of NGP space enter a tiled row number, so that the last one is ignored first; empty for xyz (3.1).
    With the reference's, fine levels see the head from the side; with ours from the front. Asked by `GridLayout.axis_order`."""
    window_edge: WindowEdge = "replicate"
    """What windows see beyond the ends of a sequence: its first and last frame again, or zeros (4.1). Asked by `gather_windows`."""
    step: StepRule = "constant"
    """Length of the ray marcher's steps: always the longest, or growing with distance from one set by `max_steps` (5.2; at the
    reference's default of 16 steps both are the same). Asked by `RenderSettings.growth`."""
    budget: SampleBudget = "exact"
    """Samples of a ray in pictures: at most `max_steps`, or as many as the reference's rounds come to, up to seven more (5.5). Asked by
    `render_rays` and by `HeadPainter`."""


OURS = Compatibility()
"""What our own training follows (its `index` is an option of training)."""

UPSTREAM = Compatibility(film="shift first", index="tiled", axes="", window_edge="zeros", step="constant", budget="rounds")
"""What checkpoints of the reference were trained under and are shown by."""
