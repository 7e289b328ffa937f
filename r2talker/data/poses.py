"""Head poses from a file."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.files import read_json, read_npy
from r2talker.ops.camera_rays.op import c2w_from_head


def read_poses(path: Path) -> Float[Tensor, "frames 4 4"]:
    """Camera-to-world matrices in NGP space of a `transforms_*.json` (upstream.md 1.3), or of a .npy that holds them as they are.

    Raises R2TalkerError for a file without poses.
    """
    if path.suffix.lower() == ".json":
        try:
            matrices = [frame["transform_matrix"] for frame in read_json(path)["frames"]]
            poses = c2w_from_head(torch.tensor(matrices, dtype=torch.float32).reshape(-1, 4, 4))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise R2TalkerError(f"{path} holds no poses ({error}); give a transforms_*.json of a dataset") from error
    else:
        array = read_npy(path)
        if array.dtype.kind not in "fiu" or array.shape[1:] != (4, 4):
            raise R2TalkerError(f"{path} holds {array.dtype} {list(array.shape)}; expected camera-to-world matrices (T, 4, 4)")
        poses = torch.from_numpy(array.astype(np.float32))
    if len(poses) == 0 or not torch.isfinite(poses).all():
        raise R2TalkerError(f"{path} holds no finite poses; give at least one")
    return poses
