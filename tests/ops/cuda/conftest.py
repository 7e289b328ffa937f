"""The backend fixture of the kernel tests."""

import pytest

from tests.ops.cuda.backends import BACKENDS, Backend, open_backend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """The emulator, then a GPU."""
    return open_backend(request.param)
