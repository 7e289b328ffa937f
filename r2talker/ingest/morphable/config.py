"""Settings of the morphable-model tracker; light to import."""

from dataclasses import dataclass

from r2talker.settings import require_at_least


@dataclass(frozen=True)
class MorphableConfig:
    """How the face model is fitted."""

    focal: float | None = None
    """Focal length in pixels; None = the best of 600, 700, ... 1400 at 512 (upstream.md 8.2, stage A)."""
    effort: float = 1.0
    """Share of the reference's iterations in every stage."""
    render_size: int = 256
    """Side in pixels of the pictures that colours are compared in."""
    photometric: bool = True
    """Fit texture, light and poses to the colours too (stages C and D); without, landmarks alone decide."""

    def __post_init__(self) -> None:
        require_at_least(self, focal=1, effort=0.001, render_size=16)
