"""From the Basel model's own file and AD-NeRF's side files to one file of plain tensors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from r2talker.data.foreign.pickles import read_object_npy
from r2talker.errors import R2TalkerError
from r2talker.files import write_tensors
from r2talker.ingest.morphable.model import FORMAT, TENSORS

IDENTITIES, EXPRESSIONS, TEXTURES = 100, 79, 100
_UNITS_PER_DECIMETRE = 1e5


@dataclass(frozen=True)
class BaselFiles:
    """The model and the three files beside it that AD-NeRF's tools use (upstream.md 8.1)."""

    model: Path
    expressions: Path
    keys: Path
    topology: Path


def convert_basel(files: BaselFiles, output: Path) -> int:
    """Write the converted model; returns its number of vertices.

    Geometry comes in decimetres and is centred, coefficients count in standard deviations. Raises R2TalkerError that names the
    file that is missing, damaged, or does not fit the others.
    """
    basel = _read_mat(files.model)
    topology, keys = read_object_npy(files.topology), read_object_npy(files.keys)
    expression = read_object_npy(files.expressions)
    try:
        chosen = np.asarray(topology["sub_inds"], np.int64)
        rows = (chosen[:, None] * 3 + np.arange(3)).reshape(-1)
        mean = basel["shapeMU"][rows, 0] + np.asarray(expression["mu_exp"], float).reshape(-1)
        mean = mean.reshape(-1, 3) - mean.reshape(-1, 3).mean(0)
        arrays = {
            "mean": mean / _UNITS_PER_DECIMETRE,
            "identity": _basis(basel["shapePC"][rows].T, basel["shapeEV"], IDENTITIES) / _UNITS_PER_DECIMETRE,
            "expression": _basis(expression["base_exp"], expression["sig_exp"], EXPRESSIONS) / _UNITS_PER_DECIMETRE,
            "texture_mean": basel["texMU"][rows, 0].reshape(-1, 3),
            "texture": _basis(basel["texPC"][rows].T, basel["texEV"], TEXTURES),
        }
        indices = {
            "triangles": topology["tris"],
            "vertex_triangles": topology["vert_tris"],
            "landmarks": keys["keyinds"],
            "left_contour": keys["left_contour"],
            "right_contour": keys["right_contour"],
            "rigid": keys["rigid_ids"],
        }
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in arrays.items()}
        tensors |= {name: torch.from_numpy(_indices(value)) for name, value in indices.items()}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise R2TalkerError(
            f"{files.model}, {files.expressions}, {files.keys} and {files.topology} do not fit together ({error}); "
            "give the files of the Basel Face Model 2009 and of AD-NeRF's face tracking"
        ) from error
    _check(tensors, len(chosen), files)
    write_tensors(output, tensors, {"format": FORMAT})
    return len(chosen)


def _read_mat(path: Path) -> dict[str, Any]:
    try:
        return dict(loadmat(path, variable_names=["shapePC", "shapeEV", "shapeMU", "texPC", "texEV", "texMU"]))
    except OSError as error:
        raise R2TalkerError(f"cannot read {path}: {error.strerror or error}; give 01_MorphableModel.mat") from error
    except (MatReadError, ValueError, TypeError, NotImplementedError) as error:
        raise R2TalkerError(
            f"{path} is not a MATLAB file ({error}); give 01_MorphableModel.mat of the Basel Face Model"
        ) from error


def _basis(rows: Any, deviations: Any, count: int) -> Float[np.ndarray, "coefficients vertices 3"]:
    """The first `count` directions, each scaled to one standard deviation."""
    sigma = np.asarray(deviations, float).reshape(-1)[:count]
    basis = np.asarray(rows, np.float32)[:count]
    return (basis * sigma[:, None]).reshape(len(sigma), -1, 3)


def _indices(values: Any) -> Int[np.ndarray, "..."]:
    return np.ascontiguousarray(values, np.int64)


def _check(tensors: dict[str, torch.Tensor], vertices: int, files: BaselFiles) -> None:
    """Every index points at something, and every array has its vertices."""
    for name in TENSORS:
        tensor, limit = tensors[name], len(tensors["triangles"]) if name == "vertex_triangles" else vertices
        if tensor.dtype == torch.int64:
            bad = tensor.numel() == 0 or int(tensor.min()) < 0 or int(tensor.max()) >= limit
        else:
            bad = tensor.shape[-2:] != (vertices, 3) or not bool(tensor.isfinite().all())
        if bad:
            raise R2TalkerError(
                f"{name} has shape {list(tensor.shape)} or numbers that do not fit {vertices} vertices of {files.topology}"
            )
