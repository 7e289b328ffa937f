"""The mesh renderer against its definition: nearest triangle, linear colours, gradients, light."""

import math

import pytest
import torch
from torch import Tensor

from r2talker.ingest.morphable.render import light_vertices, nearest_triangles, render_mesh
from tests.tolerances import assert_close

SIZE = 24


@pytest.fixture
def scene() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Triangles of all sizes at random places, some of them partly outside or turned away."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(60, 1, 2, generator=generator, dtype=torch.float64) * (SIZE + 8) - 4
    sizes = torch.logspace(-0.5, 1.3, 60, dtype=torch.float64)[:, None, None]
    places = (centres + (torch.rand(60, 3, 2, generator=generator, dtype=torch.float64) - 0.5) * sizes).reshape(-1, 2)
    depth = torch.rand(180, generator=generator, dtype=torch.float64) + 1
    colours = torch.rand(180, 3, generator=generator, dtype=torch.float64) * 200
    return places, depth, colours, torch.arange(180).reshape(60, 3)


def brute_force(places: Tensor, depth: Tensor, triangles: Tensor) -> Tensor:
    """Every triangle at every pixel centre, by signed areas."""
    seen, nearest = torch.full((SIZE, SIZE), -1), torch.full((SIZE, SIZE), math.inf, dtype=depth.dtype)
    for row in range(SIZE):
        for column in range(SIZE):
            p = torch.tensor([column + 0.5, row + 0.5], dtype=places.dtype)
            for k, triangle in enumerate(triangles):
                a, b, c = places[triangle]
                matrix = torch.stack([torch.cat([corner, torch.ones(1, dtype=p.dtype)]) for corner in (a, b, c)], 1)
                weights = torch.linalg.solve(matrix, torch.cat([p, torch.ones(1, dtype=p.dtype)]))
                z = weights @ depth[triangle]
                if (weights >= 0).all() and z < nearest[row, column]:
                    seen[row, column], nearest[row, column] = k, z
    return seen


def test_the_nearest_triangle_is_seen(scene: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    places, depth, _, triangles = scene
    found = nearest_triangles(places, depth, triangles, SIZE)
    assert torch.equal(found, brute_force(places, depth, triangles))
    assert len(found.unique()) > 10


def test_what_is_behind_the_camera_or_without_area_is_not_seen() -> None:
    places = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0], [5.0, 5.0], [5.0, 5.0], [5.0, 5.0]])
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert (nearest_triangles(places, torch.ones(6), triangles, SIZE) <= 0).all()
    assert (nearest_triangles(places, -torch.ones(6), triangles, SIZE) == -1).all()


def test_colours_are_linear_inside() -> None:
    places = torch.tensor([[[-3.0, -2.0], [60.0, 1.0], [2.0, 70.0]]])
    colours = torch.cat([places, torch.full((1, 3, 1), 7.0)], -1)
    shown, inside = render_mesh(places, torch.ones(1, 3), colours, torch.tensor([[0, 1, 2]]), SIZE)
    assert inside.float().mean() > 0.9
    row, column = (inside[0].nonzero().float() + 0.5).unbind(-1)
    assert_close(shown[0][inside[0]], torch.stack([column, row, torch.full_like(row, 7)], -1), "rendered colour")
    assert (shown[~inside] == 0).all()


def test_gradients_reach_places_and_colours() -> None:
    """Inside one triangle the picture is smooth in everything."""
    generator = torch.Generator().manual_seed(1)
    places = torch.tensor([[[-40.0, -30.0], [90.0, -20.0], [10.0, 120.0]]], dtype=torch.float64, requires_grad=True)
    colours = (torch.rand(1, 3, 3, generator=generator, dtype=torch.float64) * 100 + 50).requires_grad_(True)

    def picture(places: Tensor, colours: Tensor) -> Tensor:
        return render_mesh(places, torch.ones(1, 3, dtype=torch.float64), colours, torch.tensor([[0, 1, 2]]), 4)[0]

    assert torch.autograd.gradcheck(picture, (places, colours))


def test_plain_light_is_the_ambient_one() -> None:
    colours, normals = torch.rand(5, 3) * 255, torch.nn.functional.normalize(torch.randn(2, 5, 3), dim=-1)
    lit = light_vertices(colours, normals, torch.zeros(2, 27))
    assert_close(lit, (0.8 * math.pi / math.sqrt(4 * math.pi) * colours).expand(2, 5, 3), "rendered colour")


@pytest.mark.parametrize(("coefficient", "direction"), [(1, (0, -1, 0)), (2, (0, 0, 1)), (3, (-1, 0, 0))])
def test_directed_light_falls_from_its_side(coefficient: int, direction: tuple[float, float, float]) -> None:
    light = torch.zeros(1, 27)
    light[0, coefficient] = 1  # the red channel's
    normals = torch.tensor([direction, tuple(-value for value in direction)], dtype=torch.float32)[None]
    lit = light_vertices(torch.ones(2, 3), normals, light)[0]
    difference = 2 * (2 * math.pi / math.sqrt(3)) * math.sqrt(3) / math.sqrt(4 * math.pi)
    assert_close(lit[0] - lit[1], [difference, 0, 0], "rendered colour")
