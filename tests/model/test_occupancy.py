"""The head's occupancy grid against the dense formulation of upstream.md 5.8, and the torso's against 5.9."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from r2talker.model.head import FrameCode
from r2talker.model.occupancy import DECAY, DENSITY_THRESHOLD, GRID_SIZE, OccupancyGrid, TorsoOccupancy
from r2talker.model.torso import TorsoOutput
from r2talker.ops.occupancy.op import dilate, morton_decode, morton_encode, unpack_bits
from tests.tolerances import assert_close

CELLS = GRID_SIZE**3
CODE = FrameCode(torch.zeros(1), torch.zeros(()), torch.zeros(4))
Sigma = Callable[[Tensor], Tensor]


class Field:
    """Stands in for a head: density is a function of position; remembers the points that it was asked for."""

    def __init__(self, sigma: Sigma) -> None:
        self.of = sigma
        self.asked: list[Tensor] = []

    def sigma(self, positions: Tensor, frame: FrameCode) -> Tensor:
        assert frame is CODE
        self.asked.append(positions)
        return self.of(positions)

    @property
    def points(self) -> Tensor:
        return torch.cat(self.asked)


def ball(radius: float, inside: float, outside: float = 0.0) -> Sigma:
    return lambda x: torch.where((x - torch.tensor([0.1, 0.0, -0.2])).norm(dim=-1) < radius, inside, outside)


def update(grid: OccupancyGrid, sigma: Sigma, seed: int = 0, **options: int) -> Field:
    field = Field(sigma)
    grid.update(field, CODE, torch.Generator().manual_seed(seed), **options)  # type: ignore[arg-type]
    return field


def occupied(grid: OccupancyGrid) -> Tensor:
    return unpack_bits(grid.bitfield)


def cell_of(points: Tensor) -> Tensor:
    """Where the marcher looks a point up (upstream.md 5.3)."""
    return morton_encode((0.5 * (points + 1) * GRID_SIZE).clamp(0, GRID_SIZE - 1).long())


def assert_bits_follow(grid: OccupancyGrid) -> None:
    threshold = min(float(grid.density.clamp(min=0).double().mean()), DENSITY_THRESHOLD)
    assert_close(occupied(grid), (grid.density > threshold).flatten(), "exact")


@pytest.fixture(scope="module")
def twice() -> tuple[OccupancyGrid, list[Tensor], list[Tensor]]:
    """A whole grid updated under two fields; its density after each, and the points each was asked for."""
    grid, densities, points = OccupancyGrid(), [], []
    for seed, sigma in enumerate((ball(0.5, 30.0, 0.5), ball(0.2, 60.0, 1.0))):
        points.append(update(grid, sigma, seed).points)
        densities.append(grid.density.clone())
    return grid, densities, points


def test_equals_the_dense_formulation(twice: tuple[OccupancyGrid, list[Tensor], list[Tensor]]) -> None:
    grid, densities, points = twice
    expected = torch.zeros(1, CELLS)
    for density, asked, sigma in zip(densities, points, (ball(0.5, 30.0, 0.5), ball(0.2, 60.0, 1.0)), strict=True):
        expected = torch.maximum(DECAY * expected, dilate(sigma(asked)[None]))
        assert_close(density, expected, "occupancy")
    assert_bits_follow(grid)
    assert 0 < occupied(grid).float().mean() < 0.2


def test_every_cell_is_asked_for_at_one_point_spread_over_it(
    twice: tuple[OccupancyGrid, list[Tensor], list[Tensor]],
) -> None:
    for asked in twice[2]:
        assert len(asked) == CELLS
        corner = morton_decode(torch.arange(CELLS)) * (2 / GRID_SIZE) - 1
        within = asked - corner
        assert_close(within.clamp(0, 2 / GRID_SIZE), within, "cell of a jittered point")
        thirds = within.div(2 / GRID_SIZE / 3).long().clamp(0, 2)
        share = torch.bincount(thirds.flatten(), minlength=3) / thirds.numel()
        assert (share - 1 / 3).abs().max() < 0.005
    assert (twice[2][0] != twice[2][1]).any(1).float().mean() > 0.99


def test_threshold_is_capped() -> None:
    grid = OccupancyGrid()
    update(grid, ball(0.7, 500.0, DENSITY_THRESHOLD + 1))
    assert grid.density.mean() > 2 * DENSITY_THRESHOLD
    assert occupied(grid).all()


def possible_ball(grid: OccupancyGrid, radius: float) -> Tensor:
    possible = (grid.centres() - torch.tensor([0.1, 0.0, -0.2])).norm(dim=1) < radius
    grid.restrict(possible)
    return possible


class TestRestricted:
    def test_possible_cells_count_as_occupied_until_the_first_update(self) -> None:
        grid = OccupancyGrid()
        assert occupied(grid).all()
        assert_close(possible_ball(grid, 0.3), occupied(grid), "exact")

    def test_excluded_cells_are_neither_evaluated_nor_occupied(self) -> None:
        grid = OccupancyGrid()
        possible = possible_ball(grid, 0.3)
        for seed in range(3):
            field = update(grid, lambda x: torch.full((len(x),), 1000.0), seed)
            assert len(field.points) == possible.sum()
            assert_close(occupied(grid), possible, "exact")
            assert (grid.density[0, ~possible] == -1).all()

    def test_equals_the_dense_formulation_with_nothing_outside(self) -> None:
        """The threshold is the mean over all cells: a tenth of what it would be over the possible ones."""
        grid = OccupancyGrid()
        possible = possible_ball(grid, 0.3)

        def sigma(x: Tensor) -> Tensor:
            return ball(0.25, 30.0)(x) + torch.where(x[:, 0] > 0.1, 1.0, 0.001)

        fresh = torch.zeros(1, CELLS)
        fresh[0, possible] = sigma(update(grid, sigma).points)
        assert_close(grid.density[0, possible], dilate(fresh)[0, possible], "occupancy")
        assert_bits_follow(grid)
        assert 0 < occupied(grid).sum() < possible.sum()

    @pytest.mark.parametrize("second", [(50, 70), (55, 65)])
    def test_a_second_restriction_is_honoured(self, second: tuple[int, int]) -> None:
        """Cubes of cells, once of equal number; the dilation must not use the first one's neighbours."""
        grid, coords = OccupancyGrid(), morton_decode(torch.arange(CELLS))
        for first, last in ((40, 60), second):
            possible = ((coords >= first) & (coords < last)).all(1)
            grid.restrict(possible)
            fresh = torch.full((1, CELLS), 0.0)
            sigma = ball(0.2, 50.0)
            fresh[0, possible] = sigma(update(grid, sigma).points)
            assert fresh.any()
            assert_close(grid.density[0, possible], dilate(fresh)[0, possible], "occupancy")
            assert (grid.density[0, ~possible] == -1).all()

    def test_nothing_possible_is_nothing_occupied(self) -> None:
        grid = OccupancyGrid()
        grid.restrict(torch.zeros(CELLS, dtype=torch.bool))
        assert not occupied(grid).any()


class TestShare:
    MOST = 6000

    def test_first_update_evaluates_all_and_later_ones_a_share(self) -> None:
        grid = OccupancyGrid()
        possible = int(possible_ball(grid, 0.3).sum())
        assert possible > 3 * self.MOST
        assert len(update(grid, ball(0.25, 40.0), most=self.MOST).points) == possible
        for seed in range(5):
            assert self.MOST / 2 < len(update(grid, ball(0.25, 40.0), seed, most=self.MOST).points) <= self.MOST

    def test_cells_not_evaluated_stay_occupied(self) -> None:
        grid = OccupancyGrid()
        possible_ball(grid, 0.3)
        update(grid, ball(0.25, 40.0))
        before = occupied(grid)
        for seed in range(10):
            update(grid, ball(0.25, 40.0), seed, most=self.MOST)
            assert occupied(grid)[before].all()
            assert_bits_follow(grid)

    def test_every_possible_cell_has_its_turn(self) -> None:
        grid = OccupancyGrid()
        possible = possible_ball(grid, 0.3)
        update(grid, ball(0.25, 40.0))
        seen = torch.zeros(CELLS, dtype=torch.bool)
        for seed in range(40):
            seen[cell_of(update(grid, ball(0.25, 40.0), seed, most=self.MOST).points)] = True
        assert seen[possible].all()

    def test_what_fades_is_kept_for_a_while_and_then_given_up(self) -> None:
        """A small dim ball under the light of a big one, which keeps the threshold at its cap."""
        grid = OccupancyGrid()
        middle = torch.tensor([-0.75, -0.75, -0.75])
        lasting = ball(0.5, 1000.0)

        def dim(x: Tensor) -> Tensor:
            return torch.where((x - middle).norm(dim=-1) < 0.1, 20.0, 0.0)

        grid.restrict(((grid.centres() - middle).norm(dim=1) < 0.05) | (grid.centres().norm(dim=1) < 0.4))
        faded = (grid.density >= 0).flatten() & ((grid.centres() - middle).norm(dim=1) < 0.05)
        update(grid, lambda x: lasting(x) + dim(x))
        for seed in range(13):
            update(grid, lasting, seed)
        assert 20 * DECAY**13 > DENSITY_THRESHOLD > 20 * DECAY**14
        assert occupied(grid)[faded].all()
        update(grid, lasting)
        assert not occupied(grid)[faded].any()


class TestTorso:
    def updated(self, alpha: Callable[[Tensor], Tensor]) -> TorsoOccupancy:
        grid, asked = TorsoOccupancy(), []

        def torso(points: Tensor, pose: Tensor, individual: Tensor) -> TorsoOutput:
            asked.append(points)
            return TorsoOutput(alpha(points)[:, None], points.new_zeros(len(points), 3), torch.zeros_like(points))

        grid.update(torso, torch.zeros(6), torch.zeros(8), torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        assert torch.cat(asked).shape == (GRID_SIZE**2, 2)
        assert torch.cat(asked).abs().max() <= 1
        return grid

    def test_cells_are_stored_transposed_and_dilated_by_two(self) -> None:
        row, column = 100, 20
        low = torch.tensor([row, column]) * 2 / GRID_SIZE - 1
        grid = self.updated(lambda p: ((p > low) & (p < low + 2 / GRID_SIZE)).all(1).float())
        cells = torch.nonzero(grid.alpha).flatten()
        expected = [(b * GRID_SIZE + a) for b in range(column - 2, column + 3) for a in range(row - 2, row + 3)]
        assert cells.tolist() == expected
        assert_close(grid.mean, 25 / GRID_SIZE**2, "geometry")

    def test_covers_what_was_seen_by_row_and_column(self) -> None:
        grid = self.updated(lambda p: ((p[:, 0] > 0.3) & (p[:, 1] < -0.4)).float())
        coords = torch.tensor([[0.9, -0.9], [0.5, -0.6], [-0.9, 0.9], [-0.6, 0.5], [0.9, 0.9], [-0.9, -0.9]])
        assert grid.covers(coords, 0.01).tolist() == [True, True, False, False, False, False]

    def test_the_threshold_is_the_smaller_of_the_given_and_the_mean(self) -> None:
        coords = torch.tensor([[-0.5, 0.0], [0.8, 0.0]])
        dim = self.updated(lambda p: torch.where(p[:, 0] > 0.6, 0.008, 0.0))
        assert dim.mean < 0.003
        assert dim.covers(coords, 0.01).tolist() == [False, True]
        bright = self.updated(lambda p: torch.where(p[:, 0] > 0.6, 1.0, 0.008))
        assert bright.mean > 0.1
        assert bright.covers(coords, 0.01).tolist() == [False, True]
        assert bright.covers(coords, 0.005).tolist() == [True, True]

    def test_opacity_decays_and_never_falls_below_the_newest(self) -> None:
        grid = self.updated(lambda p: torch.full((len(p),), 0.5))

        def torso(points: Tensor, pose: Tensor, individual: Tensor) -> TorsoOutput:
            value = torch.where(points[:, 1] > 0, 0.9, 0.1)[:, None]
            return TorsoOutput(value, points.new_zeros(len(points), 3), torch.zeros_like(points))

        grid.update(torso, torch.zeros(6), torch.zeros(8), torch.Generator())  # type: ignore[arg-type]
        columns = grid.alpha.reshape(GRID_SIZE, GRID_SIZE)
        assert_close(columns[: GRID_SIZE // 2 - 3], torch.full((GRID_SIZE // 2 - 3, GRID_SIZE), 0.5 * DECAY), "occupancy")
        assert_close(columns[GRID_SIZE // 2 :], torch.full((GRID_SIZE // 2, GRID_SIZE), 0.9), "occupancy")
        assert_close(grid.mean, grid.alpha.mean(), "exact")


def test_torso_occupancy_follows_the_pose_given() -> None:
    grid, poses = TorsoOccupancy(), []

    def torso(points: Tensor, pose: Tensor, individual: Tensor) -> TorsoOutput:
        poses.append((pose, individual))
        return TorsoOutput(points.new_ones(len(points), 1), points.new_zeros(len(points), 3), torch.zeros_like(points))

    pose, individual = torch.arange(6.0), torch.arange(8.0)
    grid.update(torso, pose, individual, torch.Generator())  # type: ignore[arg-type]
    assert_close(poses[0][0], pose, "exact")
    assert_close(poses[0][1], individual, "exact")
