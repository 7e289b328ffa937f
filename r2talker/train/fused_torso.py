"""Torso training on a GPU: every step is one graph, from drawn pixels to the optimiser."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, UInt8
from torch import Tensor

from r2talker.model.occupancy import TorsoOccupancy
from r2talker.model.parameters import ParameterGroup
from r2talker.model.torso import Torso
from r2talker.train.exposure import Exposure, usual_torso
from r2talker.train.flat import FlatWeights, Graphs, decaying_rates, take_step
from r2talker.train.losses import binary_entropy, squared_error
from r2talker.train.parallel import ALONE, Team
from r2talker.train.sampling import within_pixels


@dataclass(frozen=True)
class TorsoClip:
    """torso: [frames, H * W, 4] bytes. plate: [H * W, 3] bytes. coords: [H * W, 2]. poses: [frames, 6]. schedule: [steps] frames.

    stances: [frames, 3] where the bodies stand, None for torsos that follow nothing. inside: flat numbers of the pixels of the torso's
    rectangle, of which `share` of the pixels are drawn; the rest from everywhere.
    """

    torso: UInt8[Tensor, "frames pixels 4"]
    plate: UInt8[Tensor, "pixels 3"]
    coords: Float[Tensor, "pixels 2"]
    poses: Float[Tensor, "frames 6"]
    stances: Float[Tensor, "frames 3"] | None
    schedule: Int32[Tensor, " steps"]
    inside: Int32[Tensor, " inside"]
    share: float


class FusedTorso:
    """Trains `torso` and its occupancy, as a `Stepper`; `entropy` weighs the opacity entropy, `opacity` the squared error of alpha.

    exposure: of the frames, which is taken back from their torsos.

    team: processes that train it together; `clip.schedule` holds this one's frames only, `pixels` is its share of a step's.
    """

    log_period = 200

    def __init__(
        self,
        torso: Torso,
        occupancy: TorsoOccupancy,
        groups: Sequence[ParameterGroup],
        clip: TorsoClip,
        *,
        steps: int,
        pixels: int,
        average_steps: float,
        interval: int,
        entropy: float,
        opacity: float,
        exposure: Exposure | None = None,
        team: Team = ALONE,
    ) -> None:
        self.team = team
        self.torso, self.occupancy, self.clip, self.pixels, self.interval = torso, occupancy, clip, pixels, interval
        self.entropy, self.opacity, self.exposure = entropy, opacity, exposure
        device = clip.plate.device
        self.average_share = average_steps / steps
        self.weights = FlatWeights(groups, decaying_rates(steps, device), [], average_steps)
        self.losses = torch.zeros(2, device=device)
        self.done = 0
        self._graphs = Graphs(lambda: [*self.weights.changing(), occupancy.alpha, occupancy.mean])

    def advance(self, steps: int = 1) -> None:
        """Take so many steps; returns before the device has done them."""
        for _ in range(steps):
            if self.done % self.interval == 0:
                self._refresh_for_all()
            take_step(self._graphs, self.weights, self.team, self._pull)
            self.done += 1
            self.weights.take_average(self.done)

    def take(self, step: int) -> None:
        """Take the next step, which is number `step`."""
        self.advance()

    def scalars(self) -> dict[str, float]:
        """Readings of the last step for the log."""
        error, opacity = self.losses.tolist()
        return {"psnr": -10 * math.log10(max(error, 1e-12)), "opacity error": opacity}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return self.weights.tensors()

    def replan(self, steps: int) -> None:
        """The schedule ends after `steps` steps now."""
        if self.weights.replan(decaying_rates(steps, self.losses.device), self.average_share * steps):
            self._graphs.forget()

    def publish(self) -> None:
        """Nothing is kept beside the model."""

    def finish(self) -> None:
        """Leave the averaged weights in the model."""
        self.weights.finish()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Weights and moments of a checkpoint; the occupancy belongs to the model."""
        self.weights.restore(tensors)
        self.done = int(self.weights.steps)

    def _frame(self) -> Tensor:
        return self.clip.schedule.index_select(0, torch.remainder(self.weights.steps, len(self.clip.schedule))).long()

    @torch.no_grad()
    def _refresh(self) -> None:
        frame = self._frame()
        individual = self.torso.individual_codes.index_select(0, frame)[0]
        self.occupancy.update(self.torso, self.clip.poses.index_select(0, frame)[0], individual, None)

    def _refresh_for_all(self) -> None:
        """The leader's occupancy is everybody's."""
        if self.team.leads:
            self._graphs.run("refresh", self._refresh)
        self.team.follow([self.occupancy.alpha, self.occupancy.mean])

    def _draw(self) -> Tensor:
        """Flat numbers of the step's pixels."""
        clip, inside = self.clip, int(self.pixels * self.clip.share)
        u = torch.rand(self.pixels, device=clip.plate.device)
        within = clip.inside.index_select(0, (u[:inside] * len(clip.inside)).long().clamp(max=len(clip.inside) - 1))
        anywhere = (u[inside:] * len(clip.plate)).long().clamp(max=len(clip.plate) - 1)
        return torch.cat([within.long(), anywhere])

    def _pull(self) -> None:
        clip, frame = self.clip, self._frame()
        pixels = self._draw()
        size = len(clip.plate)
        target = clip.torso.view(-1, 4).index_select(0, frame * size + pixels)
        plate = clip.plate.index_select(0, pixels)
        individual = self.torso.individual_codes.index_select(0, frame)[0]
        shift = torch.rand(len(pixels), 2, device=self.losses.device)
        coords = within_pixels(clip.coords.index_select(0, pixels), shift, math.isqrt(len(clip.plate)))
        stance = None if clip.stances is None else clip.stances.index_select(0, frame)[0]
        out = self.torso(coords, clip.poses.index_select(0, frame)[0], individual, stance)
        blended = out.rgb * out.alpha + plate.float() / 255 * (1 - out.alpha)
        error = squared_error(blended, usual_torso(target, plate, self.exposure, frame))
        alpha = squared_error(out.alpha, target[:, 3:].float() / 255)
        (error + self.opacity * alpha + self.entropy * binary_entropy(out.alpha)).backward()
        with torch.no_grad():
            self.losses.copy_(torch.stack([error, alpha]))
