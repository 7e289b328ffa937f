"""The head phase: rays of the training frames of a step, over the true torso (upstream.md 6.2)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from r2talker.data.dataset import Dataset, Pictures, torso_over_background
from r2talker.model.head import FrameCode, Head
from r2talker.model.parameters import ParameterGroup
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.render_head.cuda import view_words
from r2talker.ops.train_head.cuda import ClipTensors, Losses
from r2talker.render.config import RenderSettings
from r2talker.render.rays import TracedRays, render_rays, trace_rays
from r2talker.train.arithmetic import PLAIN, Arithmetic
from r2talker.train.conditions import Conditions
from r2talker.train.config import SamplingConfig, TrainConfig
from r2talker.train.exposure import START_SHARE
from r2talker.train.fused_head import FusedHead, HeadSchedule, fused_trains
from r2talker.train.lessons import HEAD, NO_LESSONS, Lessons, SeenRays, note_errors, note_exposure
from r2talker.train.levels import landmark_grids, let_levels_in
from r2talker.train.lids import SAMPLING, frame_of_lids, lid_rays
from r2talker.train.losses import PatchLoss, binary_entropy, patch_loss, squared_error
from r2talker.train.parallel import ALONE, SEED_STRIDE, Team
from r2talker.train.phase import StepLoss, Stepper
from r2talker.train.recombine import PERIOD, Role, classes_of_openings, driven_by_others, frame_for_eyes, role_of, sampling_of
from r2talker.train.sampling import FrameRegions, frame_of_step, pixels_inside, sample_patches, sample_pixels, step_generator
from r2talker.train.stepper import GradientStepper


def runs_fused(arithmetic: Arithmetic, head: Head, device: torch.device) -> bool:
    """Whether kernels take the head's steps: where they can run and may."""
    return arithmetic.fused and fused_trains(head, device)


@dataclass
class HeadPhase:
    """Trains `model.head` on the training split; `order` lists the frames of an epoch, shuffled anew in each.

    rays: per step, shared by its `frames_per_step` frames, which the processes of `team` share. patches: rays fill square patches,
    which are judged as such; the `lips` phase. net_rate: of the networks at the start; rate: factor on all learning rates. sampling:
    where rays go. again: the head has been trained before. recombine: some frames are there for their eyes only (`recombine.py`).
    lids: some rays look at the eyes of a second frame (`lids.py`). lessons: what outlives the phase beside the model.
    """

    model: TalkingHead
    dataset: Dataset
    pictures: Pictures
    conditions: Conditions
    regions: list[FrameRegions]
    settings: RenderSettings
    config: TrainConfig
    steps: int
    rays: int
    frames_per_step: int
    occupancy_cells: int
    order: list[int]
    sampling: SamplingConfig
    net_rate: float
    recombine: bool
    lids: bool = False
    again: bool = False
    patches: PatchLoss | None = None
    rate: float = 1.0
    lessons: Lessons = NO_LESSONS
    arithmetic: Arithmetic = PLAIN
    team: Team = ALONE
    name: str = "head"

    def __post_init__(self) -> None:
        self.openings = classes_of_openings(self.conditions.eye, self.dataset.kept) if self.recombine or self.lids else []

    @property
    def device(self) -> torch.device:
        return self.pictures.background.device

    def stepper(self) -> Stepper:
        if runs_fused(self.arithmetic, self.model.head, self.device):
            return self._fused()
        return GradientStepper(self, self.config, self.team, self.arithmetic.loss_scale, self._learn)

    def _learn(self) -> None:
        """At the end of a step: what one process noted all know, so that all learn the same."""
        for part in (self.lessons.hard, self.lessons.studied):
            if part is not None:
                self.team.sum(part.fresh)
                part.learn()

    def groups(self) -> list[ParameterGroup]:
        return self.model.head_groups(self.config.grid_rate * self.rate, self.net_rate * self.rate)

    def frame_code(self, frame: int, windows: Tensor, code: int) -> FrameCode:
        """The code of one frame from its (possibly noisy) window."""
        return FrameCode(
            condition=self.model.head.contract.encode(windows[None])[0],
            eye=self.conditions.eye[frame],
            individual=self.model.head.individual_codes[code],
        )

    @property
    def unlock_steps(self) -> int:
        """Steps until every level of the grids takes part; a head that goes on has them all."""
        return 0 if self.again else int(self.config.unlock_share * self.steps)

    def prepare(self, step: int) -> None:
        grids = [self.model.head.position_grid, *landmark_grids(self.model.head)]
        let_levels_in(grids, self.config.coarse_levels, self.unlock_steps, step)
        if step % self.config.occupancy_interval == 0:
            frame = self.order[frame_of_step(len(self.order), self.config.seed + 1, step)]
            with torch.no_grad():
                code = self.frame_code(frame, self.conditions.windows[frame], frame)
                generator = step_generator(self.config.seed + 1, step, self.device)
                self.model.occupancy.update(self.model.head, code, generator, most=self.occupancy_cells)

    @cached_property
    def rectangles(self) -> Int[Tensor, "frames 4 4"]:
        """(top, bottom, left, right) of every training frame's head, lips, eyes and face."""
        rows = [[region.rows_and_columns for region in (r.head, r.lips, r.eyes, r.face)] for r in self.regions]
        return torch.tensor(rows, dtype=torch.int32, device=self.device)

    @property
    def rays_per_frame(self) -> int:
        """Rays that a step draws from each of its frames."""
        return max(1, self.rays // self.frames_per_step)

    def loss(self, turn: int) -> StepLoss:
        generator = step_generator(self.config.seed, turn, self.device)
        role = role_of(turn, self.recombine)
        frame, size = self._frame(turn, role), self.pictures.size
        lids = lid_rays(turn, self.rays_per_frame) if self.lids else 0
        pixels = self._draw(frame, sampling_of(role, self.sampling), self.rays_per_frame - lids, generator)
        rays = generate_rays(self.dataset.camera(frame, size), pixels)
        truth, behind = self._colours(frame, pixels)
        noise = torch.rand(len(pixels), generator=generator, device=self.device)
        # Codes of both frames at once: the networks that make them are large, and what they cost is reading their weights.
        frames = [frame, frame_of_lids(self.openings, self.config.seed, turn)] if lids else [frame]
        codes, head = self._codes(frames, role, generator), self.arithmetic.head(self.model.head)
        traced = trace_rays(head, self.model.occupancy, rays, codes[0], behind, self.settings, noise=noise)
        if self.lessons.hard is not None:
            own = torch.full((1,), role == "face", device=self.device)
            note_errors(self.lessons.hard, self._seen(frame, pixels, truth, traced), own)
        self._study(turn, frame)
        error = squared_error(traced.rgb, truth)
        asked = error if self.patches is None else patch_loss(traced.rgb, truth, self.patches)
        entropy = binary_entropy(traced.opacity)
        outside = ~self.regions[frame].face.contains(pixels // size, pixels % size)
        ambient = torch.mean(traced.ambient * outside)
        done = turn // self.frames_per_step / self.steps
        total = asked + self.config.entropy * entropy + self.config.ambient * done * ambient
        if lids:
            total = torch.lerp(total, self._lids_loss(frames[1], codes[1], lids, generator), lids / self.rays_per_frame)
        return StepLoss(total, {"psnr": -10 * torch.log10(error.detach()), "entropy": entropy})

    def _lids_loss(self, frame: int, code: FrameCode, count: int, generator: torch.Generator) -> Float[Tensor, ""]:
        """The loss of `count` rays that look at the eyes of a frame."""
        size, head = self.pictures.size, self.arithmetic.head(self.model.head)
        pixels = sample_pixels(self.regions[frame], size, count, SAMPLING, generator)
        truth, behind = self._colours(frame, pixels)
        rays = generate_rays(self.dataset.camera(frame, size), pixels)
        noise = torch.rand(count, generator=generator, device=self.device)
        traced = trace_rays(head, self.model.occupancy, rays, code, behind, self.settings, noise=noise)
        return squared_error(traced.rgb, truth) + self.config.entropy * binary_entropy(traced.opacity)

    def _frame(self, turn: int, role: Role) -> int:
        """The frame of a turn, counted over the frames of all steps."""
        seed = self.config.seed
        if role == "eyes":
            return frame_for_eyes(self.openings, seed, turn // PERIOD)
        return self.order[frame_of_step(len(self.order), seed, turn)]

    def _codes(self, frames: list[int], role: Role, generator: torch.Generator) -> list[FrameCode]:
        """The codes of frames in a role, from noisy windows."""
        driving = frames
        if role == "eyes":
            driving = torch.randint(
                0, len(self.dataset.train), (len(frames),), generator=generator, device=self.device
            ).tolist()
        windows = torch.stack([self._noisy(self.conditions.windows[number], generator) for number in driving])
        conditions, head = self.model.head.contract.encode(windows), self.model.head
        return [
            FrameCode(condition, self.conditions.eye[frame], head.individual_codes[frame])
            for condition, frame in zip(conditions, frames, strict=True)
        ]

    def _draw(self, frame: int, sampling: SamplingConfig, rays: int, generator: torch.Generator) -> Tensor:
        """The pixels of a step."""
        regions, size = self.regions[frame], self.pictures.size
        if self.patches is None:
            hard = self._hard_rays(sampling, rays)
            pixels = sample_pixels(regions, size, rays, sampling, generator, elsewhere=hard)
            if self.lessons.hard is None or not hard:
                return pixels
            drawn = self.lessons.hard.draw(self.rectangles[frame, HEAD][None], hard, size, generator)[0]
            return torch.cat([pixels, drawn])
        count = max(1, rays // self.patches.side**2)
        return sample_patches(regions, size, count, self.patches.side, sampling, generator)

    def _colours(self, frame: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The truth and what stands behind the head, both at the usual exposure as far as it is known."""
        row = self.pictures.index[frame]
        truth = self.pictures.truth[row].reshape(-1, 3)[pixels].float() / 255
        torso, plate = self.pictures.torso[row].reshape(-1, 4)[pixels], self.pictures.background.reshape(-1, 3)[pixels]
        behind = torso_over_background(torso, plate)
        if self.lessons.exposure is None:
            return truth, behind
        only = torch.full((1,), frame, device=self.device)
        truth, behind = (self.lessons.exposure.undo(colours[None], only)[0] for colours in (truth, behind))
        return truth, behind

    def _seen(self, frame: int, pixels: Tensor, truth: Tensor, traced: TracedRays) -> SeenRays:
        frames, rectangles = torch.full((1,), frame, device=self.device), self.rectangles[frame][None]
        shown, opacity = traced.rgb.detach()[None], traced.opacity.detach()[None]
        return SeenRays(frames, pixels[None], rectangles, shown, truth[None], opacity, self.pictures.size)

    @torch.no_grad()
    def _study(self, turn: int, frame: int) -> None:
        """See how bright a frame is, beside the head as another frame has it."""
        exposure = self.lessons.studied
        if exposure is None or turn < START_SHARE * self.steps * self.frames_per_step:
            return
        generator = step_generator(self.config.seed + 4, turn, self.device)
        size, model = self.pictures.size, self.model
        pixels = pixels_inside(self.regions[frame].head, self.rays_per_frame, size, generator)
        other = int(torch.randint(0, len(self.dataset.train), (1,), generator=generator, device=self.device))
        code = self.frame_code(other, self.conditions.windows[other], other)
        truth, behind = self._colours(frame, pixels)
        rays = generate_rays(self.dataset.camera(frame, size), pixels)
        traced = render_rays(model.head, model.occupancy, rays, code, behind, self.settings)
        note_exposure(exposure, self._seen(frame, pixels, truth, traced))

    def _hard_rays(self, sampling: SamplingConfig, rays: int) -> int:
        """Of a frame's rays."""
        return 0 if self.lessons.hard is None else int(rays * sampling.hard)

    def _fused(self) -> FusedHead:
        config, frames = self.config, len(self.dataset.train)
        schedule = HeadSchedule(
            self.steps,
            self.rays_per_frame,
            config.ema_share * self.steps,
            config.occupancy_interval,
            config.landmark_noise if self.model.drives_landmarks else 0.0,
            config.warmup,
            self.patches,
            self._hard_rays(self.sampling, self.rays_per_frame),
        )
        side = 0 if self.patches is None else self.patches.side
        # Kernels count the rays of their own frames, so every process draws by a seed of its own.
        seed = config.seed + SEED_STRIDE * self.team.rank
        losses = Losses(config.entropy, config.ambient, seed, self.steps, config.coarse_levels, self.unlock_steps, patch=side)
        places = self.team.places(self.frames_per_step)
        roles = [role_of(place, self.recombine) for place in places]
        return FusedHead(
            self.model.head,
            self.model.occupancy,
            self.groups(),
            self._clip(roles, places),
            self.conditions.windows[:frames].contiguous(),
            self.conditions.eye[:frames].contiguous(),
            driven_by_others(roles, self.device),
            losses,
            schedule,
            self.settings,
            self.team,
            self.lessons,
        )

    def _clip(self, roles: list[Role], places: range) -> ClipTensors:
        """The training frames as the kernels read them, and the `places` of every step; pictures of training frames come first, in order."""
        shares = [sampling_of(role, self.sampling) for role in roles]
        pictures, frames, device = self.pictures, len(self.dataset.train), self.device
        slots = self.frames_per_step
        turns = [(step * slots + place, role) for step in range(self.steps) for place, role in zip(places, roles, strict=True)]
        order = [self._frame(turn, role) for turn, role in turns]
        schedule = torch.tensor(order, dtype=torch.int32, device=device).view(self.steps, len(places))
        return ClipTensors(
            truth=pictures.truth[:frames].contiguous(),
            torso=pictures.torso[:frames].contiguous(),
            plate=pictures.background.contiguous(),
            views=view_words(self.dataset.c2w[:frames].to(device), self.dataset.camera(0, pictures.size)).contiguous(),
            regions=self.rectangles,
            schedule=schedule,
            shares=torch.tensor([[s.anywhere, s.lips, s.eyes] for s in shares], device=device),
        )

    @torch.no_grad()
    def preview(self) -> Float[Tensor, "height width 3"]:
        frame = (self.dataset.held_out or self.dataset.train)[0]
        row, size = self.pictures.index[frame], self.pictures.size
        behind = torso_over_background(self.pictures.torso[row], self.pictures.background).reshape(-1, 3)
        code = self.frame_code(frame, self.conditions.windows[frame], 0)
        rays = generate_rays(self.dataset.camera(frame, size))
        image = render_rays(self.model.head, self.model.occupancy, rays, code, behind, self.settings).rgb
        return torch.cat([self.pictures.truth[row].float() / 255, image.reshape(size, size, 3)], dim=1)

    def _noisy(self, window: Tensor, generator: torch.Generator) -> Tensor:
        """Jitter of the driving landmarks, so that generated ones, which never repeat the clip's exactly, do not break the face."""
        scale = self.config.landmark_noise if self.model.drives_landmarks else 0.0
        if not scale:
            return window
        return window + scale * torch.randn(window.shape, generator=generator, device=window.device)
