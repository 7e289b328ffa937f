"""Training as a command: decide what is to be done, do it, leave an avatar."""

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from r2talker import methods
from r2talker.avatar_format import AvatarFolder, read_avatar_info
from r2talker.data.dataset import Dataset, read_dataset
from r2talker.device import choose_device
from r2talker.errors import R2TalkerError
from r2talker.files import remove_partials
from r2talker.model.method import Method
from r2talker.progress import Progress, Silent
from r2talker.train.checkpoint import read_position
from r2talker.train.config import TrainConfig
from r2talker.train.diary import RunFolder
from r2talker.train.motion_config import MotionTrainingConfig
from r2talker.train.pace import Stopwatch
from r2talker.train.parallel import ALONE, Team
from r2talker.train.phase import Watcher
from r2talker.train.trainer import Trainer


@dataclass(frozen=True)
class TrainReport:
    """What training did: the avatar's folder, seconds of training over all runs of it, whether it was finished already."""

    avatar: Path
    seconds: float
    current: bool


def train_avatar(
    method: str,
    dataset: Path,
    avatar: Path,
    config: TrainConfig | None = None,
    motion: MotionTrainingConfig | None = None,
    progress: Progress | None = None,
    watcher: Watcher | None = None,
    team: Team = ALONE,
) -> TrainReport:
    """Train an avatar of `dataset` by `method` into the folder `avatar`, going on where an interrupted run stopped.

    Does nothing when the avatar is already finished with the same dataset and settings. R2TalkerError on bad input, and when the
    folder holds an unfinished run or an avatar with other settings (unless `config.restart`). team: the processes that do it
    together (`joined_team`), all of which call this alike; only its leader writes.
    """
    config, motion = config or TrainConfig(), motion or MotionTrainingConfig()
    stopwatch = Stopwatch()
    chosen, device = methods.get(method), choose_device(config.device)
    data = read_dataset(dataset)
    run, folder, progress = run_name(chosen, data, config, motion), AvatarFolder(avatar), progress or Silent()
    if team.decide(lambda: _is_finished(folder, run, restart=config.restart)):
        return TrainReport(avatar, stopwatch.seconds(), current=True)
    for note in data.notes:
        progress.begin("dataset", 1)
        progress.end(note)
    if team.leads:
        for place in (folder.root, folder.training):
            remove_partials(place)
    files = RunFolder(folder.training)
    trained = Trainer(chosen, data, config, motion, device, files, run, progress, stopwatch, watcher, team).train()
    if trained is not None:
        trained.save(avatar)
    return TrainReport(avatar, stopwatch.seconds(), current=False)


def run_name(method: Method, dataset: Dataset, config: TrainConfig, motion: MotionTrainingConfig) -> str:
    """Identifies what a run trains: two runs of one name end in the same avatar."""
    silent = {"checkpoint_seconds", "preview_seconds", "restart"}
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in silent}
    content = [method.name, dataclasses.asdict(dataset.info), settings, dataclasses.asdict(motion)]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _is_finished(folder: AvatarFolder, run: str, *, restart: bool) -> bool:
    """Whether the avatar is done; R2TalkerError for the place of another run, which only a restart gives up."""
    if folder.root.exists() and not folder.root.is_dir():
        raise R2TalkerError(f"{folder.root} is a file; an avatar is a folder: choose another name")
    if restart:
        _clear(folder)
        return False
    position = read_position(RunFolder(folder.training).checkpoint)
    info = read_avatar_info(folder) if folder.info.exists() else None
    if info is not None and info.provenance.get("run") == run:
        return True
    if info is not None or (position is not None and position.run != run):
        raise R2TalkerError(
            f"{folder.root} was trained with another dataset or other settings; choose another folder or pass --restart to replace it"
        )
    return False


def _clear(folder: AvatarFolder) -> None:
    """Throw an earlier run away."""
    folder.info.unlink(missing_ok=True)
    RunFolder(folder.training).page.unlink(missing_ok=True)
    shutil.rmtree(folder.training, ignore_errors=True)
