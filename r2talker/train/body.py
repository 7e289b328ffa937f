"""How the body stands in every training frame, found by laying the torso pictures on one another, and how much of it the neck tells."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from r2talker.data.dataset import Dataset, Pictures
from r2talker.ops.camera_rays.op import pose_vector
from r2talker.ops.render_torso.follow import Follow, neck_shift, neck_tangents, usual_stance
from r2talker.progress import Progress, Silent

ROUNDS = {32: 12, 64: 8, 128: 3}
"""How often pictures are compared at which size, every time with a new mean of all. Small ones are cheap, and what is left after them is
small; the sizes stop at half the pictures'."""
NOISE = 0.05
"""Difference at which a pixel has half its weight: folds and the shade of the head say nothing about where the body is."""
PRIOR = 1e-3
"""Weight of the squared distance from the neck's place, per pixel of the picture: a torso without marks stays there."""
RIDGE = 1e-5
"""Squared coordinates. A neck that moves by less, a pixel or so, does not tell how much of it a body goes along with."""
CHUNK = 64
"""Frames compared at once."""
_SILENT = Silent()


@dataclass(frozen=True)
class Body:
    """stances: [training frames, 3] where each body stands, as `usual_stance` gives it. follow: what poses tell of it.

    reach: how far bodies come from their usual place, background coordinates: the 98th percentile, because a few lost frames shall not
    make everything coarse.
    """

    follow: Follow
    stances: Float[Tensor, "frames 3"]
    reach: float


@torch.no_grad()
def track_body(dataset: Dataset, pictures: Pictures, progress: Progress = _SILENT) -> Body:
    """Where bodies stand in the training frames, which come first in `pictures`, in their order."""
    train, info = list(dataset.train), dataset.info
    poses = torch.stack([pose_vector(dataset.c2w[frame].cpu()) for frame in train])
    follow = _neck_alone(poses[dataset.kept], 2 * info.focal / info.size)
    neck = neck_shift(poses, follow)
    device = pictures.torso.device
    pivot = torch.tensor([follow.row, follow.column], device=device)
    offsets = lay_together(pictures.torso[: len(train)], neck.to(device), pivot, progress).cpu()
    follow = fit_follow(follow, neck[dataset.kept], offsets[dataset.kept])
    stances = offsets + torch.cat([neck, torch.zeros(len(neck), 1)], dim=1)
    # Which of all places is the usual one nothing says: it is taken so that the neck's alone is none.
    stances -= (stances - usual_stance(poses, follow))[dataset.kept].mean(0)
    reach = float(stances[dataset.kept, :2].abs().amax(1).quantile(0.98))
    progress.end(f"goes along with {follow.gain[0]:.2f} of the neck's way down and {follow.gain[3]:.2f} across")
    return Body(follow, stances.to(device), reach)


def _neck_alone(poses: Float[Tensor, "frames 6"], scale: float) -> Follow:
    row, column = (scale * neck_tangents(poses)).median(0).values.tolist()
    return Follow(scale, row, column)


def fit_follow(follow: Follow, neck: Float[Tensor, "frames 2"], offsets: Float[Tensor, "frames 3"]) -> Follow:
    """The linear part of what bodies do beside the neck (`offsets`, see `lay_together`), given its shifts, by least squares."""
    moved = (neck - neck.mean(0)).double()
    normal = moved.T @ moved + len(moved) * RIDGE * torch.eye(2, dtype=torch.float64)
    slopes = torch.linalg.solve(normal, moved.T @ offsets.double())
    (down, right), (down_by_column, right_by_column) = slopes[:, :2].tolist()
    by_row, by_column = slopes[:, 2].tolist()
    return replace(follow, gain=(1 + down, down_by_column, right, 1 + right_by_column), lean=(by_row, by_column))


def lay_together(
    torso: UInt8[Tensor, "frames side side 4"],
    neck: Float[Tensor, "frames 2"],
    pivot: Float[Tensor, "2"],
    progress: Progress = _SILENT,
) -> Float[Tensor, "frames 3"]:
    """By how much each frame's torso is off the place that the neck gives it: (row, column) in background coordinates (upstream.md 2.5),
    then the angle in radians, from down to right, about the neck. Their median over the frames is 0.

    torso: RGBA pictures. neck: its shift in each. pivot: its usual place. Gauss-Newton on the squared differences of brightness times
    opacity and of opacity from their means over all frames, coarse to fine (Lucas and Kanade 1981), with Geman and McClure's weights.
    """
    offsets = torch.zeros(len(torso), 3, device=torso.device)
    edge = (torso.shape[1] - 1) / torso.shape[1]
    sides = [side for side in ROUNDS if 2 * side <= max(torso.shape[1], 2 * min(ROUNDS))]
    # In per cent of the pixels, which are what rounds cost.
    whole, done = sum(ROUNDS[side] * side**2 for side in sides), 0
    progress.begin("body", 100)
    for side in sides:
        laid = _Laid(_reduced(torso, side), neck, pivot, edge)
        for _ in range(ROUNDS[side]):
            mean = laid.mean(offsets)
            for some in torch.arange(len(torso), device=torso.device).split(CHUNK):
                offsets[some] += laid.improvement(some, offsets[some], mean)
            # On the CPU, where it is deterministic.
            offsets -= offsets.cpu().median(0).values.to(offsets.device)
            done += side**2
            progress.advance(round(100 * done / whole))
    return offsets


def _reduced(torso: Tensor, side: int) -> UInt8[Tensor, "frames 2 side side"]:
    """Brightness times opacity, and opacity; a pixel is the mean of what it covers."""
    parts = []
    for some in torso.split(CHUNK):
        alpha = some[..., 3].float()
        both = torch.stack([some[..., :3].float().mean(-1) * alpha / 255, alpha], dim=1)
        parts.append(interpolate(both, size=(side, side), mode="area").round().to(torch.uint8))
    return torch.cat(parts)


@dataclass
class _Laid:
    """Pictures of one size, and how they lie on one another. edge: the outermost pixels' middles, where 1 is the picture's edge."""

    pictures: UInt8[Tensor, "frames 2 side side"]
    neck: Float[Tensor, "frames 2"]
    pivot: Float[Tensor, "2"]
    edge: float

    def __post_init__(self) -> None:
        side, device = self.pictures.shape[-1], self.pictures.device
        line = ((torch.arange(side, device=device) + 0.5) / side * 2 - 1) / self.edge
        # From the neck to every pixel.
        self.arms = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1) - self.pivot

    def mean(self, offsets: Tensor) -> Float[Tensor, "3 side side"]:
        """The mean of all pictures beside the body, and where enough of them have something to show."""
        count = torch.zeros_like(self.arms[..., 0])
        total = count.expand(2, -1, -1).clone()
        for some in torch.arange(len(offsets), device=offsets.device).split(CHUNK):
            shown, known = self._beside(some, offsets[some])
            total += (shown * known).sum(0)
            count += known[:, 0].sum(0)
        return torch.cat([total / count.clamp_min(1), (count > 0.3 * len(offsets)).float()[None]])

    def improvement(self, some: Tensor, offsets: Tensor, mean: Tensor) -> Float[Tensor, "some 3"]:
        """A step of Gauss and Newton for some frames."""
        shown, known = self._beside(some, offsets)
        error = mean[:2] - shown
        weight = known * mean[2] * NOISE**2 / (NOISE**2 + error**2)
        # Slopes of both reach further than those of one (Malis 2004).
        down, right = (
            (of_shown + of_mean) / 2 for of_shown, of_mean in zip(_slopes(shown), _slopes(mean[None, :2]), strict=True)
        )
        turn = right * self.arms[..., 0] - down * self.arms[..., 1]
        slopes = torch.stack([down, right, turn], dim=1).flatten(2)
        weighted = slopes * weight.flatten(1)[:, None]
        prior = PRIOR * mean[2].numel()
        normal = weighted @ slopes.transpose(1, 2) + prior * torch.eye(3, device=slopes.device)
        right_side = (weighted * error.flatten(1)[:, None]).sum(-1) - prior * offsets
        # On the CPU: a GPU would first load a library for these few numbers.
        return torch.linalg.solve(normal.cpu(), right_side.cpu()).to(offsets.device)

    def _beside(self, some: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures as the body sees them [some, 2, side, side], and which of their pixels they have [some, 1, side, side]."""
        down, right = self.arms.unbind(-1)
        a, b = offsets[:, 2, None, None].cos(), offsets[:, 2, None, None].sin()
        turned = torch.stack([a * down - b * right, b * down + a * right], dim=-1)
        at = (turned + (self.pivot + self.neck[some] + offsets[:, :2])[:, None, None]) * self.edge
        shown = grid_sample(self.pictures[some].float() / 255, at.flip(-1), align_corners=False, padding_mode="border")
        return shown, (at.abs().amax(-1) < 1 - 2 / len(self.arms))[:, None].float()


def _slopes(shown: Tensor) -> tuple[Tensor, Tensor]:
    """Down and right, per background coordinate."""
    padded, unit = pad(shown, (1, 1, 1, 1), mode="replicate"), shown.shape[-1] / 4
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * unit
    return down, (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * unit
