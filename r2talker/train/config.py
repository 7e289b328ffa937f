"""Settings of training; imports no torch, because the command line builds its help from them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from r2talker.errors import R2TalkerError
from r2talker.settings import parse_duration, require_at_least

SHORTEST = 5.0
"""Seconds below which a time budget leaves nothing to train in."""

LPIPS_SIDE = 32
"""Shortest side of a patch in pixels that LPIPS can judge (`ops.lpips.network.SMALLEST`)."""

MOST_TABLE = 24
"""Largest table of a level as a power of two (`ops.grid_encode.layout`)."""

MOST_SEED = 2**31 - 1
"""Seeds are multiplied and added to, and kernels take 32 bits of them."""


@dataclass(frozen=True)
class SamplingConfig:
    """Which pixels a step looks at; shares of all rays, the rest is drawn from the head's bounding box."""

    anywhere: float = 0.05
    """Share of rays drawn from the whole picture."""
    lips: float = 0.4
    """Share of rays drawn from the lips and their surroundings."""
    eyes: float = 0.05
    """Share of rays drawn from the eyes."""
    hard: float = 0.0
    """Share of rays drawn where the head's error has been large, in the head phase."""

    def __post_init__(self) -> None:
        require_at_least(self, anywhere=0, lips=0, eyes=0, hard=0)
        together = self.anywhere + self.lips + self.eyes + self.hard
        if together > 1:
            raise R2TalkerError(
                f"--anywhere, --lips, --eyes and --hard are shares of all rays, got {together:g} of them together"
            )


@dataclass(frozen=True)
class TrainConfig:
    """How an avatar is trained."""

    quality: Literal["draft", "standard", "high"] = "standard"
    """Preset for what is left open below: draft for a first look, standard, high where time does not matter (docs/training.md)."""
    time: str | None = None
    """Train for so long, such as 90s, 5m, 2m30s or 1h, instead of a number of steps: all schedules end when the time does. On a GPU
    no phase takes more steps than the quality has, so that much time is not used up."""
    train_size: int | None = None
    """Side of the training pictures in pixels; by default that of the dataset, for a draft at most 128 on a CPU and 256 on a GPU."""
    head_steps: int | None = None
    """Steps of the head; by default as the quality says: 1500, 6000 or 20000 on a CPU, 3000, 12000 or 24000 on a GPU."""
    lips_steps: int | None = None
    """Steps of the lips phase: the head goes on with patches of mouth and eyes; by default none on a CPU, 500, 2000 or 4000 on a GPU."""
    camera_steps: int | None = None
    """Steps of the cameras phase, in the middle of the head's, which refines the tracked head poses; by default none."""
    torso_steps: int | None = None
    """Steps of the torso; by default as the quality says: 500, 1500 or 4000 on a CPU, 1000, 4000 or 8000 on a GPU."""
    rays: int | None = None
    """Rays per step of the head (the torso takes four times as many pixels); by default 512 on a CPU and 16384 on a GPU."""
    frames_per_step: int | None = None
    """Frames that share a step's rays; by default 8 with a GPU's kernels (the torso: one), 1 elsewhere, and at least one a process."""
    grid_rate: float = 1e-2
    """Learning rate of the grids at the start; it falls to a tenth."""
    net_rate: float | None = None
    """Learning rate of the networks at the start; it falls to a tenth. By default 3e-3, and 1e-3 of the head on a GPU."""
    warmup: int = 100
    """Steps over which the learning rates rise to their start (on a GPU): large first steps can kill a network."""
    table: int | None = None
    """Most rows of a level of the position grid, as a power of two; by default 16, on a GPU 18."""
    grid_kind: Literal["tiled", "hash"] = "tiled"
    """Index rule of the position grid's fine levels; the reference's `tiled` drops the third coordinate there, and is faster on a CPU."""
    coarse_levels: int = 4
    """Levels of the position and landmark grids that train from the start where the finer ones come in later."""
    unlock_share: float = 0.0
    """Share of the head's steps over which the finer levels come in one after the other; 0 has all of them from the start."""
    rules: Literal["own", "reference"] = "own"
    """Grids and windows as we have them, fitted to the size of the pictures, or as the reference has them, which `r2talker export` needs."""
    entropy: float = 1e-4
    """Weight of the opacity entropy."""
    ambient: float = 0.1
    """Weight of the ambient coordinate outside the face, reached at the last step (no effect on methods without one)."""
    recombine: bool | None = None
    """Train the eyes of one frame in eight with another frame's landmarks or sound: they follow the eye value; by default on a GPU."""
    landmark_noise: float = 0.05
    """Standard deviation of the noise on the driving landmarks, in units of their range [-1, 1]."""
    exposure: bool = False
    """Find gain and offset of each training frame's colours, for cameras that set their exposure by themselves."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    patch: int = 32
    """Side in pixels of the square patches of the lips phase; a step takes as many as its rays fill."""
    structure: float = 1e-3
    """Weight of 1 - SSIM of the patches, beside the squared error."""
    edges: float = 1e-2
    """Weight of the difference between the patches' gradients and the truth's."""
    perception: float = 1e-2
    """Weight of LPIPS of the patches, which takes part where `--lpips-dir` is given."""
    lpips_dir: Path | None = None
    """Folder with alexnet*.pth (AlexNet of torchvision) and *alex.pth (linear weights of LPIPS 0.1): the lips phase asks them too."""
    ema_share: float = 0.02
    """Time constant of the weights' moving average, as a share of the phase's steps; 0 keeps the raw weights."""
    occupancy_interval: int = 16
    """Steps between updates of the occupancy grid."""
    occupancy_cells: int | None = None
    """Cells evaluated per update; by default 25000 on a CPU and all on a GPU."""
    seed: int = 0
    """Seed of initial weights and of everything drawn during training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a CUDA device when there is one."""
    precision: Literal["auto", "single", "mixed"] = "auto"
    """Of the networks' products: mixed takes halves (GPUs only), single never, which rules out the fast kernels; auto: mixed on a GPU."""
    deterministic: bool = False
    """Let two runs end in the same weights to the last bit, as a CPU always does; a GPU gives up its fast kernels for it."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints, from which an interrupted run goes on."""
    preview_seconds: float = 30.0
    """Seconds between preview pictures (truth beside rendering) of a held-out frame; the first ones come sooner."""
    restart: bool = False
    """Begin anew: throw away what the folder holds of an earlier run, finished or not."""

    def __post_init__(self) -> None:
        if self.rules == "reference" and self.grid_kind != "tiled":
            raise R2TalkerError("--rules reference knows tiled grids only; leave --grid-kind away")
        if self.rules == "reference" and self.table is not None:
            raise R2TalkerError("--rules reference has tables of its own size; leave --table away")
        least_one = (
            "head_steps",
            "torso_steps",
            "rays",
            "frames_per_step",
            "occupancy_interval",
            "occupancy_cells",
            "coarse_levels",
        )
        least_none = (
            "lips_steps",
            "camera_steps",
            "grid_rate",
            "net_rate",
            "structure",
            "edges",
            "perception",
            "unlock_share",
            "entropy",
            "ambient",
            "landmark_noise",
            "ema_share",
            "warmup",
            "seed",
            "checkpoint_seconds",
            "preview_seconds",
        )
        require_at_least(self, train_size=16, patch=8, table=8, **dict.fromkeys(least_one, 1))
        require_at_least(self, **dict.fromkeys(least_none, 0))
        for name, most in (("table", MOST_TABLE), ("seed", MOST_SEED)):
            if (getattr(self, name) or 0) > most:
                raise R2TalkerError(f"--{name} must be at most {most}, got {getattr(self, name)}")
        if not self.unlock_share <= 0.9:
            raise R2TalkerError(
                f"--unlock-share must be at most 0.9, so that all levels train in the end, got {self.unlock_share:g}"
            )
        if self.lpips_dir is not None and self.patch < LPIPS_SIDE:
            raise R2TalkerError(
                f"LPIPS needs patches of at least {LPIPS_SIDE} pixels, got --patch {self.patch}; give a larger one"
            )
        if self.time is None:
            return
        if self.head_steps or self.lips_steps or self.camera_steps or self.torso_steps:
            raise R2TalkerError(
                "--time decides how many steps there are; leave out --head-steps, --lips-steps, --camera-steps and --torso-steps"
            )
        if parse_duration("time", self.time) < SHORTEST:
            raise R2TalkerError(f"--time must be at least {SHORTEST:g}s, got {self.time}")

    @property
    def seconds(self) -> float | None:
        """The time budget, or None without one."""
        return None if self.time is None else parse_duration("time", self.time)
