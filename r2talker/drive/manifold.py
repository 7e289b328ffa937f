"""Landmarks pulled towards what the person's face has really done: locally linear embedding, region by region.

Each region of a frame is rebuilt from its nearest neighbours among remembered frames of the clip, with weights that add up to one
and come closest to it (Saul and Roweis 2003, "Think globally, fit locally"; GeneFace does the same with the whole face, upstream.md
7.5). A ridge keeps the weights small where neighbours are alike, so that no frame is extrapolated from two that hardly differ.
"""

import torch
from jaxtyping import Float
from torch import Tensor

JAW, MOUTH = slice(0, 17), slice(48, 68)
REGIONS = (JAW, MOUTH)
"""What the generator moves, but for the nose, which hardly moves; brows and eyelids come from elsewhere."""

NEIGHBOURS = 10
RIDGE = 0.03
"""Relative to the mean squared distance of the neighbours."""


def pull_to_known(
    landmarks: Float[Tensor, "frames 68 3"], known: Float[Tensor, "remembered 68 3"], share: float
) -> Float[Tensor, "frames 68 3"]:
    """`landmarks` with jaw and mouth moved by `share` of the way to their projections; the rest as it was."""
    if share == 0 or len(landmarks) == 0 or len(known) < 2:
        return landmarks
    pulled = landmarks.clone()
    for region in REGIONS:
        points, remembered = landmarks[:, region].flatten(1), known[:, region].flatten(1)
        projected = points + share * (project(points, remembered) - points)
        pulled[:, region] = projected.unflatten(1, (-1, 3))
    return pulled


def project(points: Float[Tensor, "points width"], known: Float[Tensor, "remembered width"]) -> Float[Tensor, "points width"]:
    """Each point as the best combination of its 10 nearest known ones, weights adding up to one."""
    count = min(NEIGHBOURS, len(known))
    nearest = torch.cdist(points, known).topk(count, largest=False).indices
    neighbours = known[nearest]
    difference = neighbours - points[:, None]
    gram = difference @ difference.transpose(1, 2)
    size = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    gram = gram / size[:, None, None] + RIDGE * torch.eye(count, device=points.device)
    weights = torch.linalg.solve(gram, torch.ones(len(points), count, 1, device=points.device))
    weights = weights / weights.sum(1, keepdim=True)
    return (weights * neighbours).sum(1)
