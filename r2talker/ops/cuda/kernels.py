"""Kernels compiled at run time by NVRTC, kept on disk, launched on PyTorch's current stream.

No compiler and no header file is needed on the user's machine: NVRTC comes with CUDA builds of PyTorch, the sources include
nothing. The compiled form depends on the source, its macros, the architecture and NVRTC's version, which together name its file.
"""

import contextlib
import ctypes
import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.files import write_bytes

OPS = Path(__file__).parent.parent
OLDEST = (8, 0)
"""Compute capability that the kernels need: matrix units for m16n8k16 halves, conversions with ReLU."""

Defines = Mapping[str, int | float | str]


class Kernels(Protocol):
    """A compiled translation unit; tests put an emulator here."""

    def launch(
        self,
        kernel_name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[Any],
        shared_bytes: int = 0,
        *,
        buffers: Sequence[Tensor] = (),
    ) -> None:
        """Start one kernel. args: tensors (or None) for pointers, Python numbers; buffers: what it reaches through pointers in memory."""
        ...


def missing(device: torch.device) -> str | None:
    """Why kernels cannot run on `device`, or None when they can. A CUDA device without kernels is warned of, once."""
    if device.type != "cuda":
        return f"the kernels need a CUDA device, not {device}"
    return _missing_on_cuda(torch.cuda.current_device() if device.index is None else device.index)


@lru_cache(maxsize=16)
def _missing_on_cuda(index: int) -> str | None:
    reason = _find_fault(index)
    if reason is not None:
        warnings.warn(f"{reason}; until then plain PyTorch does the work, hundreds of times slower", stacklevel=4)
    return reason


def _find_fault(index: int) -> str | None:
    if torch.cuda.get_device_capability(index) < OLDEST:
        return f"the kernels need a GPU of compute capability {OLDEST[0]}.{OLDEST[1]} or newer"
    wanted = (torch.version.cuda or "13").split(".")[0]
    install = f"pip install 'cuda-bindings=={wanted}.*'"
    try:
        from cuda.bindings import nvrtc

        _checked(nvrtc.nvrtcVersion())
    except Exception as error:  # what is raised for a missing library differs between versions of the bindings
        return f"the kernels need cuda-bindings and NVRTC of CUDA {wanted} ({error.__class__.__name__}); {install}"
    found = version("cuda-bindings").split(".")[0]
    if found != wanted:
        return f"PyTorch is built for CUDA {wanted}, but cuda-bindings for {found}; {install}"
    return None


def read_source(parts: Sequence[str]) -> str:
    """The translation unit made of files of this package's `ops` folder, in order."""
    return "\n".join((OPS / part).read_text() for part in parts)


def load_kernels(parts: Sequence[str], defines: Defines, device: torch.device) -> Kernels:
    """The kernels of a translation unit on a device: compiled now, or read from the cache on disk.

    Raises R2TalkerError when they cannot run there.
    """
    reason = missing(device)
    if reason is not None:
        raise R2TalkerError(reason)
    index = torch.cuda.current_device() if device.index is None else device.index
    return _load(tuple(parts), tuple(sorted(defines.items())), index)


def cache_folder() -> Path:
    """Where compiled kernels are kept: $R2TALKER_CACHE, else r2talker/ in the user's cache folder."""
    chosen = os.environ.get("R2TALKER_CACHE")
    if chosen:
        return Path(chosen)
    package = __name__.partition(".")[0]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / package


def compile_source(source: str, defines: Sequence[tuple[str, Any]], architecture: str) -> bytes:
    """Machine code of `source` for an architecture such as `sm_90`. RuntimeError carries the compiler's messages."""
    from cuda.bindings import nvrtc

    options = [f"--gpu-architecture={architecture}", "--std=c++17", "--device-as-default-execution-space"]
    options += [f"--define-macro={name}={value}" for name, value in defines]
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), b"r2talker.cu", 0, [], []))
    try:
        encoded = [option.encode() for option in options]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
            _checked(nvrtc.nvrtcGetProgramLog(program, log))
            raise RuntimeError(f"kernels do not compile for {architecture}:\n{log.decode(errors='replace')}")
        code = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc.nvrtcGetCUBIN(program, code))
        return bytes(code)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


@dataclass(frozen=True)
class LoadedKernels:
    """A module of machine code in the primary context of one device."""

    module: Any
    functions: dict[str, Any]

    def launch(
        self,
        kernel_name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[Any],
        shared_bytes: int = 0,
        *,
        buffers: Sequence[Tensor] = (),
    ) -> None:
        """See `Kernels.launch`."""
        from cuda.bindings import driver

        function = self._function(kernel_name, shared_bytes)
        values = tuple(arg.data_ptr() if isinstance(arg, Tensor) else 0 if arg is None else arg for arg in args)
        kinds = tuple(_kind(arg) for arg in args)
        stream = torch.cuda.current_stream().cuda_stream
        _checked(driver.cuLaunchKernel(function, *_three(grid), *_three(block), shared_bytes, stream, (values, kinds), 0))

    def _function(self, name: str, shared_bytes: int) -> Any:
        from cuda.bindings import driver

        if name not in self.functions:
            function = _checked(driver.cuModuleGetFunction(self.module, name.encode()))
            if shared_bytes > 48 * 1024:
                attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                _checked(driver.cuFuncSetAttribute(function, attribute, shared_bytes))
            self.functions[name] = function
        return self.functions[name]


@lru_cache(maxsize=64)
def _load(parts: tuple[str, ...], defines: tuple[tuple[str, Any], ...], index: int) -> LoadedKernels:
    from cuda.bindings import driver

    torch.cuda.synchronize(index)  # makes PyTorch's context, which the module belongs to
    major, minor = torch.cuda.get_device_capability(index)
    with torch.cuda.device(index):
        code = _machine_code(read_source(parts), defines, f"sm_{major}{minor}")
        return LoadedKernels(_checked(driver.cuModuleLoadData(code)), {})


def _machine_code(source: str, defines: tuple[tuple[str, Any], ...], architecture: str) -> bytes:
    from cuda.bindings import nvrtc

    version = _checked(nvrtc.nvrtcVersion())
    key = hashlib.sha256("\0".join([source, repr(defines), architecture, repr(version)]).encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.cubin"
    if path.exists():
        return path.read_bytes()
    code = compile_source(source, defines, architecture)
    # A cache that cannot be written costs seconds per start, nothing else.
    with contextlib.suppress(R2TalkerError):
        write_bytes(path, code)
    return code


def _checked(answer: tuple[Any, ...]) -> Any:
    status, *values = answer
    if int(status):
        raise RuntimeError(f"CUDA answered {status.name}")
    return values[0] if len(values) == 1 else tuple(values)


def _kind(arg: Any) -> Any:
    if arg is None or isinstance(arg, Tensor):
        return ctypes.c_void_p
    return ctypes.c_float if isinstance(arg, float) else ctypes.c_int


def _three(size: int | Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*((size,) if isinstance(size, int) else size), 1, 1)[:3]
    return x, y, z
