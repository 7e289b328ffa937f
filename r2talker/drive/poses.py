"""Head poses of a spoken sequence: the clip's own, replayed to and fro, and smoothed (upstream.md 2.6)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.errors import R2TalkerError


def mirrored_indices(frames: int, poses: int) -> Int[Tensor, " frames"]:
    """Which of `poses` recorded poses each of `frames` driven frames uses: forwards, backwards, forwards, ...

    The first and the last pose are shown twice at the turns. Raises ValueError without poses.
    """
    if poses < 1:
        raise ValueError(f"at least one pose is needed, got {poses}")
    frame = torch.arange(frames)
    turn, step = frame // poses, frame % poses
    return torch.where(turn % 2 == 0, step, poses - 1 - step)


def smooth_poses(c2w: Float[Tensor, "frames 4 4"], window: int = 7) -> Float[Tensor, "frames 4 4"]:
    """Mean position and chordal mean rotation over `window` frames centred on each, fewer at the ends; a window of 1 changes nothing.

    The chordal mean is the rotation nearest to the mean matrix (orthogonal Procrustes), taken in float64.
    """
    frames, reach = c2w.shape[0], window // 2
    if reach == 0:
        return c2w
    offsets = torch.arange(-reach, reach + 1, device=c2w.device)
    index = torch.arange(frames, device=c2w.device)[:, None] + offsets[None, :]
    inside = ((index >= 0) & (index < frames)).to(torch.float64)[:, :, None, None]
    neighbours = c2w.to(torch.float64)[index.clamp(0, max(frames - 1, 0))]
    mean = (neighbours * inside).sum(1) / inside.sum(1)
    left, _, right = torch.linalg.svd(mean[:, :3, :3])
    sign = torch.det(left @ right)
    left = torch.cat([left[:, :, :2], left[:, :, 2:] * sign[:, None, None]], dim=2)
    smoothed = mean.clone()
    smoothed[:, :3, :3] = left @ right
    smoothed[:, 3] = c2w.new_tensor([0, 0, 0, 1], dtype=torch.float64)
    return smoothed.to(c2w.dtype)


def choose_frames(frames: int, first: int, last: int) -> slice:
    """Recorded frames `first` to `last` - 1 of `frames`, to the end for `last` = -1 (`data_range`, upstream.md 1.3).

    Raises R2TalkerError for a range that is empty or leaves the recording.
    """
    end = frames if last == -1 else last
    if not 0 <= first < end <= frames:
        raise R2TalkerError(
            f"--data-range {first} {last} chooses from {frames} frames; give A B with 0 <= A < B <= {frames}, or B = -1 for the end"
        )
    return slice(first, end)
