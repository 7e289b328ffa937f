"""The golden vectors and the inputs that belong to them, which are regenerated from names instead of being stored.

Recipe: golden/README.md beside the specification, 1.1 to 1.4. Every array here is NumPy; keys of weights are upstream's.
"""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
METHODS = ("r2talker", "genefaceDagger", "rad-nerf")
FIELD_SIZE = 128
IMAGE_SIZE = 64
F32 = np.float32

Array = NDArray[Any]


@lru_cache(maxsize=1)
def meta() -> Mapping[str, Any]:
    """`meta.json`: seed, grids, and per model the state_dict's shapes and the gradients' norms and probes."""
    loaded: Mapping[str, Any] = json.loads((FOLDER / "meta.json").read_text())
    return loaded


@lru_cache(maxsize=4)
def golden(name: str) -> Mapping[str, Array]:
    """The arrays of `<name>.npz`: ops or one of METHODS."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def generator(name: str) -> np.random.RandomState:
    """The legacy generator that belongs to a name."""
    return np.random.RandomState(zlib.crc32(name.encode()) ^ meta()["seed"])


@dataclass(frozen=True)
class GridInputs:
    """Points [256, D], table [n, C], upstream gradient [256, 16 C] and the probe of the table's gradient [n, C]."""

    x: Array
    table: Array
    grad: Array
    probe: Array


def grid_inputs(name: str) -> GridInputs:
    """Inputs of one of `meta()["grids"]`."""
    grid = meta()["grids"][name]
    rows, channels, dim = grid["offsets"][-1], grid["level_dim"], grid["input_dim"]
    x = generator(f"points/{name}").uniform(-1, 1, (256, dim)).astype(F32)
    x[0], x[1], x[2] = -1, 1, 0
    x[3, 0], x[4, 0], x[5, -1] = 1.0, 1.2, -1.0001
    x[6] = 0.99999
    return GridInputs(
        x=x,
        table=(0.3 * generator(f"grid/{name}").standard_normal((rows, channels))).astype(F32),
        grad=generator(f"grad/{name}").standard_normal((256, grid["num_levels"] * channels)).astype(F32),
        probe=generator(f"probe/{name}").standard_normal((rows, channels)).astype(F32),
    )


def op_inputs() -> dict[str, Array]:
    """Inputs of the small operators, under the keys of `ops.npz`."""
    d = generator("dirs").standard_normal((64, 3)).astype(F32)
    rgb_rays, samples = 246, 3422
    draw = generator("composite")
    return {
        "sh4/d": d / np.linalg.norm(d, axis=1, keepdims=True),
        "freq_2d_10/x": generator("freq_2d_10").uniform(-1, 1, (64, 2)).astype(F32),
        "freq_6d_4/x": generator("freq_6d_4").uniform(-1, 1, (64, 6)).astype(F32),
        "morton/coords": generator("morton").randint(0, FIELD_SIZE, (256, 3)).astype(np.int32),
        "composite/sigma": np.exp(1.5 * draw.standard_normal(samples) + 2).astype(F32),
        "composite/rgb": draw.uniform(0, 1, (samples, 3)).astype(F32),
        "composite/ambient": draw.uniform(0, 1, samples).astype(F32),
        "composite/grad_image": draw.standard_normal((rgb_rays, 3)).astype(F32),
        "composite/grad_weights_sum": draw.standard_normal(rgb_rays).astype(F32),
        "composite/grad_ambient_sum": draw.standard_normal(rgb_rays).astype(F32),
    }


@dataclass(frozen=True)
class GoldenCamera:
    """c2w [4, 4] in NGP space; fx, fy, cx, cy in pixels; a square image."""

    c2w: Array
    fx: float
    fy: float
    cx: float
    cy: float
    size: int


def camera() -> GoldenCamera:
    """The one camera of all vectors."""
    draw = generator("pose")
    yaw, pitch = draw.uniform(-0.3, 0.3), draw.uniform(-0.2, 0.2)
    position = 3.35 * np.array([math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
    forward = -position / np.linalg.norm(position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    c2w = np.eye(4)
    c2w[:3] = np.stack([right, np.cross(forward, right), forward, position], axis=1)
    return GoldenCamera(c2w.astype(F32), 170.625, 170.625, 32.0, 32.0, IMAGE_SIZE)


@dataclass(frozen=True)
class GoldenOccupancy:
    """density [1, G^3] in Morton order, bitfield [G^3 / 8], torso [G^2] with its mean."""

    density: Array
    bitfield: Array
    torso: Array
    mean_density: float
    mean_torso: float


@lru_cache(maxsize=1)
def occupancy() -> GoldenOccupancy:
    """The occupancy grids of all vectors."""
    axis = np.arange(FIELD_SIZE)
    coords = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    centre = F32(2) * coords.astype(F32) / F32(FIELD_SIZE - 1) - F32(1)
    head = np.linalg.norm(centre / np.array([0.42, 0.36, 0.5], F32), axis=1) < 1
    ball = np.linalg.norm(centre - np.array([0.1, 0.3, -0.2], F32), axis=1) < F32(0.12)
    density = np.zeros((1, FIELD_SIZE**3), F32)
    density[0, _interleave(coords)] = np.where(head | ball, F32(20), F32(0))
    torso = np.zeros((FIELD_SIZE, FIELD_SIZE), F32)
    torso[70:] = 1
    return GoldenOccupancy(
        density=density,
        bitfield=np.packbits(density[0] > 10, bitorder="little"),
        torso=torso.reshape(-1),
        mean_density=float(density.mean(dtype=np.float64)),
        mean_torso=0.43,
    )


def _interleave(coords: Array) -> Array:
    bits = sum((coords[:, axis] >> bit & 1) << 3 * bit + axis for bit in range(7) for axis in range(3))
    return np.asarray(bits)


def background() -> Array:
    """Background colour of every pixel, [4096, 3]."""
    steps = np.linspace(-1, 1, IMAGE_SIZE)
    a, b = (grid.reshape(-1) for grid in np.meshgrid(steps, steps, indexing="ij"))
    return np.stack([0.2 + 0.5 * (a / 2 + 0.5), np.full_like(a, 0.4), 0.7 - 0.4 * (b / 2 + 0.5)], axis=1).astype(F32)


def model_weights(method: str) -> dict[str, Array]:
    """The random entries of a model's state_dict, and its occupancy; upstream keys.

    Left out, as they keep the values they are built with: grid offsets, boxes, the step counter.
    """
    weights: dict[str, Array] = {}
    for key, (shape, _) in meta()["models"][method]["state_dict"].items():
        if key.endswith("offsets") or key.startswith("aabb_") or key == "step_counter":
            continue
        if key.startswith("density_"):
            field = occupancy()
            fields = {"density_grid": field.density, "density_bitfield": field.bitfield, "density_grid_torso": field.torso}
            weights[key] = fields[key]
            continue
        weights[key] = generator(f"{method}/{key}").standard_normal(shape).astype(F32) * F32(_spread(key, shape))
    weights["sigma_net.net.2.weight"][0] *= F32(12)
    return weights


def _spread(key: str, shape: list[int]) -> float:
    if "embeddings" in key:
        return 0.3
    if key.endswith("bias") or "individual" in key:
        return 0.1
    return 1 / math.sqrt(math.prod(shape[1:]))


@dataclass(frozen=True)
class ModelInputs:
    """Condition window, query points x [128, 3] with directions d, and the training target [4096, 3]."""

    window: Array
    x: Array
    d: Array
    train_target: Array


def model_inputs(method: str) -> ModelInputs:
    """Inputs of one model's vectors."""
    draw = generator(f"{method}/inputs")
    if method == "r2talker":
        window = draw.uniform(-0.9, 0.9, (5, 68, 3))
    else:
        window = draw.standard_normal({"rad-nerf": (8, 16, 44), "genefaceDagger": (5, 68, 3)}[method])
    x = draw.uniform(-0.5, 0.5, (128, 3)).astype(F32)
    d = draw.standard_normal((128, 3)).astype(F32)
    target = draw.uniform(0, 1, (1, IMAGE_SIZE**2, 3)).astype(F32)
    return ModelInputs(window.astype(F32), x, d / np.linalg.norm(d, axis=1, keepdims=True), target[0])


def probe(method: str, key: str) -> Array:
    """What the gradient of a parameter is multiplied with to check its direction; the parameter's shape."""
    shape = meta()["models"][method]["state_dict"][key][0]
    return generator(f"{method}/probe/{key}").standard_normal(shape).astype(F32)
