"""Head training on a GPU: every step is one graph of fused kernels, the optimiser included."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor, nn

from r2talker.model.ambient import AmbientConditioning
from r2talker.model.head import Head
from r2talker.ops.adam.cuda import PARTS as ADAM_PARTS
from r2talker.ops.adam.cuda import FlatAdam, Range
from r2talker.ops.cuda.kernels import load_kernels
from r2talker.ops.occupancy.op import morton_encode, pack_bits
from r2talker.ops.render_head.cuda import column_bits, scene_words
from r2talker.ops.render_head.networks import HeadNetworks
from r2talker.ops.render_head.reference import Marching
from r2talker.ops.train_head.cuda import PARTS, ClipTensors, HalfTables, HeadGradients, HeadStep, Losses, step_macros
from r2talker.render.config import RenderSettings
from r2talker.render.networks import networks

SIDE = 128
EMA_PERIOD = 10


@dataclass(frozen=True)
class HeadSchedule:
    """Steps of the run, rays per frame of a step, learning rates at the start, what they fall to, the moving average's time constant.

    occupancy_interval: steps between refreshes. noise: standard deviation added to the windows. sparse: tables train only the rows
    that a step touches.
    """

    steps: int
    rays: int
    grid_rate: float
    net_rate: float
    floor: float = 0.1
    ema_steps: float = 0.0
    occupancy_interval: int = 16
    noise: float = 0.0
    sparse: bool = True
    warmup: int = 0


def column_order(device: torch.device) -> Int32[Tensor, " cells"]:
    """Morton number of every cell in the kernels' order, (x * 128 + z) * 128 + y."""
    axis = torch.arange(SIDE, device=device)
    x, z, y = torch.meshgrid(axis, axis, axis, indexing="ij")
    return morton_encode(torch.stack([x, y, z], dim=-1)).reshape(-1)


class FusedHead:
    """Trains `head` on a clip; the weights live in one flat tensor, of which the module's parameters are views.

    windows: [frames, W, ...] what drives every frame. rates: (parameters, rate) groups. bitfield, possible: occupancy to start from,
    Morton order.
    """

    def __init__(
        self,
        head: Head,
        groups: Sequence[tuple[list[nn.Parameter], float]],
        clip: ClipTensors,
        windows: Float[Tensor, "frames window *shape"],
        losses: Losses,
        schedule: HeadSchedule,
        settings: RenderSettings,
        possible: Bool[Tensor, " cells"],
    ) -> None:
        self.head, self.clip, self.windows, self.schedule = head, clip, windows, schedule
        self.device = device = clip.plate.device
        self.steps = torch.zeros(1, dtype=torch.int32, device=device)
        self._flatten(groups)
        net = networks(head)
        self.order = column_order(device)
        marching = Marching(
            settings.aabb, settings.max_steps, settings.dt_gamma, settings.min_near, settings.transmittance_threshold
        )
        bitfield = pack_bits(possible.float()[None], 0.5)
        self.bits = column_bits(bitfield)
        self.density = torch.where(possible[self.order], 0.0, -1.0)
        self.cells = torch.nonzero(self.density >= 0).flatten().to(torch.int32)
        halves = self._halves(net)
        gradients = self._gradients(net)
        count = torch.cuda.get_device_properties(device).multi_processor_count
        kernels = load_kernels(PARTS, step_macros(net, clip.slots, schedule.rays), device)
        self.step = HeadStep(
            net, head.individual_codes, halves, gradients, clip, losses, scene_words(marching, bitfield), self.bits,
            self.steps, schedule.rays, kernels, count,
        )  # fmt: skip
        self.adam.refresh_halves()
        self.done = 0
        self._graphs: dict[str, torch.cuda.CUDAGraph] = {}

    def advance(self, steps: int) -> None:
        """Take so many steps; returns before the device has done them."""
        for _ in range(steps):
            if self.done % self.schedule.occupancy_interval == 0:
                self._run("refresh", self._refresh)
            self._run("step", self._step)
            self.done += 1
            if self.average is not None and self.done % EMA_PERIOD == 0:
                updates = self.done // EMA_PERIOD
                decay = min(1 - EMA_PERIOD / max(self.schedule.ema_steps, EMA_PERIOD), (1 + updates) / (10 + updates))
                self.adam.average(self.average, 1 - decay)

    def density_morton(self) -> Float[Tensor, "1 cells"]:
        """The occupancy grid's densities as the model keeps them."""
        result = torch.empty_like(self.density)
        result[self.order] = self.density
        return result[None]

    def bitfield(self) -> Tensor:
        """The occupancy bits as the model keeps them."""
        bits = (self.bits[:, None] >> torch.arange(32, device=self.device)) & 1
        occupied = torch.empty(SIDE**3, device=self.device)
        occupied[self.order] = bits.reshape(-1).float()
        return pack_bits(occupied[None], 0.5)

    def losses(self) -> dict[str, float]:
        """Of the last step, means over its rays; waits for the device."""
        slots = self.step.slots.clone()
        sums = slots[:, 6:].view(torch.float32).sum(0)
        rays = self.clip.slots * self.schedule.rays
        return {"error": float(sums[0]) / rays, "entropy": float(sums[1]) / rays, "samples": float(slots[:, 3].sum())}

    def _run(self, name: str, work: "object") -> None:
        graph = self._graphs.get(name)
        if graph is None:
            graph = self._graphs[name] = self._capture(work)
        graph.replay()

    def _capture(self, work: "object") -> torch.cuda.CUDAGraph:
        """A graph of `work`, which is run once before outside of it; what that changed is put back."""
        kept = [t.clone() for t in self._state()]
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()  # type: ignore[operator]
        torch.cuda.current_stream().wait_stream(stream)
        for tensor, value in zip(self._state(), kept, strict=True):
            tensor.copy_(value)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()  # type: ignore[operator]
        return graph

    def _state(self) -> list[Tensor]:
        halves = [r.half for r in self.adam.ranges if r.half is not None]
        return [
            self.adam.values,
            self.adam.gradients,
            self.adam.means,
            self.adam.squares,
            self.steps,
            self.density,
            self.bits,
            *halves,
        ]

    def _frames(self) -> Tensor:
        turn = torch.remainder(self.steps, len(self.clip.schedule))
        return self.clip.schedule.index_select(0, turn)[0].long()

    def _refresh(self) -> None:
        with torch.no_grad():
            code = self.head.contract.encode(self.windows.index_select(0, self._frames()))
            self.step.fold(code)
            self.step.refresh(self.density, self.cells)

    def _step(self) -> None:
        with torch.enable_grad():
            window = self.windows.index_select(0, self._frames())
            if self.schedule.noise:
                window = window + self.schedule.noise * torch.randn_like(window)
            code = self.head.contract.encode(window)
        with torch.no_grad():
            drive = code.detach()
            self.step.fold(drive)
            self.step.forward_and_backward(drive)
        code.backward(self.step.gradients.code)
        with torch.no_grad():
            self.adam.update()

    def _flatten(self, groups: Sequence[tuple[list[nn.Parameter], float]]) -> None:
        """Move the parameters into one tensor, groups one after the other, each parameter at a multiple of four."""
        places: list[tuple[nn.Parameter, int, float]] = []
        total = 0
        for parameters, rate in groups:
            for parameter in parameters:
                places.append((parameter, total, rate))
                total += -(-parameter.numel() // 4) * 4
        flat = torch.zeros(total, device=self.device)
        grads = torch.zeros_like(flat)
        self.places = places
        for parameter, begin, _ in places:
            part = slice(begin, begin + parameter.numel())
            flat[part] = parameter.detach().reshape(-1)
            parameter.data = flat[part].view(parameter.shape)
            parameter.grad = grads[part].view(parameter.shape)
        rates = self._rates()
        kernels = load_kernels(ADAM_PARTS, {}, self.device)
        self.adam = FlatAdam(
            flat, grads, torch.zeros_like(flat), torch.zeros_like(flat), self.steps, rates, self._ranges(total), kernels
        )
        self.average = flat.clone() if self.schedule.ema_steps > 0 else None

    def _rates(self) -> Float[Tensor, " steps"]:
        t = torch.arange(self.schedule.steps + 1, device=self.device) / self.schedule.steps
        rates = self.schedule.floor**t
        if self.schedule.warmup:
            rates *= ((torch.arange(len(rates), device=self.device) + 1) / self.schedule.warmup).clamp(max=1)
        return rates.float()

    def _ranges(self, total: int) -> list[Range]:
        """Neighbouring parameters of one rate share a range; tables that kernels read have one of their own."""
        conditioning = self.head.conditioning
        tables = [self.head.position_grid.embeddings]
        tables += [conditioning.ambient_grid.embeddings] if isinstance(conditioning, AmbientConditioning) else []
        ranges: list[Range] = []
        for index, (parameter, begin, rate) in enumerate(self.places):
            end = self.places[index + 1][1] if index + 1 < len(self.places) else total
            table = any(parameter is t for t in tables)
            half = torch.empty(parameter.shape, dtype=torch.float16, device=self.device) if table else None
            before = ranges[-1] if ranges else None
            if before is not None and not table and before.half is None and before.factor == rate:
                ranges[-1] = replace(before, end=end)
            else:
                ranges.append(Range(begin, end, rate, half, sparse=table and self.schedule.sparse))
        return ranges

    def _halves(self, net: HeadNetworks) -> HalfTables:
        def of(table: Tensor) -> Tensor:
            return next(
                r.half
                for r in self.adam.ranges
                if r.half is not None and self.adam.values[r.begin :].data_ptr() == table.data_ptr()
            )

        return HalfTables(of(net.table), None if net.ambient is None else of(net.ambient.table))

    def _gradients(self, net: HeadNetworks) -> HeadGradients:
        code = torch.zeros(self.clip.slots, net.code_width, device=self.device)
        plain = [t.grad for t in (net.table, net.first, net.second, net.third, net.color, net.rgb, self.head.individual_codes)]
        ambient: list[Tensor | None] = []
        if net.ambient is not None:
            a = net.ambient
            ambient = [a.table.grad, a.first.grad, a.second.grad, a.out.grad]
        return HeadGradients(*plain, code, *ambient)  # type: ignore[arg-type]
