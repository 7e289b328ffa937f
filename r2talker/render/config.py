"""Settings of the ray marcher; imports no torch, so that they can stand in configurations."""

from dataclasses import dataclass

from r2talker.compatibility import SampleBudget, StepRule

_STEEP = 1e6
"""Growth by which every step, however near, is the longest one."""


@dataclass(frozen=True)
class RenderSettings:
    """How rays are marched and composited (upstream.md section 5); stored in the avatar."""

    aabb: tuple[float, float, float, float, float, float] = (-1.0, -0.5, -1.0, 1.0, 0.5, 1.0)
    """Box that is rendered, NGP space: three minima, three maxima."""
    max_steps: int = 16
    """Occupied samples per ray at most."""
    dt_gamma: float = 1 / 256
    """Growth of the step with distance, where steps grow."""
    min_near: float = 0.05
    """Nearest sample distance, scene units."""
    transmittance_threshold: float = 1e-4
    """A ray ends once less light than this passes."""
    torso_alpha_threshold: float = 0.01
    """Torso cells with less opacity than this (or than the mean) are skipped."""
    step: StepRule = "constant"
    """See `Compatibility`."""
    budget: SampleBudget = "exact"
    """See `Compatibility`."""

    @property
    def growth(self) -> float:
        """What the marchers are told as `dt_gamma`."""
        return self.dt_gamma if self.step == "growing" else _STEEP
