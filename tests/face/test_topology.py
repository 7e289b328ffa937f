"""The vertex lists of the face mesh."""

import numpy as np

from r2talker.face.topology import FACE_OVAL, LEFT_EYE, MESH_POINTS, MESH_TO_68, OUTER_EYE_CORNERS, RIGHT_EYE, RIGID, mesh_to_68


def test_lists_name_vertices_once() -> None:
    for vertices in (MESH_TO_68, FACE_OVAL, LEFT_EYE, RIGHT_EYE, RIGID):
        assert len(set(vertices)) == len(vertices)
        assert 0 <= min(vertices) <= max(vertices) < MESH_POINTS


def test_the_68_points_keep_their_order() -> None:
    mesh = np.random.default_rng(0).normal(size=(5, MESH_POINTS, 3))
    points = mesh_to_68(mesh)
    assert points.shape == (5, 68, 3)
    assert np.array_equal(points[:, [36, 45]], mesh[:, list(OUTER_EYE_CORNERS)])
    assert np.array_equal(mesh_to_68(mesh[0, :, :2]), points[0, :, :2])
