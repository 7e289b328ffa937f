"""Settings of comparing films; light to import, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from r2talker.settings import require_at_least


@dataclass(frozen=True)
class CompareConfig:
    """How films are compared with the truth."""

    start: int | None = None
    """Frame of the truth that the videos show first; None = its first (of a dataset, the first held-out one)."""
    frames: int | None = None
    """Score only so many frames, from the truth's first on; None = all."""
    model_dir: Path | None = None
    """Folder with networks of your own: alexnet*.pth (AlexNet of torchvision) and *alex.pth (linear weights of LPIPS 0.1)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where avatars and networks compute; auto takes a CUDA device when there is one."""

    def __post_init__(self) -> None:
        require_at_least(self, start=0, frames=1)
