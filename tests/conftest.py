"""Marks that need hardware. `tests` is a package, so test modules import `tests.tolerances` and `tests.golden.regenerate`."""

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="fail instead of skipping when a gpu test finds no CUDA device")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if item.config.getoption("--require-gpu"):
            pytest.fail("needs a CUDA device, and --require-gpu was given")
        pytest.skip("needs a CUDA device")
