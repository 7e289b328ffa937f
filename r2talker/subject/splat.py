"""Drawing without a rasteriser: surfaces as dense texels, a depth buffer, and an average over what is in front.

A patch is a coarse grid of points. Positions and light are computed on the grid and enlarged to the dense texels by
OpenCV's bilinear resize, so nearly all work per picture is a few passes over flat arrays.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

SUPERSAMPLING = 2
# Texels this close (metres) behind the nearest one still count: they belong to the same surface.
SURFACE_THICKNESS = 0.0008

Grid = Float[ndarray, "rows columns 3"]


@dataclass(frozen=True)
class Texture:
    """The fixed part of a patch: how finely it is enlarged, which texels exist, and their look.

    keep: row-major indices into the enlarged grid. albedo: linear RGB. gloss: strength of the highlight.
    """

    factor: int
    keep: Int[ndarray, " texels"]
    albedo: Float[ndarray, "texels 3"]
    gloss: Float[ndarray, " texels"]


@dataclass(frozen=True)
class Drawn:
    """A layer: linear RGB multiplied by alpha, and alpha, at the picture's size."""

    rgb: Float[ndarray, "height width 3"]
    alpha: Float[ndarray, "height width"]


def enlarge(
    grid: Float[ndarray, "rows columns *channels"], factor: int
) -> Float[ndarray, "dense_rows dense_columns *channels"]:
    """Bilinear enlargement by a whole factor."""
    return cv2.resize(grid, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)


def choose_factor(spacing: float, focal: float) -> int:
    """Enlargement at which texels of a grid with the given spacing (metres) leave no holes one metre from the camera."""
    return max(1, math.ceil(1.6 * spacing * focal * SUPERSAMPLING))


def normals(grid: Grid) -> Grid:
    """Unit normals; they face the viewer when columns run to the right and rows run upwards in the picture."""
    padded = np.pad(grid, ((1, 1), (1, 1), (0, 0)), mode="edge")
    along = padded[1:-1, 2:] - padded[1:-1, :-2]
    up = padded[2:, 1:-1] - padded[:-2, 1:-1]
    cross = np.stack(
        [
            along[..., 1] * up[..., 2] - along[..., 2] * up[..., 1],
            along[..., 2] * up[..., 0] - along[..., 0] * up[..., 2],
            along[..., 0] * up[..., 1] - along[..., 1] * up[..., 0],
        ],
        -1,
    )
    return cross / np.maximum(np.sqrt(np.einsum("ijk,ijk->ij", cross, cross)), 1e-12)[..., None]


@dataclass(frozen=True)
class _Patch:
    cells: Int[ndarray, " texels"]
    depths: Float[ndarray, " texels"]
    light: Float[ndarray, "4 rows columns"]
    texture: Texture


class Canvas:
    """Collects the patches of one layer, then resolves them into a picture."""

    def __init__(self, size: int, focal: float) -> None:
        self.size = size
        self.side = size * SUPERSAMPLING
        self.focal = focal * SUPERSAMPLING
        self._patches: list[_Patch] = []

    def add(self, camera_points: Grid, light: Grid, highlight: Float[ndarray, "rows columns"], texture: Texture) -> None:
        """Draw a patch whose points are in camera space (x right, y up, looking along -z)."""
        depth = -camera_points[..., 2]
        scale = self.focal / depth
        column = self._texels(self.side / 2 + scale * camera_points[..., 0], texture, texture.keep)
        row = self._texels(self.side / 2 - scale * camera_points[..., 1], texture, texture.keep)
        inside = (column >= 0) & (row >= 0) & (column < self.side) & (row < self.side)
        # One cell more than the picture has collects everything outside of it.
        cells = np.where(inside, row.astype(np.int32) * self.side + column.astype(np.int32), self.side * self.side)
        depths = self._texels(depth, texture, texture.keep)
        self._patches.append(_Patch(cells, depths, np.stack([*np.moveaxis(light, -1, 0), highlight]), texture))

    def resolve(self) -> Drawn:
        """The layer's picture: nearest texels averaged per cell, small holes closed, cells averaged per pixel."""
        nearest = np.full(self.side * self.side + 1, np.inf, np.float32)
        for patch in self._patches:
            np.minimum.at(nearest, patch.cells, patch.depths)
        nearest[-1] = -np.inf
        nearest += SURFACE_THICKNESS
        cells, colours = [], []
        for patch in self._patches:
            front = np.flatnonzero(patch.depths <= nearest[patch.cells])
            cells.append(patch.cells[front])
            colours.append(self._colour(patch, front))
        all_cells, all_colours = np.concatenate(cells), np.concatenate(colours, 1)
        sums = [np.bincount(all_cells, weights, self.side * self.side) for weights in (*all_colours, None)]
        return self._to_pixels(_close_holes(np.stack(sums, -1).astype(np.float32).reshape(self.side, self.side, 4)))

    def _texels(
        self, grid: Float[ndarray, "rows columns"], texture: Texture, which: Int[ndarray, " chosen"]
    ) -> Float[ndarray, " chosen"]:
        return enlarge(grid.astype(np.float32, copy=False), texture.factor).reshape(-1).take(which)

    def _colour(self, patch: _Patch, front: Int[ndarray, " chosen"]) -> Float[ndarray, "3 chosen"]:
        """Only texels in front are worth colouring."""
        which = patch.texture.keep.take(front)
        *light, highlight = (self._texels(channel, patch.texture, which) for channel in patch.light)
        shine = patch.texture.gloss.take(front) * highlight
        return np.stack([patch.texture.albedo[:, axis].take(front) * light[axis] + shine for axis in range(3)])

    def _to_pixels(self, cell_sums: Float[ndarray, "side side 4"]) -> Drawn:
        rgba = cell_sums / np.maximum(cell_sums[..., 3:], 1)
        rgba = cv2.resize(rgba, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return Drawn(rgb=rgba[..., :3], alpha=rgba[..., 3])


def _close_holes(cell_sums: Float[ndarray, "side side 4"]) -> Float[ndarray, "side side 4"]:
    """Give empty cells with at least four covered neighbours of eight their neighbours' mean."""
    covered = (cell_sums[..., 3] > 0).astype(np.float32)
    neighbours = cv2.boxFilter(covered, -1, (3, 3), normalize=False)
    empty = (covered == 0) & (neighbours >= 4)
    around = cv2.boxFilter(cell_sums, -1, (3, 3), normalize=False)
    cell_sums[empty] = around[empty]
    return cell_sums
