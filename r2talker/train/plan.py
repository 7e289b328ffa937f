"""What a run trains: how much of it, by `--quality`, and for how long, by `--time`."""

from dataclasses import dataclass

from r2talker.errors import R2TalkerError
from r2talker.train.config import TrainConfig

FRAMES_PER_STEP = 8
"""Where fused kernels run; elsewhere a process looks at one frame."""
CPU_CELLS, ALL_CELLS = 25000, 128**3
"""Occupancy cells evaluated per update: on a CPU they cost as much as a step, on a GPU nothing."""
GENERATOR_SHARE = 1 / 6
"""Most of a time budget that the landmark generator may take; it needs about 10 s."""
CLOSING_SECONDS = 1.0
"""Of a time budget, for what follows the last step beside pictures: summary, checkpoint, the avatar's files."""
MOST_CLOSING = 0.1
"""Of a time budget, for all that follows the last step."""


@dataclass(frozen=True)
class Preset:
    """What a quality stands for on one kind of device.

    most_size: largest side of the training pictures, None for the dataset's. net_rate: learning rate of the head's networks at the start.
    table: log2 of the most rows of a level of the position grid.
    """

    most_size: int | None
    head_steps: int
    lips_steps: int
    torso_steps: int
    rays: int
    net_rate: float
    table: int = 16


CPU_PRESETS = {
    "draft": Preset(128, 1500, 0, 500, 512, 3e-3),
    "standard": Preset(None, 6000, 0, 1500, 512, 3e-3),
    "high": Preset(None, 20000, 0, 4000, 512, 3e-3),
}
GPU_PRESETS = {
    "draft": Preset(256, 3000, 500, 1000, 16384, 1e-3, table=18),
    "standard": Preset(None, 12000, 2000, 4000, 16384, 1e-3, table=18),
    "high": Preset(None, 24000, 4000, 8000, 16384, 1e-3, table=18),
}


@dataclass(frozen=True)
class Amounts:
    """Settings that `TrainConfig` may leave open, with the values that hold; steps are first guesses under a time budget."""

    train_size: int
    head_steps: int
    lips_steps: int
    torso_steps: int
    rays: int
    occupancy_cells: int
    net_rate: float
    table: int
    camera_steps: int
    recombine: bool
    lids: bool


def settle(config: TrainConfig, dataset_size: int, *, gpu: bool) -> Amounts:
    """Fill in what `config` leaves open by its quality; what it says itself holds.

    R2TalkerError when the patches of the lips phase do not fit in the pictures.
    """
    recombine = gpu if config.recombine is None else config.recombine
    preset = (GPU_PRESETS if gpu else CPU_PRESETS)[config.quality]
    amounts = Amounts(
        train_size=config.train_size or min(dataset_size, preset.most_size or dataset_size),
        head_steps=config.head_steps or preset.head_steps,
        lips_steps=preset.lips_steps if config.lips_steps is None else config.lips_steps,
        torso_steps=config.torso_steps or preset.torso_steps,
        rays=config.rays or preset.rays,
        occupancy_cells=config.occupancy_cells or (ALL_CELLS if gpu else CPU_CELLS),
        net_rate=preset.net_rate if config.net_rate is None else config.net_rate,
        table=config.table or preset.table,
        camera_steps=config.camera_steps or 0,
        recombine=recombine,
        # Kernels have no rays of a second frame in a step, and do not need them where eyes are recombined.
        lids=not (gpu or recombine),
    )
    if amounts.lips_steps and config.patch > amounts.train_size:
        raise R2TalkerError(
            f"--patch {config.patch} is more than the side of the training pictures, {amounts.train_size}; give at most that, "
            "or leave out the lips phase by --lips-steps 0"
        )
    return amounts
