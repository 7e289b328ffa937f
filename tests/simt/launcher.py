"""Runs CUDA C++ kernels without a GPU: g++ compiles their source against `simt.h`, ctypes launches them on the host.

    kernels = compile_source(source, {"LEVELS": 16})
    kernels.launch("encode", grid=(8, 1), block=256, args=[points, table, 8 * 256], shared_bytes=1024)

`source` is what NVRTC gets, without includes. Arguments are checked against the kernel's parameters: CPU tensors or NumPy arrays for
pointers (`None` is null), numbers for numbers, `bytes` or a ctypes structure for structures. Kernels are found by `__global__`;
instances of templates are named with `kernels=["scale<4>"]`. Only where the two compilers differ does a source ask for
`SIMT_EMULATOR`; dynamic shared memory is declared `DYNAMIC_SHARED(type, name);`.

Blocks run one after the other, the threads of a block take turns at collectives and barriers, lowest thread first, or with
`reverse=True` highest first: a result that differs between the two is a race. Shared memory begins as 0xff bytes, and
asynchronous copies arrive at the wait for their group. SimtError, with the place and the thread, comes of a deadlock, `__trap()`,
undefined behaviour (misaligned vectors, indices outside arrays, signed overflow); unless `check_memory=False`, of a read or
write outside every tensor given; unless `check_races=False`, of shared memory used by two threads with no `__syncthreads` or
`__syncwarp` between. Not covered: races in global memory and blocks that wait
for each other; a loop that waits for another thread must contain atomicCAS or __nanosleep. `__shared__` takes `__align__`, not
`alignas`.
"""

import ctypes
import functools
import getpass
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = Path(__file__).with_name("simt.h")
SHARED = HEADER.with_name("shared.ld")
UNDEFINED = "alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero,null,bool,return,unreachable,vla-bound"
FLAGS = ["-std=c++17", "-O1", "-g1", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing", "-fvisibility=hidden"]
FLAGS += ["-fno-gnu-unique", "-fno-exceptions", "-fno-stack-protector", "-Wall", "-Wno-unknown-pragmas"]
FLAGS += ["-Wno-unused-function", "-Wno-unused-variable", "-Wno-unused-but-set-variable"]
# Calls a function at every access, which `checks.h` defines.
MEMORY = ["-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0", "-DSIMT_CHECK_MEMORY"]
MAX_SHARED = 256 * 1024
SCALARS: dict[str, Any] = {
    "f4": ctypes.c_float,
    "f8": ctypes.c_double,
    **{f"i{size}": getattr(ctypes, f"c_int{8 * size}") for size in (1, 2, 4, 8)},
    **{f"u{size}": getattr(ctypes, f"c_uint{8 * size}") for size in (1, 2, 4, 8)},
}


class SimtError(RuntimeError):
    """A kernel did not compile, was launched with wrong arguments, or did something wrong; the message says what and where."""


class _Region(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64))


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_uint64),
        ("reverse", ctypes.c_int),
        ("regions", ctypes.POINTER(_Region)),
        ("region_count", ctypes.c_uint64),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
    )


def find_compiler() -> str | None:
    """Path of the C++ compiler, or None: `$CXX`, else g++."""
    return shutil.which(os.environ.get("CXX", "g++"))


@dataclass(frozen=True)
class Kernels:
    """Compiled kernels: the library, and by name each kernel's number in it and its parameters' kinds and sizes."""

    library: ctypes.CDLL
    numbers: dict[str, int]
    parameters: dict[str, tuple[str, ...]]

    def launch(
        self,
        kernel_name: str,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        args: Sequence[Any],
        shared_bytes: int = 0,
        *,
        reverse: bool = False,
        buffers: Sequence[Any] = (),
    ) -> None:
        """Run every block of `grid`; `buffers` are tensors that the kernel reaches through pointers inside structures."""
        if kernel_name not in self.numbers:
            raise SimtError(f"no kernel {kernel_name}: there are {', '.join(self.numbers) or 'none'}")
        grid, block = _dimensions(grid), _dimensions(block)
        threads = block[0] * block[1] * block[2]
        if min(*grid, *block) < 1 or threads > 1024:
            raise SimtError(f"{kernel_name}: grid {grid} of blocks {block}: wanted at least 1 each and at most 1024 threads")
        if not 0 <= shared_bytes <= MAX_SHARED:
            raise SimtError(f"{kernel_name}: {shared_bytes} bytes of shared memory: at most {MAX_SHARED}")
        kinds = self.parameters[kernel_name]
        if len(args) != len(kinds):
            raise SimtError(f"{kernel_name}: {len(args)} arguments, {len(kinds)} parameters ({' '.join(kinds)})")
        values = [_converted(f"{kernel_name}, argument {i}", k, a) for i, (k, a) in enumerate(zip(kinds, args, strict=True))]
        extents = [extent for extent in map(_extent, [*args, *buffers]) if extent]
        regions = (_Region * max(len(extents), 1))(*(_Region(*extent) for extent in extents))
        pointers = (ctypes.c_void_p * max(len(values), 1))(*(ctypes.addressof(value) for value in values))
        how = _Launch(grid, block, shared_bytes, reverse, regions, len(extents), pointers)
        function = getattr(self.library, f"simt_launch_{self.numbers[kernel_name]}")
        message = function(ctypes.byref(how))
        if message:
            raise SimtError(f"{kernel_name}: {message.decode()}")


def compile_source(
    source: str,
    defines: Mapping[str, object] | None = None,
    *,
    kernels: Sequence[str] | None = None,
    check_memory: bool = True,
    check_races: bool = True,
    flags: Sequence[str] = (),
) -> Kernels:
    """Compile with `-D` macros, or take what an earlier run compiled; `flags` are added to the compiler's."""
    compiler = find_compiler()
    if compiler is None:
        raise SimtError("no C++ compiler: install g++ or set CXX")
    names = tuple(kernels) if kernels is not None else kernel_names(source)
    exports = "\n".join(f"SIMT_EXPORT({number}, {name})" for number, name in enumerate(names))
    text = f'#include "{HEADER}"\n#line 1 "kernel.cu"\n{source}\n#line 1 "exports"\n{exports}\n'
    macros = [f"-D{name}={value}" for name, value in (defines or {}).items()]
    options = [*FLAGS, *_processor_flags(), f"-fsanitize={UNDEFINED}", *macros, *flags]
    if check_memory:
        options += [*MEMORY, *(["-DSIMT_CHECK_RACES"] if check_races else [])]
    library = _load(_build(compiler, text, tuple(options)))
    parameters = {}
    for number, name in enumerate(names):
        describe = getattr(library, f"simt_describe_{number}")
        describe.restype = getattr(library, f"simt_launch_{number}").restype = ctypes.c_char_p
        parameters[name] = tuple(describe().decode().split())
    return Kernels(library, {name: number for number, name in enumerate(names)}, parameters)


def kernel_names(source: str) -> tuple[str, ...]:
    """Kernels of a source that are no templates, in order; also those that its macros leave out."""
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", "", source, flags=re.DOTALL)
    bare = re.sub(r"__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)", "", bare)
    found = re.finditer(r"(template\s*<[^{};()]*>\s*)?(?:extern\s+\"C\"\s+)?__global__\s+(?:static\s+)?void\s+(\w+)\s*\(", bare)
    return tuple(dict.fromkeys(match[2] for match in found if not match[1]))


@functools.cache
def _processor_flags() -> tuple[str, ...]:
    """Instructions for half conversion and fused multiplication where the processor has them; results do not depend on it."""
    try:
        words = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return ()
    return tuple(flag for word, flag in (("f16c", "-mf16c"), ("fma", "-mfma")) if word in words)


@functools.cache
def _header_text() -> str:
    return "".join(path.read_text() for path in [*sorted(HEADER.parent.glob("*.h")), SHARED])


def _build(compiler: str, text: str, options: tuple[str, ...]) -> Path:
    """Path of the library, named by everything that went into it."""
    folder = Path(tempfile.gettempdir()) / f"r2talker-simt-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    key = hashlib.sha256("\0".join([compiler, *options, _header_text(), text]).encode()).hexdigest()[:24]
    library = folder / f"{key}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory(dir=folder) as work:
        source, compiled, linked = (Path(work) / name for name in ("kernel.cpp", "kernel.o", "kernel.so"))
        source.write_text(text)
        # Two steps: linking without the sanitizer options leaves their run time out, simt.h has its own.
        _call([compiler, *options, "-c", str(source), "-o", str(compiled)])
        _call([compiler, "-shared", "-Wl,-Bsymbolic,-z,defs", f"-Wl,-T,{SHARED}", str(compiled), "-o", str(linked)])
        linked.replace(library)
    return library


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SimtError(f"the kernels do not compile:\n{done.stderr[:6000]}")


@functools.cache
def _load(library: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(library))


def _dimensions(size: int | Sequence[int]) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    x, y, z = (*sizes, 1, 1, 1)[:3]
    return x, y, z


def _extent(arg: Any) -> tuple[int, int] | None:
    """First and last-plus-one address of a tensor or array."""
    if hasattr(arg, "data_ptr"):
        if not arg.numel():
            return None
        last = sum((size - 1) * stride for size, stride in zip(arg.shape, arg.stride(), strict=True))
        return arg.data_ptr(), arg.data_ptr() + (last + 1) * arg.element_size()
    if hasattr(arg, "__array_interface__"):
        begin = arg.__array_interface__["data"][0]
        return begin, begin + arg.nbytes
    return None


def _converted(what: str, kind: str, arg: Any) -> Any:
    """The argument as a ctypes value of the parameter's kind and size."""
    letter, size = kind[0], int(kind[1:])
    if letter == "p":
        if hasattr(arg, "data_ptr"):
            if arg.device.type != "cpu":
                raise SimtError(f"{what}: a tensor on {arg.device}: wanted one on the CPU")
            return ctypes.c_uint64(arg.data_ptr())
        if hasattr(arg, "__array_interface__"):
            return ctypes.c_uint64(arg.__array_interface__["data"][0])
        if arg is None or isinstance(arg, int):
            return ctypes.c_uint64(arg or 0)
        raise SimtError(f"{what}: {type(arg).__name__}: wanted a tensor, an array, an address or None")
    if letter == "s":
        data = bytes(arg) if isinstance(arg, bytes | bytearray | ctypes.Structure) else b""
        if len(data) != size:
            raise SimtError(f"{what}: {type(arg).__name__} of {len(data)} bytes: wanted a structure of {size}")
        return ctypes.create_string_buffer(data, size)
    if letter == "f":
        return SCALARS[kind](arg)
    value = SCALARS[kind](int(arg))
    if value.value != arg:
        raise SimtError(f"{what}: {arg}: wanted {'a signed' if letter == 'i' else 'an unsigned'} integer of {size} bytes")
    return value
