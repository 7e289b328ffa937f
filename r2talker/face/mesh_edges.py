"""Which vertices of the face mesh are joined, for drawing it."""

import numpy as np
from jaxtyping import Int

from r2talker.face.graphs import load_solutions


def load_mesh_edges() -> Int[np.ndarray, "edges 2"]:
    """Pairs of vertices below 468 that MediaPipe's tessellation joins, each pair once."""
    pairs = {tuple(sorted(pair)) for pair in load_solutions().face_mesh.FACEMESH_TESSELATION}
    return np.array(sorted(pairs))
