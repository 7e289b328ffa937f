"""Morton order, bits, dilation, cell centres."""

import pytest
import torch

from r2talker.ops.occupancy.op import cell_centres, dilate, morton_decode, morton_encode, pack_bits, unpack_bits
from tests.golden.regenerate import golden, occupancy
from tests.tolerances import assert_close


def test_morton_golden() -> None:
    coords = torch.from_numpy(golden("ops")["morton/coords"])
    assert_close(morton_encode(coords), golden("ops")["morton/index"], "exact")
    assert_close(morton_decode(torch.from_numpy(golden("ops")["morton/index"])), coords, "exact")


def test_morton_is_a_bijection() -> None:
    index = torch.arange(32**3)
    coords = morton_decode(index)
    assert coords.max() == 31
    assert_close(morton_encode(coords), index, "exact")
    assert morton_encode(torch.tensor([1023, 1023, 1023])) == 2**30 - 1


def test_bits_golden() -> None:
    density = torch.from_numpy(occupancy().density)
    bits = pack_bits(density, 10.0)
    assert_close(bits, golden("ops")["occupancy/bitfield"], "exact")
    assert unpack_bits(bits).sum() == golden("ops")["occupancy/count"]


def test_bits_round_trip_and_threshold_is_strict() -> None:
    grid = torch.rand(2, 64, generator=torch.Generator().manual_seed(0))
    threshold = grid[0, 3]
    assert_close(unpack_bits(pack_bits(grid, threshold)), (grid > threshold).reshape(-1), "exact")
    with pytest.raises(ValueError, match="multiple of 8"):
        pack_bits(grid[:, :3], 0.5)


def test_dilation_reaches_face_neighbours_and_stays_inside() -> None:
    grid = torch.full((2, 8**3), -1.0)
    grid[0, morton_encode(torch.tensor([0, 4, 7]))] = 5.0
    spread = dilate(grid)
    reached = morton_decode(torch.nonzero(spread[0] == 5.0).squeeze(1)).tolist()
    assert sorted(reached) == [[0, 3, 7], [0, 4, 6], [0, 4, 7], [0, 5, 7], [1, 4, 7]]
    assert (spread[1] == -1).all()
    assert (grid[0] == 5).sum() == 1


def test_centres_run_from_corner_to_corner_in_morton_order() -> None:
    centres = cell_centres(8)
    assert centres[0].tolist() == [-1, -1, -1]
    assert centres[-1].tolist() == [1, 1, 1]
    assert_close(centres[1], torch.tensor([2 / 7 - 1, -1, -1]), "geometry")
