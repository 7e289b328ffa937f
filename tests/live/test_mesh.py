"""Surfaces of known shapes, and of an avatar; files that are read again by hand."""

import json
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from r2talker.errors import R2TalkerError
from r2talker.live.mesh import Mesh, extract_mesh, march_tetrahedra, write_mesh

if TYPE_CHECKING:
    from r2talker.avatar import Avatar


def ball(size: int, radius: float) -> np.ndarray:
    """Radius minus distance from the centre: zero on a sphere."""
    axis = np.arange(size) - (size - 1) / 2
    distance = np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis, indexing="ij")))
    return (radius - distance).astype(np.float32)


def test_a_ball_is_round_closed_and_turned_outwards() -> None:
    vertices, faces = march_tetrahedra(ball(24, 8.0), 0.0)
    centred = vertices - 11.5
    assert np.abs(np.linalg.norm(centred, axis=1) - 8).max() < 0.1
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()
    one, two, three = (centred[faces[:, place]].astype(np.float64) for place in range(3))
    volume = np.einsum("ij,ij->i", one, np.cross(two, three)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.02)


def test_nothing_has_no_surface() -> None:
    vertices, faces = march_tetrahedra(np.zeros((4, 4, 4), np.float32), 1.0)
    assert (len(vertices), len(faces)) == (0, 0)


def test_an_avatar_has_a_head(avatar: "Avatar") -> None:
    # It was scarcely trained, so it is thin.
    mesh = extract_mesh(avatar, resolution=48, threshold=0.5)
    assert len(mesh.faces) > 100
    assert mesh.colours.shape == mesh.vertices.shape
    # In the head frame the box is 0.5 m wide and high, and 0.25 m deep.
    assert (np.abs(mesh.vertices) <= [0.2501, 0.2501, 0.1251]).all()
    with pytest.raises(R2TalkerError, match="choose a lower threshold"):
        extract_mesh(avatar, resolution=16, threshold=999_999)
    with pytest.raises(R2TalkerError, match="resolution must lie between 8 and 512"):
        extract_mesh(avatar, resolution=4096)


MESH = Mesh(
    np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    np.uint8([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]),
    np.int64([[0, 1, 2], [0, 2, 3]]),
)


def test_ply_holds_the_mesh() -> None:
    header, body = write_mesh(MESH, "ply").split(b"end_header\n")
    assert b"element vertex 4\n" in header
    assert b"element face 2\n" in header
    assert len(body) == 4 * 15 + 2 * 13
    assert struct.unpack_from("<fffBBB", body, 15) == (1, 0, 0, 0, 255, 0)
    assert struct.unpack_from("<Biii", body, 60 + 13) == (3, 0, 2, 3)


def test_glb_holds_the_mesh() -> None:
    content = write_mesh(MESH, "glb")
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", content)
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    described = json.loads(content[20 : 20 + size])
    binary = content[28 + size :]
    assert struct.unpack_from("<I4s", content, 20 + size) == (len(binary), b"BIN\0")
    index, place, _ = described["bufferViews"]
    assert np.frombuffer(binary, "<u4", 6, index["byteOffset"]).tolist() == [0, 1, 2, 0, 2, 3]
    assert np.frombuffer(binary, "<f4", 12, place["byteOffset"]).tolist() == MESH.vertices.flatten().tolist()
    assert described["accessors"][1]["max"] == [1, 1, 1]


def test_other_formats_are_refused() -> None:
    with pytest.raises(R2TalkerError, match="glb or ply"):
        write_mesh(MESH, "obj")
