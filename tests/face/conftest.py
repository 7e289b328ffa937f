"""A few pictures of the procedural person."""

from pathlib import Path

import pytest

from r2talker.subject.config import SubjectConfig
from r2talker.subject.make import make_subject


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the clip; its truth lies beside it."""
    return make_subject(tmp_path_factory.mktemp("subject"), SubjectConfig(size=144, seconds=0.4)).video
