"""One small clip for all tests of the room."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from r2talker.subject.config import SubjectConfig
from r2talker.subject.make import Subject, make_subject


@dataclass(frozen=True)
class Clip:
    folder: Path
    config: SubjectConfig
    subject: Subject


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Six seconds at 96x96, far smaller than a user would make."""
    folder, config = tmp_path_factory.mktemp("subject"), SubjectConfig(size=96, seconds=6.0, seed=5)
    return Clip(folder, config, make_subject(folder, config))
