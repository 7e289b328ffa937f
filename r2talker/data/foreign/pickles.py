"""Reads pickled NumPy objects without executing what a pickle says: only plain values and arrays come out.

An object array's file is a pickle, and a pickle may call anything. Here the few callables that NumPy's own arrays need are
replaced by functions of this file that check their arguments, and every other name is refused.
"""

import io
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy

from r2talker.errors import R2TalkerError

_PLAIN_KINDS = "?biufcSU"


class _Array(np.ndarray[Any, Any]):
    """What `_reconstruct` makes; takes only states without objects that are no plain values."""

    def __setstate__(self, state: Any) -> None:
        dtype = state[2]
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array without a type")
        shape, content = tuple(int(n) for n in state[1]), state[4]
        if dtype.name == "O":
            own: Any = (1, shape, np.dtype(object), bool(state[3]), list(content))
        else:
            raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
            own = (1, shape, dtype.numpy(), bool(state[3]), raw)
        super().__setstate__(own)


class _Dtype:
    """A NumPy type by name; numbers, text and objects only."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = str(name).lstrip("<>|=")
        self.order: Literal["<", ">", "="] = "="
        if self.name in ("O8", "O4", "object"):
            self.name = "O"
        if self.name != "O" and np.dtype(self.name).kind not in _PLAIN_KINDS:
            raise pickle.UnpicklingError(f"an array of type {name}")

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.name).newbyteorder(self.order)


def _reconstruct(*_: Any) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), np.uint8)


def _scalar(dtype: Any, content: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype) or dtype.name == "O":
        raise pickle.UnpicklingError("a number without a type")
    raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
    return np.frombuffer(raw, dtype.numpy(), 1)[0]


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    """How old pickles write bytes; other codecs are refused."""
    if not isinstance(text, str) or codec != "latin1":
        raise pickle.UnpicklingError(f"the codec {codec!r}")
    return text.encode("latin1")


def _bytes(*content: Any) -> bytes:
    """How old pickles write empty bytes."""
    if content:
        raise pickle.UnpicklingError("bytes of something")
    return b""


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """How NumPy pickles arrays by protocol 5."""
    if not isinstance(dtype, _Dtype) or dtype.name == "O" or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array without a type")
    return np.frombuffer(bytes(content), dtype.numpy()).reshape(tuple(shape), order=order)


_INSTEAD: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
_INSTEAD |= {("builtins", "bytes"): _bytes, ("__builtin__", "bytes"): _bytes}
for _module in ("numpy.core", "numpy._core"):
    _INSTEAD[f"{_module}.multiarray", "_reconstruct"] = _reconstruct
    _INSTEAD[f"{_module}.multiarray", "scalar"] = _scalar
    _INSTEAD[f"{_module}.numeric", "_frombuffer"] = _frombuffer


class _Reader(pickle.Unpickler):
    """An unpickler that knows no names but those above."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _INSTEAD[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")


def read_object_npy(path: Path) -> Any:
    """The one object of a .npy that holds a 0-d object array, such as GeneFace's `trainval_dataset.npy` (upstream.md 1.5).

    Raises R2TalkerError when the file is missing, damaged, or holds anything but numbers, texts, lists, tuples, dicts and arrays.
    """
    try:
        with path.open("rb") as stream:
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = header(stream)
            if not dtype.hasobject or shape != ():
                raise R2TalkerError(f"{path} holds an array of {dtype} {list(shape)}; expected one pickled dict")
            value = _Reader(io.BytesIO(stream.read())).load()
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except R2TalkerError:
        raise
    except Exception as error:
        # A damaged or hostile pickle fails in as many ways as there are; none of them has run anything.
        raise R2TalkerError(f"{path} is damaged or holds more than plain values ({error}); it was not opened") from error
    return _plain(value.reshape(-1)[0] if isinstance(value, np.ndarray) else value)


def _plain(value: Any) -> Any:
    """The same value with plain arrays in place of this file's subclass."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return np.array(value) if isinstance(value, np.ndarray) else value
