"""No vector of `ops.npz` is forgotten: the tests of the operations, run with a reader that takes notes, read all of them.

The files of the methods need no such test: `test_models.py` runs over their own lists of arrays.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from tests.golden.regenerate import golden, op_inputs
from tests.ops import test_composite, test_encodings, test_geometry, test_grid_encode, test_march_rays, test_occupancy


class Notes(Mapping[str, np.ndarray]):
    """The arrays of a file; remembers which were asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> np.ndarray:
        self.read.add(key)
        return self.arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def test_every_array_of_the_operations_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes(golden("ops"))
    for module in (test_composite, test_encodings, test_geometry, test_grid_encode, test_march_rays, test_occupancy):
        monkeypatch.setattr(module, "golden", lambda name: notes if name == "ops" else golden(name))
    for grid in test_grid_encode.GRIDS:
        test_grid_encode.test_golden(grid, "bags")
    for octaves, name in ((10, "freq_2d_10"), (4, "freq_6d_4")):
        test_encodings.test_freq_golden(name, octaves)
    for max_steps in (16, 64, 256):
        test_march_rays.test_golden(max_steps, "compiled")
    test_encodings.test_sh_golden()
    test_composite.test_golden("compiled")
    test_geometry.test_rays_golden()
    test_geometry.test_aabb_golden()
    test_geometry.test_pose_vector_golden("r2talker")
    test_occupancy.test_morton_golden()
    test_occupancy.test_bits_golden()
    # Camera and intrinsics are compared with their recipe in test_regenerate.py, which reads them from the same file.
    by_recipe = {"rays/intrinsics"}
    assert notes.read | by_recipe == set(golden("ops"))
    assert set(op_inputs()) <= notes.read
