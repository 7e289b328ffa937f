"""The environment that the `r2talker` command gives itself, for benchmarks of what it does."""

import os
import sys

from r2talker.cli.main import ENVIRONMENT


def restart_as(module: str) -> None:
    """Start the benchmark anew where something of it is missing: threads and memory are set up when a process starts."""
    missing = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    if sys.platform == "linux" and missing:
        os.environ.update(missing)
        os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])
