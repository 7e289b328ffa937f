"""One procedural clip, ingested once, for all tests of ingest."""

from pathlib import Path

import pytest

from r2talker.data.folder import DatasetFolder
from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import ingest
from r2talker.subject.config import SubjectConfig
from r2talker.subject.make import make_subject

SIZE = 128


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the clip; its truth lies beside it."""
    return make_subject(tmp_path_factory.mktemp("subject"), SubjectConfig(size=144, seconds=2.4)).video


@pytest.fixture(scope="session")
def dataset(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    folder = tmp_path_factory.mktemp("ingest") / "subject.dataset"
    ingest(clip, folder, IngestConfig(size=SIZE))
    return DatasetFolder(folder)
