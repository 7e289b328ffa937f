"""What the cameras phase finds: motions of the training frames' cameras away from where they were tracked."""

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.data.dataset import Dataset
from r2talker.ops.camera_rays.op import moved_cameras


class Corrections:
    """Motions of the training frames' cameras away from where they were tracked, kept in the checkpoints of all phases.

    values: [frames, 6] as `moved_cameras` takes them: degrees about the head's origin, and NGP units. They start at zero.
    """

    def __init__(self, dataset: Dataset) -> None:
        frames, kept = len(dataset.train), set(dataset.kept)
        self.kept = sorted(kept)
        # Frames that show another one's content have its correction.
        self.owners = [number if number in kept and k not in kept else k for k, number in enumerate(dataset.numbers[:frames])]
        self.values = dataset.c2w.new_zeros(frames, 6)
        self.tracked = dataset.c2w[:frames].clone()

    def camera_to_world(self, frame: int) -> Float[Tensor, "4 4"]:
        """The corrected pose of one frame."""
        return moved_cameras(self.tracked[frame], self.values[frame])

    @torch.no_grad()
    def centre(self) -> None:
        """Take the mean over the frames away: a common motion is the canonical space's, which held-out frames share, and no error."""
        self.values[self.kept] -= self.values[self.kept].mean(dim=0)

    @torch.no_grad()
    def apply_to(self, dataset: Dataset) -> None:
        """Overwrite the dataset's poses of the training frames, which the phases that follow read."""
        dataset.c2w[: len(self.values)] = moved_cameras(self.tracked, self.values[self.owners])

    def sizes(self) -> tuple[float, float]:
        """Root mean squares over the frames, their mean taken away: of the turns (degrees) and the shifts (NGP units)."""
        apart = self.values[self.kept] - self.values[self.kept].mean(dim=0)
        turn, shift = apart.square().view(-1, 2, 3).sum(dim=2).mean(dim=0).sqrt().tolist()
        return turn, shift
