"""A lit mesh as pictures, in plain torch on any device, with gradients to shape, pose, colour and light.

The reference blurs triangle edges by a ten-thousandth of the picture (upstream.md 8.2), which is no blur: here the nearest triangle
of a pixel is found without gradients, and colours are interpolated inside it with them.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from r2talker.ingest.morphable.model import MorphableModel

LIGHTS = 27
_A = (math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8))
_C = (1 / math.sqrt(4 * math.pi), math.sqrt(3) / math.sqrt(4 * math.pi), 3 * math.sqrt(5) / math.sqrt(12 * math.pi))
_D0 = 0.5 / math.sqrt(3)
_AMBIENT = 0.8
# Candidate pixels looked at in one go.
_AT_ONCE = 1 << 22


def light_vertices(
    colours: Float[Tensor, "vertices 3"], normals: Float[Tensor, "frames vertices 3"], light: Float[Tensor, "frames 27"]
) -> Float[Tensor, "frames vertices 3"]:
    """Colours under spherical harmonics of degree 2, nine coefficients per channel (upstream.md 8.2)."""
    x, y, z = normals.unbind(-1)
    first, second = _A[1] * _C[1], _A[2] * _C[2]
    harmonics = torch.stack(
        [
            torch.full_like(x, _A[0] * _C[0]), -first * y, first * z, -first * x,
            second * x * y, -second * y * z, second * _D0 * (3 * z * z - 1), -second * x * z, 0.5 * second * (x * x - y * y),
        ],
        dim=-1,
    )  # fmt: skip
    coefficients = light.unflatten(1, (3, 9))
    offset = torch.zeros_like(coefficients)
    offset[..., 0] = _AMBIENT
    return colours * (harmonics @ (coefficients + offset).transpose(1, 2))


def vertex_normals(model: MorphableModel, vertices: Float[Tensor, "frames vertices 3"]) -> Float[Tensor, "frames vertices 3"]:
    """Normalised sum of the unit normals of each vertex' eight listed triangles."""
    a, b, c = (vertices[:, model.triangles[:, corner]] for corner in range(3))
    faces = torch.nn.functional.normalize(torch.cross(b - a, c - a, dim=-1), dim=-1)
    return torch.nn.functional.normalize(faces[:, model.vertex_triangles].sum(2), dim=-1)


def render_mesh(
    places: Float[Tensor, "frames vertices 2"],
    depth: Float[Tensor, "frames vertices"],
    colours: Float[Tensor, "frames vertices 3"],
    triangles: Int[Tensor, "triangles 3"],
    size: int,
) -> tuple[Float[Tensor, "frames size size 3"], Bool[Tensor, "frames size size"]]:
    """Pictures (0 to 255, black outside) and where the mesh is.

    places: (column, row) in pixels, centres at +0.5. depth: distance from the camera; the nearest triangle is seen.
    """
    frames = len(places)
    with torch.no_grad():
        face = torch.stack([nearest_triangles(places[k], depth[k], triangles, size) for k in range(frames)])
    inside = face >= 0
    frame, row, column = inside.nonzero(as_tuple=True)
    corners = triangles[face[inside]]
    weights = _barycentric(places[frame[:, None], corners], torch.stack([column, row], -1).to(places) + 0.5)
    shown = (weights[..., None] * colours[frame[:, None], corners]).sum(1).clamp(0, 255)
    pictures = torch.zeros(frames, size, size, 3, dtype=colours.dtype, device=colours.device)
    return pictures.index_put((frame, row, column), shown), inside


def nearest_triangles(
    places: Float[Tensor, "vertices 2"], depth: Float[Tensor, " vertices"], triangles: Int[Tensor, "triangles 3"], size: int
) -> Int[Tensor, "size size"]:
    """Number of the triangle that each pixel centre sees, -1 for none."""
    corners = places[triangles]
    first = (corners.amin(1) - 0.5).ceil().clamp(min=0).long()
    last = (corners.amax(1) - 0.5).floor().clamp(max=size - 1).long()
    extent = (last - first + 1).amax(1)
    visible = (last >= first).all(1) & (depth[triangles] > 0).all(1)
    nearest = torch.full((size * size,), torch.inf, dtype=depth.dtype, device=depth.device)
    found = []
    side = 1
    # Triangles of like size together: their boxes are looked at pixel by pixel.
    while side < 2 * size:
        group = (visible & (extent <= side) & (extent > side // 2)).nonzero()[:, 0]
        for part in group.split(max(1, _AT_ONCE // side**2)):
            pixel, face, z = _cover(corners, depth, triangles, first, part, side, size)
            nearest.scatter_reduce_(0, pixel, z, "amin")
            found.append((pixel, face, z))
        side *= 2
    seen = torch.full((size * size,), -1, dtype=torch.long, device=depth.device)
    for pixel, face, z in found:
        front = z == nearest[pixel]
        seen[pixel[front]] = face[front]
    return seen.reshape(size, size)


def _cover(
    corners: Float[Tensor, "triangles 3 2"],
    depth: Float[Tensor, " vertices"],
    triangles: Int[Tensor, "triangles 3"],
    first: Int[Tensor, "triangles 2"],
    part: Int[Tensor, " part"],
    side: int,
    size: int,
) -> tuple[Int[Tensor, " hits"], Int[Tensor, " hits"], Float[Tensor, " hits"]]:
    """Pixels inside the triangles `part`, whose boxes are at most `side` pixels wide and high: pixel, triangle, depth."""
    steps = torch.arange(side, device=first.device)
    columns = (first[part, 0, None, None] + steps[None, None]).expand(-1, side, -1).flatten(1)
    rows = (first[part, 1, None, None] + steps[None, :, None]).expand(-1, -1, side).flatten(1)
    points = torch.stack([columns, rows], -1).to(corners) + 0.5
    weights = _barycentric(corners[part][:, None].expand(-1, side * side, -1, -1), points)
    hit = (weights >= 0).all(-1) & (columns < size) & (rows < size)
    z = (weights * depth[triangles[part]][:, None]).sum(-1)
    which = part[:, None].expand_as(columns)
    return (rows * size + columns)[hit], which[hit], z[hit]


def _barycentric(corners: Float[Tensor, "*points 3 2"], points: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points 3"]:
    """Weights of the three corners; of a triangle without area -1, so that no point lies in it."""
    a, b, c = corners.unbind(-2)
    area = _cross(b - a, c - a)
    flat = area.abs() < 1e-12
    area = torch.where(flat, torch.ones_like(area), area)
    first, second = _cross(b - points, c - points) / area, _cross(c - points, a - points) / area
    weights = torch.stack([first, second, 1 - first - second], -1)
    return torch.where(flat[..., None], -torch.ones_like(weights), weights)


def _cross(a: Float[Tensor, "*points 2"], b: Float[Tensor, "*points 2"]) -> Float[Tensor, "*points"]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
