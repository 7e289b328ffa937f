"""The opening of the mouth from strips of colour, where the mesh calls small gaps closed."""

import numpy as np
import pytest

from r2talker.face.topology import INNER_LOWER_LIP, INNER_UPPER_LIP, LIP_MIDDLES, MESH_POINTS, MOUTH_CORNERS, OUTER_EYE_CORNERS
from r2talker.ingest.lips import STRIP, cut_strip, refine_lips

FRAMES = 80
# What the lips may be off, pixels of a face whose eyes are 120 pixels apart: the mesh's own errors come in by a third.
OPENING_PIXELS = 0.5


def make_mouth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Meshes, pictures and true openings; gaps under 3 pixels are closed in the mesh."""
    true = 5 * np.clip(np.sin(np.arange(FRAMES) / 3), 0, None)
    told = np.where(true < 3, 0, true)
    mesh = np.zeros((FRAMES, MESH_POINTS, 3))
    mesh[:, OUTER_EYE_CORNERS, :2] = [(40, 40), (160, 40)]
    mesh[:, MOUTH_CORNERS, :2] = [(75, 100), (125, 100)]
    inner = (-told / 2, told / 2)
    for vertices, height in ((INNER_UPPER_LIP, inner[0]), (INNER_LOWER_LIP, inner[1])):
        mesh[:, list(vertices), 0] = np.linspace(80, 120, len(vertices))
        mesh[:, list(vertices), 1] = 100 + height[:, None]
    for vertex, height in zip(LIP_MIDDLES, (inner[0] - 8, *inner, inner[1] + 8), strict=True):
        mesh[:, vertex, 0], mesh[:, vertex, 1] = 100, 100 + height
    rows = np.arange(200)[None, :, None] + 0.5
    gap = true[:, None, None] / 2
    away = np.abs(rows - 100) - gap
    skin, lip, inside = (np.array(colour, float) for colour in ((210, 170, 150), (170, 80, 80), (40, 20, 20)))
    lips = np.clip(8.5 - away, 0, 1) * (1 - np.clip(0.5 - away, 0, 1))
    hollow = np.clip(0.5 - away, 0, 1) * (gap > 0)
    pictures = skin * (1 - lips - hollow) + lip * lips + inside * hollow
    return mesh, np.repeat(pictures.astype(np.uint8)[:, :, None], 200, axis=2), true


def opening(mesh: np.ndarray) -> np.ndarray:
    return mesh[:, 14, 1] - mesh[:, 13, 1]


def test_small_gaps_are_told_apart() -> None:
    mesh, pictures, true = make_mouth()
    strips = np.stack([cut_strip(picture, points) for picture, points in zip(pictures, mesh, strict=True)])
    assert strips.shape == (FRAMES, STRIP, 3)
    refined = refine_lips(mesh, strips)
    small = (true > 0.5) & (true < 3)
    assert np.corrcoef(opening(refined)[small], true[small])[0, 1] > 0.95
    assert np.corrcoef(opening(refined), true)[0, 1] > np.corrcoef(opening(mesh), true)[0, 1]
    assert np.abs(opening(refined) - true)[~small].max() < 2 * OPENING_PIXELS


def test_what_is_not_lip_stays() -> None:
    mesh, pictures, _ = make_mouth()
    strips = np.stack([cut_strip(picture, points) for picture, points in zip(pictures, mesh, strict=True)])
    refined = refine_lips(mesh, strips)
    assert np.array_equal(refined[:, MOUTH_CORNERS], mesh[:, MOUTH_CORNERS])
    assert np.array_equal(refined[..., 2], mesh[..., 2])


def test_strips_without_anything_to_see_leave_the_mesh() -> None:
    mesh, _, _ = make_mouth()
    refined = refine_lips(mesh, np.full((FRAMES, STRIP, 3), 90, np.uint8))
    assert np.isfinite(refined).all()
    assert np.abs(opening(refined) - opening(mesh)).max() == pytest.approx(0, abs=3)
