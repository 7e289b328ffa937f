"""Head poses from a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.files import read_json, read_npy
from r2talker.ops.camera_rays.op import c2w_from_head


@dataclass(frozen=True)
class Recording:
    """What a file of poses says. c2w: [T, 4, 4] NGP space. eye: [T] percent of the picture, None where it is silent about eyes.
    focal: of its camera, in sides of the picture, None where it is silent about it."""

    c2w: Float[Tensor, "frames 4 4"]
    eye: Float[Tensor, " frames"] | None = None
    focal: float | None = None

    def part(self, frames: slice) -> "Recording":
        """Some of its frames."""
        return Recording(self.c2w[frames], None if self.eye is None else self.eye[frames], self.focal)


def read_recording(path: Path) -> Recording:
    """Poses and eye values of a `transforms_*.json` (upstream.md 1.3), or camera-to-world matrices in NGP space of a .npy.

    Raises R2TalkerError for a file without poses, or with eye values for some of them only.
    """
    recording = _read_json(path) if path.suffix.lower() == ".json" else _read_matrices(path)
    if len(recording.c2w) == 0 or not torch.isfinite(recording.c2w).all():
        raise R2TalkerError(f"{path} holds no finite poses; give at least one")
    return recording


def read_poses(path: Path) -> Float[Tensor, "frames 4 4"]:
    """The poses of such a file without what it says beside them."""
    return read_recording(path).c2w


def _read_json(path: Path) -> Recording:
    value = read_json(path)
    try:
        frames = value["frames"]
        matrices = torch.tensor([frame["transform_matrix"] for frame in frames], dtype=torch.float32).reshape(-1, 4, 4)
        eye = torch.tensor([float(frame["eye_ratio"]) for frame in frames if "eye_ratio" in frame])
        focal = _focal(value)
    except (KeyError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise R2TalkerError(f"{path} holds no poses ({error}); give a transforms_*.json of a dataset") from error
    if len(eye) not in (0, len(frames)) or not torch.isfinite(eye).all():
        raise R2TalkerError(
            f"{path} has usable eye_ratio values for {int(eye.isfinite().sum())} of {len(frames)} poses; give them for all or for none"
        )
    return Recording(c2w_from_head(matrices), eye if len(eye) else None, focal)


def _focal(value: dict[str, Any]) -> float | None:
    """Focal length over the picture's side, which is `h`, else twice `cy`, as the original loader has it."""
    side = float(value["h"]) if "h" in value else 2 * float(value.get("cy", 0))
    focal = value.get("focal_len", value.get("fl_x"))
    return None if focal is None or side == 0 else float(focal) / side


def _read_matrices(path: Path) -> Recording:
    array = read_npy(path)
    if array.dtype.kind not in "fiu" or array.shape[1:] != (4, 4):
        raise R2TalkerError(f"{path} holds {array.dtype} {list(array.shape)}; expected camera-to-world matrices (T, 4, 4)")
    return Recording(torch.from_numpy(array.astype(np.float32)))
