"""Pickled arrays give their values and execute nothing."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r2talker.data.foreign.pickles import read_object_npy
from r2talker.errors import R2TalkerError

CONTENT: dict[str, Any] = {
    "single": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "text": np.array(["ab", "c"]),
    "truth": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "strided": np.arange(8)[::2],
    "objects": np.array([1, "x", None], object),
    "samples": [{"idx": 3, "name": "x.jpg", "number": np.float32(2.5), "rect": np.array([1, 2, 3, 4])}, (1, 2.5, b"raw", True)],
}


def write(path: Path, value: object, protocol: int) -> Path:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
        stream.write(pickle.dumps(np.array(value, object), protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_come_back(tmp_path: Path, protocol: int) -> None:
    found = read_object_npy(write(tmp_path / "a.npy", CONTENT, protocol))
    assert found.keys() == CONTENT.keys()
    for name, value in CONTENT.items():
        if name != "samples":
            assert type(found[name]) is np.ndarray
            assert found[name].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
            assert found[name].shape == value.shape
            assert (found[name] == value).all()
    sample, others = found["samples"]
    assert (sample["idx"], sample["name"], sample["number"]) == (3, "x.jpg", 2.5)
    assert sample["rect"].tolist() == [1, 2, 3, 4]
    assert others == (1, 2.5, b"raw", True)


def test_what_numpy_itself_saves(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", {"a": np.ones(3)}, allow_pickle=True)  # type: ignore[arg-type]
    assert read_object_npy(tmp_path / "a.npy")["a"].tolist() == [1, 1, 1]


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {}",)),
        (eval, ("open('{}', 'w')",)),
        (exec, ("open('{}', 'w')",)),
        (getattr, ("x", "upper")),
        (open, ("{}", "w")),
        (np.fromfile, ("{}",)),
        (np.load, ("{}",)),
        (bytes, (3,)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_calls_are_refused(tmp_path: Path, function: Any, arguments: tuple[str, ...], protocol: int) -> None:
    made = tmp_path / "made"
    given = [value.format(made) if isinstance(value, str) else value for value in arguments]
    path = write(tmp_path / "a.npy", {"a": Call(function, *given)}, protocol)
    with pytest.raises(R2TalkerError, match=r"a\.npy .*it was not opened"):
        read_object_npy(path)
    assert not made.exists()


def test_codecs_are_refused(tmp_path: Path) -> None:
    import _codecs

    path = write(tmp_path / "a.npy", {"a": Call(_codecs.encode, "x", "rot13")}, 2)
    with pytest.raises(R2TalkerError, match="codec 'rot13'"):
        read_object_npy(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"hello"])
def test_damage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(R2TalkerError, match=r"a\.npy"):
        read_object_npy(tmp_path / "a.npy")


def test_a_cut_pickle_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", CONTENT, 4)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(R2TalkerError, match="damaged"):
        read_object_npy(path)


def test_plain_arrays_and_missing_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(R2TalkerError, match="expected one pickled dict"):
        read_object_npy(tmp_path / "a.npy")
    with pytest.raises(R2TalkerError, match="cannot read"):
        read_object_npy(tmp_path / "b.npy")
