"""Training on the scene by the fused engine, as training on a dataset uses it."""

import torch
from jaxtyping import Int32
from torch import Tensor

from benchmarks.models import NET_RATE, head_hull
from benchmarks.scene import FRAMES, TRAIN, Clip
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.render_head.cuda import view_words
from r2talker.ops.train_head.cuda import ClipTensors, Losses
from r2talker.render.config import RenderSettings
from r2talker.train.config import TrainConfig
from r2talker.train.fused_head import FusedHead, HeadSchedule
from r2talker.train.lessons import NO_LESSONS, Lessons
from r2talker.train.parallel import ALONE, SEED_STRIDE, Team
from r2talker.train.recombine import driven_by_others
from r2talker.train.sampling import frame_of_step

LIPS = ((-0.14, 0.31, -0.28), (0.14, 0.31, -0.08))
"""Two corners of a box around the scene's mouth."""
MARGIN = 25
"""The head's rectangle is that of its mask, grown by this part of the picture."""


class FusedEngine:
    """See `benchmarks.bench_train.Engine`; readings are of the averaged weights, which are what a run would save.

    rays, frames_per_step: of a step, shared by the processes of `team`. hard: share of the rays drawn where errors are large.
    """

    def __init__(
        self,
        model: TalkingHead,
        clip: Clip,
        steps: int,
        rays: int,
        frames_per_step: int,
        team: Team = ALONE,
        *,
        hard: float = 0.0,
        lessons: Lessons = NO_LESSONS,
    ) -> None:
        config, settings = TrainConfig(), RenderSettings()
        self.model, self.device = model, clip.background.device
        model.occupancy.restrict(head_hull(clip, model.occupancy.centres(), settings))
        windows = clip.windows(model.method).contiguous()
        model.head.contract.start(windows[list(TRAIN)])
        shares = config.sampling
        losses = Losses(config.entropy, config.ambient, config.seed + SEED_STRIDE * team.rank, steps)
        places = list(team.places(frames_per_step))
        schedule = HeadSchedule(
            steps, rays // frames_per_step, config.ema_share * steps, config.occupancy_interval, warmup=config.warmup,
            hard=int(hard * (rays // frames_per_step)),
        )  # fmt: skip
        tensors = ClipTensors(
            truth=clip.pictures,
            torso=clip.pictures.new_zeros(FRAMES, clip.size, clip.size, 4),
            plate=clip.background,
            views=view_words(clip.c2w, clip.camera(0)).contiguous(),
            regions=_regions(clip),
            schedule=_schedule(steps, frames_per_step, config.seed, self.device)[:, places].contiguous(),
            shares=torch.tensor([[shares.anywhere, shares.lips, 0.0]] * len(places), device=self.device),
        )
        nothing = driven_by_others(["face"] * len(places), self.device)
        groups = model.head_groups(config.grid_rate, NET_RATE)
        self.fused = FusedHead(
            model.head, model.occupancy, groups, tensors, windows, clip.eye, nothing, losses, schedule, settings, team, lessons
        )
        self._raw: Tensor | None = None

    def step(self, step: int) -> None:
        if self._raw is not None:
            self.fused.weights.adam.values.copy_(self._raw)
            self._raw = None
        self.fused.take(step)

    def current_model(self) -> TalkingHead:
        weights = self.fused.weights
        if weights.average is not None:
            self._raw = weights.adam.values.clone()
            weights.adam.values.copy_(weights.average)
        self.fused.publish()
        return self.model


def _schedule(steps: int, slots: int, seed: int, device: torch.device) -> Int32[Tensor, "steps slots"]:
    order = [TRAIN[frame_of_step(len(TRAIN), seed, k)] for k in range(steps * slots)]
    return torch.tensor(order, dtype=torch.int32, device=device).view(steps, slots)


def _regions(clip: Clip) -> Int32[Tensor, "frames 4 4"]:
    """Rectangles of head, lips, eyes (none here: the head's) and face (the head's) in every frame."""
    low, high = (torch.tensor(corner, device=clip.c2w.device) for corner in LIPS)
    corners = torch.stack(
        [torch.where(torch.tensor([k & 1, k & 2, k & 4], device=low.device) > 0, high, low) for k in range(8)]
    )
    rows = []
    for frame in range(FRAMES):
        view, margin = clip.camera(frame), clip.size // MARGIN
        y, x = torch.nonzero(clip.masks[frame], as_tuple=True)
        head = _clipped(y.min() - margin, y.max() + margin + 1, x.min() - margin, x.max() + margin + 1, clip.size)
        u, v, w = ((corners - view.c2w[:3, 3]) @ view.c2w[:3, :3]).unbind(-1)
        column, row = u / w * view.fx + view.cx, v / w * view.fy + view.cy
        lips = _clipped(row.min(), row.max() + 1, column.min(), column.max() + 1, clip.size)
        rows.append([head, lips, head, head])
    return torch.tensor(rows, dtype=torch.int32, device=clip.background.device)


def _clipped(top: Tensor, bottom: Tensor, left: Tensor, right: Tensor, size: int) -> tuple[int, int, int, int]:
    return max(0, int(top)), min(size, int(bottom)), max(0, int(left)), min(size, int(right))
