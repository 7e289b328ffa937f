"""Rectangles of face, lips, eyes and head in a picture, from its landmarks and its parsing (upstream.md 2.7)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LIPS, EYES = slice(48, 60), slice(36, 48)


@dataclass(frozen=True)
class Region:
    """Pixels [top, bottom) x [left, right), clipped to the picture and never empty."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def rows_and_columns(self) -> tuple[int, int, int, int]:
        """top, bottom, left, right."""
        return self.top, self.bottom, self.left, self.right

    def contains(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Which pixels (row, column) lie inside."""
        return (rows >= self.top) & (rows < self.bottom) & (columns >= self.left) & (columns < self.right)


def inside_rectangles(
    rectangles: Int[Tensor, "slots 4"], rows: Int[Tensor, "slots pixels"], columns: Int[Tensor, "slots pixels"]
) -> Bool[Tensor, "slots pixels"]:
    """Which pixels lie inside the rectangle (top, bottom, left, right) of their slot; nothing waits for a device."""
    top, bottom, left, right = (edge[:, None] for edge in rectangles.unbind(1))
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def clipped(top: float, bottom: float, left: float, right: float, size: int) -> Region:
    """A region of whole pixels inside a `size` x `size` picture."""
    t, le = min(max(int(top), 0), size - 1), min(max(int(left), 0), size - 1)
    return Region(t, min(max(int(bottom), t + 1), size), le, min(max(int(right), le + 1), size))


def face_region(points: Float[Tensor, "68 2"], size: int) -> Region:
    """From the nostrils' row down to the chin, as wide as the landmarks: the rectangle of the ambient loss."""
    x, y = points.unbind(-1)
    return clipped(float(y[31:36].min()), float(y.max()), float(x.min()), float(x.max()), size)


def lips_region(points: Float[Tensor, "68 2"], size: int) -> Region:
    """Square around the outer lips."""
    return _square(points[LIPS], 1.0, size)


def padded_region(points: Float[Tensor, "points 2"], margin: float, size: int) -> Region:
    """Bounding box of points, grown on each side by `margin` times its larger side."""
    low, high = points.amin(0), points.amax(0)
    pad = margin * float((high - low).max())
    return clipped(float(low[1]) - pad, float(high[1]) + pad, float(low[0]) - pad, float(high[0]) + pad, size)


def mask_region(mask: Bool[Tensor, "height width"], margin: int) -> Region:
    """Bounding box of a mask, grown by `margin` pixels; the whole picture when the mask is empty."""
    size = mask.shape[0]
    rows, columns = torch.nonzero(mask.any(1)).flatten(), torch.nonzero(mask.any(0)).flatten()
    if not len(rows):
        return Region(0, size, 0, mask.shape[1])
    return clipped(
        int(rows[0]) - margin, int(rows[-1]) + margin + 1, int(columns[0]) - margin, int(columns[-1]) + margin + 1, size
    )


def _square(points: Tensor, scale: float, size: int) -> Region:
    low, high = points.amin(0).int(), points.amax(0).int()
    half = int(float((high - low).max()) * scale) // 2
    cx, cy = (int(v) // 2 for v in (low + high))
    return clipped(cy - half, cy + half, cx - half, cx + half, size)
