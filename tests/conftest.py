"""Marks that need hardware, and what the rooms share: one procedural clip, its dataset, avatars of it.

`tests` is a package, so test modules import `tests.tolerances` and `tests.golden.regenerate`. Everything heavy is imported when a
fixture is first used, so that the tests of one room start quickly.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.sharing import shared
from tests.tiny import CLIP_SIZE, MOTION, SIZE, TRAINING

if TYPE_CHECKING:
    from r2talker.avatar import Avatar
    from r2talker.data.dataset import Dataset
    from r2talker.data.folder import DatasetFolder

LONGEST = ("train", "live", "cli", "ops", "ingest")
"""Rooms whose tests take longest. They come first, so that no process begins a long file when the others are done."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail instead of skipping when a gpu test finds no CUDA device")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if item.config.getoption("--require-gpu"):
            pytest.fail("needs a CUDA device, and --require-gpu was given")
        pytest.skip("needs a CUDA device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {room: place for place, room in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(Path(__file__).parent).parts[0], len(order)))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the procedural clip; its truth lies beside it."""
    from r2talker.subject.config import SubjectConfig
    from r2talker.subject.make import VIDEO_FILE, make_subject

    def make(folder: Path) -> None:
        make_subject(folder, SubjectConfig(size=CLIP_SIZE, seconds=2.4))

    return shared(tmp_path_factory, "subject", make) / VIDEO_FILE


@pytest.fixture(scope="session")
def dataset(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> "DatasetFolder":
    """The clip, ingested. Read only: who changes something takes a copy."""
    from r2talker.data.folder import DatasetFolder
    from r2talker.ingest.config import IngestConfig
    from r2talker.ingest.pipeline import ingest

    return DatasetFolder(
        shared(tmp_path_factory, "subject.dataset", lambda folder: ingest(clip, folder, IngestConfig(size=SIZE)))
    )


@pytest.fixture(scope="session")
def data(dataset: "DatasetFolder") -> "Dataset":
    """The dataset as training reads it."""
    from r2talker.data.dataset import read_dataset

    return read_dataset(dataset.root)


@pytest.fixture(scope="session")
def trained(dataset: "DatasetFolder", tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a scarcely trained avatar by a method, made when first asked for. Read only."""
    from r2talker.train.run import train_avatar

    @cache
    def train(method: str) -> Path:
        def make(folder: Path) -> None:
            train_avatar(method, dataset.root, folder, TRAINING, MOTION)

        return shared(tmp_path_factory, f"{method}.avatar", make)

    return train


@pytest.fixture(scope="session")
def avatar(trained: Callable[[str], Path]) -> "Avatar":
    """An avatar driven by landmarks, with a landmark generator."""
    from r2talker.avatar import Avatar

    return Avatar.load(trained("r2talker"), device="cpu")


@pytest.fixture(scope="session")
def audio_avatar(trained: Callable[[str], Path]) -> "Avatar":
    """An avatar driven by audio features."""
    from r2talker.avatar import Avatar

    return Avatar.load(trained("radnerf"), device="cpu")
