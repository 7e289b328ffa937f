"""Where kernel tests run: in the emulator, which needs a C++ compiler, and on a GPU. One test body serves both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch

from r2talker.ops.cuda.kernels import Kernels, load_kernels, missing, read_source
from tests.simt.launcher import compile_source, find_compiler, kernel_names

EMULATED_PROCESSORS = 2


@dataclass(frozen=True)
class Backend:
    """A device and what compiles kernels for it."""

    device: torch.device

    def load(self, parts: Sequence[str], macros: Mapping[str, int], *, leave_out: Sequence[str] = ()) -> Kernels:
        """The kernels of a translation unit; `leave_out` names those that the macros switch off."""
        if self.device.type == "cuda":
            return load_kernels(parts, macros, self.device)
        source = read_source(parts)
        names = [name for name in kernel_names(source) if name not in leave_out]
        return compile_source(source, macros, kernels=names)

    @property
    def processors(self) -> int:
        """Multiprocessors to spread blocks over."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_properties(self.device).multi_processor_count
        return EMULATED_PROCESSORS


BACKENDS = [pytest.param("emulator", id="emulator"), pytest.param("gpu", id="gpu", marks=pytest.mark.gpu)]


def open_backend(name: str) -> Backend:
    """The backend called `name`; skips the emulator where there is no compiler."""
    if name == "gpu":
        device = torch.device("cuda")
        reason = missing(device)
        assert reason is None, reason
        return Backend(device)
    if find_compiler() is None:
        pytest.skip("the emulator needs a C++ compiler (g++)")
    return Backend(torch.device("cpu"))
