"""Head training on a GPU: every step is one graph of fused kernels, the optimiser included."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from r2talker.model.ambient import AmbientConditioning
from r2talker.model.head import Head
from r2talker.model.occupancy import OccupancyGrid
from r2talker.model.parameters import ParameterGroup
from r2talker.ops.cuda.kernels import load_kernels, missing
from r2talker.ops.occupancy.op import morton_encode, pack_bits
from r2talker.ops.render_head.cuda import column_bits, fits, scene_words
from r2talker.ops.render_head.networks import HeadNetworks
from r2talker.ops.train_head.cuda import CELLS, PARTS, ClipTensors, HalfTables, HeadGradients, HeadStep, Losses, step_macros
from r2talker.render.config import RenderSettings
from r2talker.render.networks import networks
from r2talker.render.rays import marching_rules
from r2talker.train.exposure import START_SHARE, Exposure
from r2talker.train.flat import FlatWeights, Graphs, decaying_rates, take_step
from r2talker.train.lessons import HEAD, NO_LESSONS, Lessons, SeenRays, note_errors, note_exposure
from r2talker.train.levels import landmark_grids, let_levels_in
from r2talker.train.losses import PatchLoss, patch_loss
from r2talker.train.parallel import ALONE, Team

SIDE = 128
STUDY_PERIOD = 4
"""Steps between two looks at the exposure of the frames of a step, each of which costs as much as a third of a step."""
UNLOCK_SLACK = 0.05
"""Change of the steps over which levels come in that a new plan leaves alone, because it costs a recording."""


def fused_trains(head: Head, device: torch.device) -> bool:
    """Whether kernels can train this head on `device`."""
    return missing(device) is None and fits(networks(head))


@dataclass(frozen=True)
class HeadSchedule:
    """steps of the run; rays per frame of a step; average_steps: time constant of the moving average, 0 for none.

    occupancy_interval: steps between refreshes of the occupancy grid. noise: standard deviation added to the windows. warmup: steps
    over which the rates rise. patches: what is asked of the rays when they fill patches. hard: of the rays, drawn where errors are large.
    """

    steps: int
    rays: int
    average_steps: float = 0.0
    occupancy_interval: int = 16
    noise: float = 0.0
    warmup: int = 0
    patches: PatchLoss | None = None
    hard: int = 0


class FusedHead:
    """Trains `head` on a clip.

    A `Stepper`. windows: [frames, W, ...] and eye: [frames] what drives every frame; others: [slots] which frames of a step
    take the windows of another, drawn anew. Cells that `occupancy` calls possible may become occupied. team: processes that train it
    together; `clip.schedule` and `others` are of this one's frames only. lessons: what the rays teach beside the weights.
    """

    log_period = 200

    def __init__(
        self,
        head: Head,
        occupancy: OccupancyGrid,
        groups: Sequence[ParameterGroup],
        clip: ClipTensors,
        windows: Float[Tensor, "frames window *shape"],
        eye: Float[Tensor, " frames"],
        others: Bool[Tensor, " slots"],
        losses: Losses,
        schedule: HeadSchedule,
        settings: RenderSettings,
        team: Team = ALONE,
        lessons: Lessons = NO_LESSONS,
    ) -> None:
        self.lessons = lessons
        self.head, self.occupancy, self.clip, self.schedule, self.team = head, occupancy, clip, schedule, team
        self.windows, self.eye, self.others = windows, eye, others
        self.device = device = clip.plate.device
        tables = [head.position_grid.embeddings]
        if isinstance(head.conditioning, AmbientConditioning):
            tables.append(head.conditioning.ambient_grid.embeddings)
        self.weights = FlatWeights(
            groups, decaying_rates(schedule.steps, device, warmup=schedule.warmup), tables, schedule.average_steps
        )
        self.order = _column_order(device)
        possible = occupancy.density[0] >= 0
        bitfield = pack_bits(possible.float()[None], 0.5)
        self.bits = column_bits(bitfield)
        self.density = torch.where(possible[self.order], 0.0, -1.0)
        self.cells = torch.nonzero(self.density >= 0).flatten().to(torch.int32)
        net = networks(head)
        kernels = load_kernels(PARTS, step_macros(net, clip.slots, schedule.rays), device)
        self.step = HeadStep(
            net, head.individual_codes, self._halves(net), self._gradients(net), clip, losses,
            scene_words(marching_rules(settings), bitfield), self.bits, self.weights.steps, schedule.rays, kernels,
            torch.cuda.get_device_properties(device).multi_processor_count,
            schedule.hard, None if lessons.exposure is None else lessons.exposure.maps,
        )  # fmt: skip
        self.done = 0
        self._unlock_share = losses.unlock_steps / losses.steps
        self._graphs = Graphs(lambda: [*self.weights.changing(), self.density, self.bits, *lessons.changing()])

    def advance(self, steps: int = 1) -> None:
        """Take so many steps; returns before the device has done them."""
        for _ in range(steps):
            if self.done % self.schedule.occupancy_interval == 0:
                self._refresh_for_all()
            self._teach_exposure()
            take_step(self._graphs, self.weights, self.team, self._pull)
            self._teach_errors()
            self.done += 1
            self.weights.take_average(self.done)

    def take(self, step: int) -> None:
        """Take the next step, which is number `step`."""
        self.advance()

    def scalars(self) -> dict[str, float]:
        """Readings of the last step for the log."""
        readings = self.readings()
        return {"psnr": -10 * math.log10(max(readings["error"], 1e-12)), "entropy": readings["entropy"]}

    def replan(self, steps: int) -> None:
        """Rates, average and ramps end after `steps` steps now."""
        old, losses = self.schedule, self.step.losses
        rates = decaying_rates(steps, self.device, warmup=old.warmup)
        if self.weights.replan(rates, old.average_steps * steps / old.steps):
            self._graphs.forget()
        unlock = round(self._unlock_share * steps)
        if abs(unlock - losses.unlock_steps) > UNLOCK_SLACK * losses.unlock_steps and self.done < max(
            unlock, losses.unlock_steps
        ):
            # The landmark grid's levels are recorded with their number.
            self._graphs.forget()
        else:
            unlock = losses.unlock_steps
        self.step.losses = replace(losses, steps=steps, unlock_steps=unlock)
        self.step.clip_words.copy_(self.clip.words(self.step.losses))

    def publish(self) -> None:
        """Bring the model's occupancy grid up to date; the weights are there already."""
        self.occupancy.density.copy_(self.densities())
        self.occupancy.bitfield.copy_(self.bitfield())

    def finish(self) -> None:
        """Leave the averaged weights in the model."""
        let_levels_in(landmark_grids(self.head), 0, 0, 0)
        self.weights.finish()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {**self.weights.tensors(), "density": self.density, "bits": self.bits}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The opposite of `tensors`."""
        self.weights.restore(tensors)
        self.density.copy_(tensors["density"])
        self.bits.copy_(tensors["bits"])
        self.done = int(self.weights.steps)

    def densities(self) -> Float[Tensor, "1 cells"]:
        """The occupancy grid's densities in Morton order."""
        result = torch.empty_like(self.density)
        result[self.order] = self.density
        return result[None]

    def bitfield(self) -> UInt8[Tensor, " bytes"]:
        """The occupancy bits in Morton order."""
        occupied = torch.empty(CELLS, device=self.device)
        occupied[self.order] = (self.bits[:, None] >> torch.arange(32, device=self.device) & 1).reshape(-1).float()
        return pack_bits(occupied[None], 0.5)

    def readings(self) -> dict[str, float]:
        """Of the last step: squared error and opacity entropy (means over its rays), samples evaluated, rays left out; waits for the device."""
        slots = self.step.slots.clone()
        sums = slots[:, 6:].view(torch.float32).sum(0) / (self.clip.slots * self.schedule.rays)
        return {
            "error": float(sums[0]),
            "entropy": float(sums[1]),
            "samples": float(slots[:, 3].sum()),
            "dropped": float(slots[:, 5].sum()),
        }

    def _frames(self) -> Int[Tensor, " slots"]:
        turn = torch.remainder(self.weights.steps, len(self.clip.schedule))
        return self.clip.schedule.index_select(0, turn)[0].long()

    @torch.no_grad()
    def _refresh(self) -> None:
        frames = self._frames()
        self._let_levels_in()
        self.step.fold(self.head.contract.encode(self.windows.index_select(0, frames)), self.eye.index_select(0, frames))
        self.step.refresh(self.density, self.cells)

    def _refresh_for_all(self) -> None:
        """The leader's occupancy grid is everybody's, so that all march alike."""
        if self.team.leads:
            self._graphs.run("refresh", self._refresh)
        self.team.follow([self.density, self.bits])

    def _let_levels_in(self) -> None:
        """Those of the landmark grid; the kernels know about the position grid's."""
        let_levels_in(
            landmark_grids(self.head), self.step.losses.coarse_levels, self.step.losses.unlock_steps, self.weights.steps
        )

    def _driving(self) -> tuple[Tensor, Tensor]:
        """Windows, noise included, and eye values of the step's frames."""
        frames = self._frames()
        drawn = torch.randint(0, len(self.windows), (len(frames),), device=self.device)
        window = self.windows.index_select(0, torch.where(self.others, drawn, frames))
        if self.schedule.noise:
            window = window + self.schedule.noise * torch.randn_like(window)
        return window, self.eye.index_select(0, frames)

    def _pull(self) -> None:
        window, eye = self._driving()
        self._let_levels_in()
        code = self.head.contract.encode(window)
        with torch.no_grad():
            drive = code.detach()
            self.step.fold(drive, eye)
            self._choose()
            self.step.forward()
            if self.lessons.hard is not None:
                note_errors(self.lessons.hard, self._seen(self._frames()), ~self.others)
        pulls = None if self.schedule.patches is None else self._pulls_of_patches(self.schedule.patches)
        with torch.no_grad():
            self.step.backward(drive, eye, pulls)
        code.backward(self.step.gradients.code)

    def _choose(self) -> None:
        """Pixels of the rays that look where errors are large; frames that are there for their eyes have none."""
        hard, step = self.lessons.hard, self.step
        if hard is None or not step.choices:
            return
        heads = self.clip.regions[:, HEAD].index_select(0, self._frames())
        drawn = hard.draw(heads, step.choices, self.clip.plate.shape[1])
        step.chosen.copy_(drawn.masked_fill(self.others[:, None], -1))

    def _seen(self, frames: Tensor) -> SeenRays:
        """The rays of the step that went forward."""
        step, rectangles = self.step, self.clip.regions.index_select(0, frames)
        assert step.pixels is not None
        assert step.shown is not None
        assert step.wanted is not None
        assert step.opacities is not None
        pixels, width = step.pixels.long(), self.clip.plate.shape[1]
        return SeenRays(frames, pixels, rectangles, step.shown, step.wanted, step.opacities, width)

    def _teach_errors(self) -> None:
        if self.lessons.hard is not None:
            self.team.sum(self.lessons.hard.fresh)
            self._graphs.run("learn errors", self.lessons.hard.learn)

    def _teach_exposure(self) -> None:
        """Now and then, and not while the head is still a fog."""
        exposure, steps = self.lessons.studied, self.step.losses.steps
        if exposure is None or self.done < START_SHARE * steps or self.done % STUDY_PERIOD:
            return
        self._graphs.run("study", lambda: self._study(exposure))
        self.team.sum(exposure.fresh)
        self._graphs.run("learn exposures", exposure.learn)

    @torch.no_grad()
    def _study(self, exposure: Exposure) -> None:
        """See how bright the next step's frames are, beside the head as other frames have it."""
        frames, codes = self._frames(), self.head.individual_codes
        others = torch.randint(0, len(self.windows), (len(frames),), device=self.device)
        self._let_levels_in()
        code = self.head.contract.encode(self.windows.index_select(0, others))
        individual = codes.index_copy(0, frames, codes.index_select(0, others))
        self.step.fold(code, self.eye.index_select(0, others), individual)
        self.step.chosen.fill_(-1)
        self.step.forward()
        note_exposure(exposure, self._seen(frames))

    def _pulls_of_patches(self, patches: PatchLoss) -> Tensor:
        """Gradient of the patches' loss, summed over rays, with respect to the rays' colours."""
        shown, wanted = self.step.shown, self.step.wanted
        assert shown is not None
        assert wanted is not None
        leaf = shown.detach().requires_grad_()
        rays = leaf.shape[0] * leaf.shape[1]
        loss = patch_loss(leaf.view(rays, 3), wanted.view(rays, 3), patches)
        return torch.autograd.grad(rays * loss, leaf)[0].contiguous()

    def _halves(self, net: HeadNetworks) -> HalfTables:
        return HalfTables(self.weights.half(net.table), None if net.ambient is None else self.weights.half(net.ambient.table))

    def _gradients(self, net: HeadNetworks) -> HeadGradients:
        def of(tensor: Tensor) -> Tensor:
            assert tensor.grad is not None
            return tensor.grad

        code = torch.zeros(self.clip.slots, net.code_width, device=self.device)
        plain = [of(t) for t in (net.table, net.first, net.second, net.third, net.color, net.rgb, self.head.individual_codes)]
        gradients = HeadGradients(*plain, code)  # type: ignore[call-arg]
        a = net.ambient
        if a is None:
            return gradients
        return replace(
            gradients, ambient_table=of(a.table), ambient_first=of(a.first), ambient_second=of(a.second), ambient_out=of(a.out)
        )


def _column_order(device: torch.device) -> Int[Tensor, " cells"]:
    """Morton number of every cell in the kernels' order, (x * 128 + z) * 128 + y."""
    axis = torch.arange(SIDE, device=device)
    x, z, y = torch.meshgrid(axis, axis, axis, indexing="ij")
    return morton_encode(torch.stack([x, y, z], dim=-1)).reshape(-1)
