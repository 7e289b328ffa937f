"""The torso phase: pixels of the training frames of a step; the head takes no part in it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.data.dataset import Dataset, Pictures, torso_over_background
from r2talker.data.regions import Region, mask_region
from r2talker.model.parameters import ParameterGroup
from r2talker.model.talking_head import TalkingHead
from r2talker.model.torso import Torso
from r2talker.ops.camera_rays.op import background_coords, pose_vector
from r2talker.ops.cuda.kernels import missing
from r2talker.train.arithmetic import PLAIN, Arithmetic
from r2talker.train.config import TrainConfig
from r2talker.train.exposure import Exposure, usual_torso
from r2talker.train.fused_torso import FusedTorso, TorsoClip
from r2talker.train.losses import binary_entropy, squared_error
from r2talker.train.parallel import ALONE, Team
from r2talker.train.phase import StepLoss, Stepper
from r2talker.train.sampling import frame_of_step, pixels_inside, step_generator, within_pixels
from r2talker.train.stepper import GradientStepper

TORSO_SHARE = 0.85
"""Share of rays drawn from the torso's bounding box."""
NET_RATE = 3e-3
"""Learning rate of the networks at the start."""
OPACITY_WEIGHT = 0.1
"""Weight of the squared error of alpha."""


@dataclass
class TorsoPhase:
    """Trains `model.torso` against the torso pictures of the training split, composited over the background.

    rays: pixels per step, shared by its `frames_per_step` frames, which the processes of `team` share. stances: [training frames, 3] where
    the bodies stand, None for torsos that follow nothing. exposure: of the frames, as the head has found it.
    """

    model: TalkingHead
    dataset: Dataset
    pictures: Pictures
    config: TrainConfig
    steps: int
    rays: int
    frames_per_step: int = 1
    stances: Float[Tensor, "frames 3"] | None = None
    exposure: Exposure | None = None
    arithmetic: Arithmetic = PLAIN
    team: Team = ALONE
    name: str = "torso"

    def __post_init__(self) -> None:
        size, device = self.pictures.size, self.pictures.background.device
        self.order = self.dataset.kept
        self.coords = background_coords(size, size).to(device)
        covered = (self.pictures.torso[..., 3] > 0).any(0).cpu()
        self.region = mask_region(covered, 2)

    @cached_property
    def poses(self) -> Float[Tensor, "frames 6"]:
        """Of all frames, as they are when this phase begins: phases before it may refine them."""
        return torch.stack([pose_vector(c2w) for c2w in self.dataset.c2w]).to(self.coords.device)

    @property
    def torso(self) -> Torso:
        torso = self.model.torso
        assert torso is not None
        return torso

    def stepper(self) -> Stepper:
        """Recorded graphs where kernels can run and may; there every process looks at one frame."""
        if self.arithmetic.fused and missing(self.coords.device) is None:
            return self._fused()
        return GradientStepper(self, self.config, self.team, self.arithmetic.loss_scale)

    def groups(self) -> list[ParameterGroup]:
        rate = NET_RATE if self.config.net_rate is None else self.config.net_rate
        return self.model.torso_groups(self.config.grid_rate, rate)

    def prepare(self, step: int) -> None:
        if step % self.config.occupancy_interval == 0:
            frame = self.order[frame_of_step(len(self.order), self.config.seed + 1, step)]
            generator = step_generator(self.config.seed + 1, step, self.coords.device)
            self.model.torso_occupancy.update(self.torso, self.poses[frame], self.torso.individual_codes[frame], generator)

    def loss(self, turn: int) -> StepLoss:
        generator = step_generator(self.config.seed, turn, self.coords.device)
        frame = self.order[frame_of_step(len(self.order), self.config.seed, turn)]
        pixels = self._pixels(generator)
        shift = torch.rand(len(pixels), 2, generator=generator, device=self.coords.device)
        coords = within_pixels(self.coords[pixels], shift, self.pictures.size)
        row = self.pictures.index[frame]
        plate = self.pictures.background.reshape(-1, 3)[pixels]
        target = self.pictures.torso[row].reshape(-1, 4)[pixels]
        truth = usual_torso(target, plate, self.exposure, torch.full((1,), frame, device=self.coords.device))
        torso = self.arithmetic.torso(self.torso)
        stance = None if self.stances is None else self.stances[frame]
        out = torso(coords, self.poses[frame], self.torso.individual_codes[frame], stance)
        blended = out.rgb * out.alpha + plate.float() / 255 * (1 - out.alpha)
        error = squared_error(blended, truth)
        opacity = squared_error(out.alpha, target[:, 3:].float() / 255)
        entropy = binary_entropy(out.alpha)
        # Where torso and background have one colour the blend says nothing about alpha; the mask does.
        total = error + OPACITY_WEIGHT * opacity + self.config.entropy * entropy
        return StepLoss(total, {"psnr": -10 * torch.log10(error.detach()), "opacity error": opacity})

    @torch.no_grad()
    def preview(self) -> Float[Tensor, "height width 3"]:
        frame = (self.dataset.held_out or self.dataset.train)[0]
        size, row = self.pictures.size, self.pictures.index[frame]
        plate = self.pictures.background.reshape(-1, 3).float() / 255
        out = self.torso(self.coords, self.poses[frame], self.torso.individual_codes[0])
        image = (out.rgb * out.alpha + plate * (1 - out.alpha)).reshape(size, size, 3)
        return torch.cat([torso_over_background(self.pictures.torso[row], self.pictures.background), image], dim=1)

    def _fused(self) -> FusedTorso:
        pictures, config, frames = self.pictures, self.config, len(self.dataset.train)
        size, device = pictures.size, self.coords.device
        rows, columns = torch.arange(self.region.top, self.region.bottom), torch.arange(self.region.left, self.region.right)
        turns = range(self.team.rank, self.steps * self.team.size, self.team.size)
        order = [self.order[frame_of_step(len(self.order), config.seed, turn)] for turn in turns]
        clip = TorsoClip(
            torso=pictures.torso[:frames].reshape(frames, size * size, 4),
            plate=pictures.background.reshape(-1, 3),
            coords=self.coords,
            poses=self.poses[:frames],
            stances=self.stances,
            schedule=torch.tensor(order, dtype=torch.int32, device=device),
            inside=(rows[:, None] * size + columns).reshape(-1).to(device, torch.int32),
            share=TORSO_SHARE,
        )
        return FusedTorso(
            self.torso, self.model.torso_occupancy, self.groups(), clip, steps=self.steps, pixels=max(1, self.rays // self.team.size),
            average_steps=config.ema_share * self.steps, interval=config.occupancy_interval, entropy=config.entropy,
            opacity=OPACITY_WEIGHT, exposure=self.exposure, team=self.team,
        )  # fmt: skip

    def _pixels(self, generator: torch.Generator) -> Tensor:
        size, rays = self.pictures.size, max(1, self.rays // self.frames_per_step)
        inside = int(rays * TORSO_SHARE)
        plan = ((self.region, inside), (Region(0, size, 0, size), rays - inside))
        return torch.cat([pixels_inside(region, count, size, generator) for region, count in plan])
