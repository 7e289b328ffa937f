"""A random face model in the files of the Basel model and of AD-NeRF's tools: their keys and kinds of shapes, few vertices."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from r2talker.ingest.morphable.convert import BaselFiles

SIDE = 24
VERTICES, ALL_VERTICES = SIDE * SIDE, 700
MICROMETRES = 1e5
"""Per decimetre."""


def write_basel(folder: Path, seed: int = 0) -> BaselFiles:
    """Write the four files: half an ellipsoid of the size of a head, moved by smooth random directions."""
    rng = np.random.default_rng(seed)
    v, u = (grid.reshape(-1) for grid in np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij"))
    # Rows run downwards, as the jaw's contours do.
    place = np.stack([0.8 * u, -1.0 * v, 0.8 * np.sqrt(1.05 - 0.5 * u**2 - 0.5 * v**2)], -1)
    waves = np.stack([np.cos(a * np.pi * u + b * np.pi * v + c) for a, b, c in rng.uniform(-1.5, 1.5, (60, 3))])
    chosen = np.sort(rng.permutation(ALL_VERTICES)[:VERTICES])
    files = BaselFiles(
        *(folder / name for name in ("01_MorphableModel.mat", "exp_info.npy", "keys_info.npy", "topology_info.npy"))
    )

    def directions(count: int) -> np.ndarray:
        values = np.einsum("dwc,wv->dvc", rng.standard_normal((count, len(waves), 3)), waves)
        return values.reshape(count, -1) / np.linalg.norm(values.reshape(count, -1), axis=1, keepdims=True)

    def everywhere(values: np.ndarray) -> np.ndarray:
        """Values of the chosen vertices [n, V * 3] among all vertices [ALL * 3, n]."""
        whole = rng.standard_normal((len(values), ALL_VERTICES, 3))
        whole[:, chosen] = values.reshape(len(values), -1, 3)
        return whole.reshape(len(values), -1).T

    savemat(
        files.model,
        {
            "shapePC": everywhere(directions(199)).astype(np.float32),
            "shapeEV": (MICROMETRES * np.geomspace(0.5, 0.02, 199))[:, None].astype(np.float32),
            "shapeMU": everywhere((place * MICROMETRES).reshape(1, -1)).astype(np.float32),
            "texPC": everywhere(directions(199)).astype(np.float32),
            "texEV": np.geomspace(300, 10, 199)[:, None].astype(np.float32),
            "texMU": everywhere(np.tile([180.0, 140.0, 120.0], (1, VERTICES))).astype(np.float32),
        },
    )
    expression = {
        "mu_exp": np.zeros(VERTICES * 3),
        "base_exp": directions(79),
        "sig_exp": MICROMETRES * np.geomspace(0.4, 0.01, 79),
    }
    corner = np.arange(VERTICES).reshape(SIDE, SIDE)
    a, b, c, d = (part.reshape(-1) for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]))
    triangles = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)])
    around = [np.resize(np.flatnonzero((triangles == vertex).any(1)), 8) for vertex in range(VERTICES)]
    inner = corner[2:-2, 5:-5].reshape(-1)
    rows = np.linspace(SIDE // 2, SIDE - 3, 8).astype(int)
    keys = {
        "keyinds": rng.permutation(inner)[:68],
        "left_contour": np.stack([np.resize(corner[row, :5], 20) for row in rows]),
        "right_contour": np.stack([np.resize(corner[row, -5:], 20) for row in rows[::-1]]),
        "rigid_ids": corner[4:10, 8:16].reshape(-1),
    }
    topology = {"sub_inds": chosen, "tris": triangles, "vert_tris": np.stack(around)}
    for path, value in ((files.expressions, expression), (files.keys, keys), (files.topology, topology)):
        np.save(path, value, allow_pickle=True)  # type: ignore[arg-type]
    return files
