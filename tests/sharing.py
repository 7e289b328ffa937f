"""What is dear to make and read by many: made once a run, also where several processes run the tests."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Folder `name` as `make(folder)` fills it: by the first process that asks, while the others wait; each has a copy of its own.

    The copy keeps what one process' tests do to it, against the rules, from being seen by those of another.
    """
    ours = factory.getbasetemp() / name
    # By its folder, because tests that start pytest themselves hand the variable on.
    if ours.parent.name != f"popen-{os.environ.get('PYTEST_XDIST_WORKER')}":
        make(ours)
        return ours
    first = factory.getbasetemp().parent / "shared" / name
    first.parent.mkdir(exist_ok=True)
    finished = first.with_name(f"{name}.finished")
    with FileLock(first.with_name(f"{name}.lock")):
        if not finished.exists():
            # What a process left that failed.
            shutil.rmtree(first, ignore_errors=True)
            make(first)
            finished.touch()
    return Path(shutil.copytree(first, ours))
