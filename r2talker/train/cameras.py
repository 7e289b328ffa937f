"""The cameras phase: small errors of the tracked head poses are found by exact derivatives of rendered brightness.

The head is frozen. A step draws small patches of some frames, compares what the head shows there with the pictures, and takes a step of
Gauss and Newton on each frame's six numbers (Lucas and Kanade 1981, with a head for a template): from all patches of a frame, not from
their sum. Patches, because the finest cells of the position grid are a part of a pixel wide: a single ray's derivative is exact, but says
what happens within such a cell, where most of it is noise; the mean over a patch says where the picture goes.
Distances along the rays are held: what moves samples along a ray does not change what it gathers, but for noise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from r2talker.data.dataset import torso_over_background
from r2talker.data.regions import Region, padded_region
from r2talker.ops.camera_rays.op import generate_rays, motion_slopes
from r2talker.render.rays import trace_rays
from r2talker.train.corrections import Corrections
from r2talker.train.head import HeadPhase
from r2talker.train.parallel import ALONE, Team
from r2talker.train.phase import learning_rate
from r2talker.train.sampling import frame_of_step, patches_around, pixels_inside, step_generator
from r2talker.types import Rays

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of the colours in a ray's brightness (ITU-R BT.709): one derivative per ray, of what a video keeps at full resolution."""
TRACKER = (0.5, 0.5, 0.5, 0.02, 0.02, 0.02)
"""Standard deviations of the tracker's errors, degrees and NGP units (0.02 are 5 mm): what corrections are weighed against."""
OUTLIER = 0.1
"""Difference in brightness from which on a patch counts by its size and no longer by its square (Huber 1964)."""
LEAST_NOISE = 1e-3
"""Standard deviation of the brightness that is assumed at least."""
MARGIN = 0.05
"""Around the box of the landmarks, in which rays lie."""
RAYS_PER_FRAME = 512
"""What a step draws from a frame, so that six numbers are known well from one look."""
PATCH = 3
"""Side of the patches in pixels."""


@dataclass
class CameraPhase:
    """Refines the poses of the training frames to what `head`, which comes before and goes on afterwards, shows.

    rays: per step, shared by its `frames_per_step` frames, which the processes of `team` share.
    """

    head: HeadPhase
    corrections: Corrections
    steps: int
    rays: int
    frames_per_step: int
    team: Team = ALONE
    name: str = "cameras"

    def __post_init__(self) -> None:
        dataset, size = self.head.dataset, self.head.pictures.size
        points = dataset.pixels[: len(dataset.train)] * (size / dataset.info.size)
        self.boxes: list[Region] = [padded_region(p, MARGIN, size) for p in points]

    @property
    def model(self) -> nn.Module:
        return self.head.model

    def stepper(self) -> "CameraStepper":
        return CameraStepper(self)

    def preview(self) -> Float[Tensor, "height width 3"]:
        return self.head.preview()

    def look(self, frame: int, generator: torch.Generator) -> "Look":
        """Compare a frame with the head, at patches of the face; lips, which move by themselves, are left out."""
        phase, model, size = self.head, self.head.model, self.head.pictures.size
        count = max(1, self.rays // self.frames_per_step // PATCH**2)
        patches = patches_around(pixels_inside(self.boxes[frame], count, size, generator), PATCH, size)
        still = ~phase.regions[frame].lips.contains(patches // size, patches % size).any(dim=1)
        pixels = patches[still].reshape(-1)
        camera = replace(phase.dataset.camera(frame, size), c2w=self.corrections.camera_to_world(frame))
        rays = generate_rays(camera, pixels)
        rays = Rays(rays.origins.clone().requires_grad_(), rays.directions.requires_grad_())
        row, noise = phase.pictures.index[frame], torch.rand(len(pixels), generator=generator, device=pixels.device)
        truth = phase.pictures.truth[row].reshape(-1, 3)[pixels].float() / 255
        plate = phase.pictures.background.reshape(-1, 3)[pixels]
        behind = torso_over_background(phase.pictures.torso[row].reshape(-1, 4)[pixels], plate)
        with frozen(model):
            code = phase.frame_code(frame, phase.conditions.windows[frame], frame)
            shown = trace_rays(model.head, model.occupancy, rays, code, behind, phase.settings, noise=noise).rgb
        luma = torch.tensor(LUMA, device=shown.device)
        by_ray = torch.autograd.grad((shown @ luma).sum(), (rays.origins, rays.directions))
        rays = Rays(rays.origins.detach(), rays.directions.detach())
        error = truth - shown.detach()
        missing, slopes = error @ luma, motion_slopes(rays, *by_ray)
        return Look(missing.view(-1, PATCH**2).mean(dim=1), slopes.view(-1, PATCH**2, 6).mean(dim=1), error)


@dataclass(frozen=True)
class Look:
    """What one look at a frame says. missing: brightness of the picture's patches beyond the head's; slopes: what a motion of the camera
    adds to the head's; error: of all colours."""

    missing: Float[Tensor, " patches"]
    slopes: Float[Tensor, "patches 6"]
    error: Float[Tensor, "rays 3"]

    def sums(self) -> Float64[Tensor, "44"]:
        """Normal equations of the motion, in units of the patches' noise: matrix [6, 6] and right side [6]; squared error, and one.

        Added over looks, they are those of all patches.
        """
        missing, slopes = self.missing.double(), self.slopes.double()
        weights = (OUTLIER / missing.abs().clamp_min(1e-12)).clamp(max=1)
        noise = (weights * missing**2).sum() / weights.sum().clamp_min(1e-12)
        weighed = slopes * (weights / noise.clamp_min(LEAST_NOISE**2))[:, None]
        matrix, right = weighed.T @ slopes, weighed.T @ missing
        squared = self.error.double().square().mean().nan_to_num(0.0)
        return torch.cat([matrix.reshape(-1), right, squared[None], squared.new_ones(1)])


class CameraStepper:
    """See `Stepper`; all that it knows are the corrections, which are in the model."""

    log_period = 20

    def __init__(self, phase: CameraPhase) -> None:
        self.phase = phase
        self._error = torch.ones(())

    @torch.no_grad()
    def take(self, step: int) -> None:
        phase, values, frames = self.phase, self.phase.corrections.values, self.phase.frames_per_step
        order, seed = phase.corrections.kept, phase.head.config.seed
        sums = torch.zeros(len(values), 44, dtype=torch.float64, device=values.device)
        for place in phase.team.places(frames):
            turn = step * frames + place
            frame = order[frame_of_step(len(order), seed, turn)]
            with torch.enable_grad():
                look = phase.look(frame, step_generator(seed, turn, values.device))
            sums[frame] += look.sums()
        phase.team.sum(sums)
        seen = torch.nonzero(sums[:, 43]).flatten()
        self._error = sums[:, 42].sum() / frames
        known = 1 / torch.tensor(TRACKER, dtype=torch.float64, device=values.device) ** 2
        matrix = sums[seen, :36].view(-1, 6, 6) + torch.diag(known)
        motion = torch.linalg.solve(matrix, sums[seen, 36:42] - known * values[seen])
        # Later looks are averaged with earlier ones.
        values[seen] += (learning_rate(1.0, step, phase.steps) * motion).to(values)

    def scalars(self) -> dict[str, float]:
        turn, shift = self.phase.corrections.sizes()
        return {"psnr": -10 * float(torch.log10(self._error.clamp_min(1e-12))), "turn": turn, "shift": shift}

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Nothing is kept beside the model."""

    def replan(self, steps: int) -> None:
        self.phase.steps = steps

    def publish(self) -> None:
        """Nothing is kept beside the model."""

    def finish(self) -> None:
        """Take the common motion out, and let the phases that follow see the poses."""
        self.phase.corrections.centre()
        self.phase.team.follow([self.phase.corrections.values])
        self.phase.corrections.apply_to(self.phase.head.dataset)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradients for the module's parameters, which would cost more than those of the rays."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
