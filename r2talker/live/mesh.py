"""The head's surface as triangles: marching tetrahedra over its density, written as PLY or binary glTF."""

import json
import struct
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from r2talker import __version__
from r2talker.avatar import Avatar
from r2talker.conditions import window_conditions
from r2talker.errors import R2TalkerError
from r2talker.model.head import FrameCode
from r2talker.ops.camera_rays.op import SCENE_SCALE

FORMATS = ("glb", "ply")
LEAST_CELLS, MOST_CELLS = 8, 512
USUAL_DENSITY = 10.0
_CHUNK = 1 << 17
# A cube's corners, bit 0 along x, and its six tetrahedra about the diagonal from corner 0 to 7 (Kuhn's division): neighbouring
# cubes cut their common face the same way, so the surface has no gaps.
_TETRAHEDRA = ((0, 1, 3, 7), (0, 3, 2, 7), (0, 2, 6, 7), (0, 6, 4, 7), (0, 4, 5, 7), (0, 5, 1, 7))


@dataclass(frozen=True)
class Mesh:
    """vertices: head frame, metres (docs/conventions.md). colours: seen from the front. faces: counter-clockwise from outside."""

    vertices: Float32[np.ndarray, "vertices 3"]
    colours: UInt8[np.ndarray, "vertices 3"]
    faces: Int64[np.ndarray, "faces 3"]


@torch.no_grad()
def extract_mesh(avatar: Avatar, *, resolution: int = 128, threshold: float | None = None) -> Mesh:
    """Where the density of the resting head is `threshold` (upstream.md 6.10), on `resolution` cells along the longest side of the box.

    None: 10, or half of the greatest density where that is less, as in a head that has hardly been trained. Empty cells of the occupancy
    grid are not evaluated. R2TalkerError when there is no surface, or for settings out of bounds.
    """
    if not LEAST_CELLS <= resolution <= MOST_CELLS:
        raise R2TalkerError(f"resolution must lie between {LEAST_CELLS} and {MOST_CELLS} cells, got {resolution}")
    if threshold is not None and not 0 < threshold < 1e6:
        raise R2TalkerError(f"threshold must be a positive density, got {threshold:g}")
    box = avatar.info.render.aabb
    low, high = np.array(box[:3]), np.array(box[3:])
    cell = float((high - low).max()) / resolution
    counts = np.maximum(np.ceil((high - low) / cell - 1e-6).astype(int), 1)
    frame = resting_frame(avatar)
    density = _density(avatar, frame, torch.tensor(low, dtype=torch.float32), cell, counts + 1)
    if threshold is None:
        threshold = min(USUAL_DENSITY, float(density.max()) / 2)
    corners, faces = march_tetrahedra(density, threshold)
    if len(faces) == 0:
        raise R2TalkerError(f"no surface has density {threshold:g}; choose a lower threshold")
    points = torch.from_numpy((low + corners * cell).astype(np.float32)).to(avatar.device)
    colours = _colours(avatar, frame, points)
    head = points[:, [2, 0, 1]].cpu().numpy() / SCENE_SCALE
    return Mesh(np.ascontiguousarray(head, np.float32), colours, faces)


def resting_frame(avatar: Avatar) -> FrameCode:
    """The head with its median eye opening and the face nearest to the clip's mean, or silence where sound drives it."""
    drive = avatar.model.method.drive
    if drive.kind == "landmarks":
        shown = avatar.track.displacements
        frame = int((shown - shown.mean(0)).flatten(1).norm(dim=1).argmin())
        sequence = shown[frame : frame + 1].expand(drive.window, 68, 3)
    else:
        from r2talker.live.ear import make_ear

        rest = make_ear(avatar).rest
        sequence = rest.expand(drive.window, *rest.shape)
    window = window_conditions(sequence, drive, avatar.info.statistics)[drive.window // 2]
    code = avatar.model.head.contract.encode(window[None])[0]
    return FrameCode(code, avatar.track.eye.median(), avatar.model.head.individual_codes[0])


def _density(avatar: Avatar, frame: FrameCode, low: Tensor, cell: float, shape: np.ndarray) -> Float32[np.ndarray, "x y z"]:
    axes = [low[axis] + cell * torch.arange(int(shape[axis])) for axis in range(3)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    density = torch.zeros(len(points))
    # A corner matters if any cell that touches it is occupied; the grid's own cells are 1/64 wide.
    seen = torch.zeros(len(points), dtype=torch.bool)
    for x in (-1, 1):
        for y in (-1, 1):
            for z in (-1, 1):
                seen |= _occupied(avatar, points + cell * torch.tensor([x, y, z]))
    index = seen.nonzero().flatten()
    for part in index.split(_CHUNK):
        density[part] = avatar.model.head.density(points[part].to(avatar.device), frame).sigma.cpu()
    return density.reshape(tuple(shape)).numpy()


def _occupied(avatar: Avatar, points: Tensor) -> Tensor:
    from r2talker.model.occupancy import GRID_SIZE
    from r2talker.ops.occupancy.op import morton_encode

    cells = ((points + 1) / 2 * GRID_SIZE).floor().long().clamp(0, GRID_SIZE - 1)
    number = morton_encode(cells).cpu()
    bits = avatar.model.occupancy.bitfield.cpu()
    return (bits[number // 8].long() >> (number % 8) & 1).bool()


def _colours(avatar: Avatar, frame: FrameCode, points: Tensor) -> UInt8[np.ndarray, "vertices 3"]:
    """Colours of points for somebody before the face."""
    forward = points.new_tensor([0.0, -1.0, 0.0])
    parts = [avatar.model.head(part, forward.expand(len(part), 3), frame).rgb for part in points.split(_CHUNK)]
    return (torch.cat(parts) * 255).round().to(torch.uint8).cpu().numpy()


def march_tetrahedra(
    values: Float32[np.ndarray, "x y z"], level: float
) -> tuple[Float32[np.ndarray, "vertices 3"], Int64[np.ndarray, "faces 3"]]:
    """The surface where trilinear `values` cross `level`, in units of the grid; counter-clockwise seen from the lower side.

    Every cube is cut into six tetrahedra, each of which the surface crosses in one or two triangles (Doi and Koide 1991).
    """
    shape = np.array(values.shape)
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    inside = values > level
    counted = sum(
        inside[x : shape[0] - 1 + x, y : shape[1] - 1 + y, z : shape[2] - 1 + z].astype(np.uint8)
        for x in (0, 1)
        for y in (0, 1)
        for z in (0, 1)
    )
    cubes = np.argwhere((counted > 0) & (counted < 8)) @ strides
    offsets = np.array([(c & 1) * strides[0] + (c >> 1 & 1) * strides[1] + (c >> 2 & 1) * strides[2] for c in range(8)])
    flat = values.reshape(-1)
    edges = [_cut(cubes[:, None] + offsets[list(four)], flat > level) for four in _TETRAHEDRA]
    triangles = np.concatenate(edges) if edges else np.zeros((0, 3, 2), np.int64)
    ends = np.sort(triangles.reshape(-1, 2), axis=1)
    unique, place = np.unique(ends, axis=0, return_inverse=True)
    first, last = flat[unique[:, 0]].astype(np.float64), flat[unique[:, 1]].astype(np.float64)
    share = ((level - first) / np.where(last == first, 1.0, last - first))[:, None]
    grid = np.stack(np.unravel_index(unique, tuple(shape)), axis=-1).astype(np.float64)
    vertices = grid[:, 0] + share * (grid[:, 1] - grid[:, 0])
    return vertices.astype(np.float32), _outwards(vertices, place.reshape(-1, 3), triangles, grid, flat > level, unique)


def _cut(corners: Int64[np.ndarray, "cubes 4"], inside: np.ndarray) -> Int64[np.ndarray, "triangles 3 2"]:
    """Triangles of tetrahedra, every vertex as the pair of grid points (inside, outside) whose edge it cuts."""
    state = inside[corners]
    found = []
    order = np.argsort(~state, axis=1, kind="stable")
    sorted_corners = np.take_along_axis(corners, order, axis=1)
    count = state.sum(1)
    for number, picks in ((1, (((0, 1), (0, 2), (0, 3)),)), (3, (((0, 3), (1, 3), (2, 3)),))):
        four = sorted_corners[count == number]
        found += [np.stack([four[:, list(pair)] for pair in triangle], axis=1) for triangle in picks]
    four = sorted_corners[count == 2]
    for triangle in (((0, 2), (0, 3), (1, 3)), ((0, 2), (1, 3), (1, 2))):
        found.append(np.stack([four[:, list(pair)] for pair in triangle], axis=1))
    return np.concatenate(found)


def _outwards(
    vertices: np.ndarray, faces: np.ndarray, triangles: np.ndarray, grid: np.ndarray, inside: np.ndarray, unique: np.ndarray
) -> Int64[np.ndarray, "faces 3"]:
    """Turn every face so that its normal points from the inner to the outer ends of its edges; drop those without area."""
    one, two, three = (vertices[faces[:, place]] for place in range(3))
    normal = np.cross(two - one, three - one)
    is_inner = inside[unique[:, 0]]
    outward = (grid[:, 1] - grid[:, 0]) * np.where(is_inner, 1.0, -1.0)[:, None]
    wrong = (normal * outward[faces].sum(1)).sum(1) < 0
    faces = np.where(wrong[:, None], faces[:, ::-1], faces)
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    return faces[distinct]


def write_mesh(mesh: Mesh, format: str) -> bytes:
    """The file's content; `format` is `glb` or `ply`. R2TalkerError for another."""
    if format not in FORMATS:
        raise R2TalkerError(f"a mesh can be written as {' or '.join(FORMATS)}, not as {format[:20]!r}")
    return _ply(mesh) if format == "ply" else _glb(mesh)


def _ply(mesh: Mesh) -> bytes:
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment metres; x right in the picture, y up, z out of the face",
            f"element vertex {len(mesh.vertices)}",
            *(f"property float {name}" for name in "xyz"),
            *(f"property uchar {name}" for name in ("red", "green", "blue")),
            f"element face {len(mesh.faces)}",
            "property list uchar int vertex_indices",
            "end_header\n",
        ]
    )
    vertex = np.empty(len(mesh.vertices), [("place", "<f4", 3), ("colour", "u1", 3)])
    vertex["place"], vertex["colour"] = mesh.vertices, mesh.colours
    face = np.empty(len(mesh.faces), [("count", "u1"), ("index", "<i4", 3)])
    face["count"], face["index"] = 3, mesh.faces
    return header.encode() + vertex.tobytes() + face.tobytes()


def _glb(mesh: Mesh) -> bytes:
    """glTF 2.0 in one file: header, JSON chunk, binary chunk (Khronos specification, section 4.4)."""
    index = mesh.faces.astype("<u4").tobytes()
    place = mesh.vertices.astype("<f4").tobytes()
    # Colours are linear in glTF, and aligned to four bytes.
    linear = np.concatenate([(mesh.colours / 255.0) ** 2.2, np.ones((len(mesh.colours), 1))], axis=1)
    colour = (linear * 255).round().astype(np.uint8).tobytes()
    views, start = [], 0
    for content, target in ((index, 34963), (place, 34962), (colour, 34962)):
        views.append({"buffer": 0, "byteOffset": start, "byteLength": len(content), "target": target})
        start += len(content)
    count, (low, high) = len(mesh.vertices), (mesh.vertices.min(0).tolist(), mesh.vertices.max(0).tolist())
    described = {
        "asset": {"version": "2.0", "generator": f"r2talker {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "head"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 1, "COLOR_0": 2}, "indices": 0}]}],
        "buffers": [{"byteLength": start}],
        "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5125, "count": mesh.faces.size, "type": "SCALAR"},
            {"bufferView": 1, "componentType": 5126, "count": count, "type": "VEC3", "min": low, "max": high},
            {"bufferView": 2, "componentType": 5121, "normalized": True, "count": count, "type": "VEC4"},
        ],
    }
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", start, b"BIN\0") + index + place + colour
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
