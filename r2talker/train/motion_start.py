"""What other people's clips taught a landmark generator: the layers that hear, without those that move a face."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from r2talker.drive.config import MotionConfig
from r2talker.drive.motion import MotionModel
from r2talker.errors import R2TalkerError
from r2talker.files import write_tensors
from r2talker.train.motion_config import MotionTrainingConfig

FORMAT = "r2talker-motion"
HEARING = ("first", "second")
"""Layers of `MotionModel` that a new person takes over."""


@dataclass(frozen=True)
class MotionStart:
    """config: sizes of the model. hearing: state of its first layers. people: how many clips they learned from."""

    config: MotionConfig
    hearing: dict[str, Tensor]
    people: int

    @classmethod
    def of(cls, model: MotionModel, people: int) -> "MotionStart":
        """The hearing part of a model."""
        config = dataclasses.replace(model.config, remembered=0)
        hearing = {key: value for key, value in model.state_dict().items() if key.partition(".")[0] in HEARING}
        return cls(config, {key: value.detach().cpu().clone() for key, value in hearing.items()}, people)


def write_start(path: Path, start: MotionStart) -> None:
    """Write a .safetensors file with the sizes in its header."""
    config = json.dumps(dataclasses.asdict(start.config))
    write_tensors(path, start.hearing, {"format": FORMAT, "config": config, "people": str(start.people)})


def read_start(path: Path) -> MotionStart:
    """Read what `write_start` wrote; R2TalkerError says what is wrong with the file."""
    try:
        with safe_open(str(path), "pt") as file:
            header = file.metadata() or {}
            hearing = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise R2TalkerError(f"{path} does not exist; make it with `r2talker train-motion DATASET... -o {path}`") from error
    except (SafetensorError, OSError) as error:
        raise R2TalkerError(f"{path} is broken ({error}); make it again with `r2talker train-motion`") from error
    if header.get("format") != FORMAT:
        raise R2TalkerError(f"{path} does not come from `r2talker train-motion`; give a file that does")
    try:
        config = MotionConfig(**json.loads(header["config"]))
        wanted = MotionStart.of(MotionModel(config), 0).hearing
        if {key: value.shape for key, value in wanted.items()} != {key: value.shape for key, value in hearing.items()}:
            raise ValueError("its tensors have other shapes than it says")
        return MotionStart(config, hearing, int(header["people"]))
    except (KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(
            f"{path} does not fit this r2talker ({error}); make it again with `r2talker train-motion`"
        ) from error


def start_settings(path: Path | None) -> MotionTrainingConfig | None:
    """Training settings for a new person who starts from the file at `path`; read now, so that a fault shows at once."""
    return None if path is None else MotionTrainingConfig(model=read_start(path).config, start=str(path))
