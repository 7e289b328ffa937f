"""Parameters as one flat tensor on a GPU, trained by one kernel: values, gradients, moments, moving average."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from r2talker.model.parameters import ParameterGroup
from r2talker.ops.adam.cuda import PARTS, FlatAdam, Range
from r2talker.ops.cuda.kernels import load_kernels
from r2talker.train.averaging import PERIOD, decay_of
from r2talker.train.parallel import Team

ALIGNMENT = 4
"""Numbers that kernels handle at once; every parameter starts at a multiple."""


class FlatWeights:
    """Moves the parameters of `groups` into one tensor, of which they become views, as do their gradients.

    rates: factor on the groups' rates at every step. tables: parameters that kernels read as halves; they train sparsely, that is,
    rows that a step does not touch stay as they are. average_steps: time constant of the moving average, 0 for none.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        rates: Float[Tensor, " steps"],
        tables: Sequence[nn.Parameter],
        average_steps: float,
    ) -> None:
        device = rates.device
        places: list[tuple[nn.Parameter, int, float]] = []
        total = 0
        for group in groups:
            for parameter in group.parameters:
                places.append((parameter, total, group.rate))
                total += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        values, gradients = torch.zeros(total, device=device), torch.zeros(total, device=device)
        for parameter, begin, _ in places:
            part = slice(begin, begin + parameter.numel())
            values[part] = parameter.detach().reshape(-1)
            parameter.data = values[part].view(parameter.shape)
            parameter.grad = gradients[part].view(parameter.shape)
        self._parameters = [parameter for parameter, _, _ in places]
        ranges, self._halves = _ranges(places, total, tables)
        self.adam = FlatAdam(
            values, gradients, torch.zeros_like(values), torch.zeros_like(values),
            torch.zeros(1, dtype=torch.int32, device=device), rates, ranges, load_kernels(PARTS, {}, device),
        )  # fmt: skip
        self.adam.refresh_halves()
        self.average = values.clone() if average_steps > 0 else None
        self._decay = decay_of(average_steps)

    @property
    def steps(self) -> Tensor:
        """[1] number of the next step, on the device."""
        return self.adam.steps

    def half(self, table: Tensor) -> Tensor:
        """The copy of a table as halves."""
        return self._halves[table.data_ptr()]

    def take_average(self, done: int) -> None:
        """Take in the weights after `done` steps; acts every PERIOD steps."""
        if self.average is not None and done % PERIOD == 0:
            updates = done // PERIOD
            self.adam.average(self.average, 1 - min(self._decay, (1 + updates) / (10 + updates)))

    def replan(self, rates: Float[Tensor, " steps"], average_steps: float) -> bool:
        """Take other rates and another average from the next step on; True when graphs that hold the old ones must be recorded anew."""
        self._decay = decay_of(average_steps)
        moved = len(rates) > len(self.adam.rates)
        if moved:
            # Room to grow, so that it seldom happens.
            self.adam = replace(self.adam, rates=torch.cat([rates, rates[-1:].expand(len(rates) // 2)]))
        else:
            self.adam.rates[: len(rates)] = rates
        return moved

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        state = {"values": self.adam.values, "means": self.adam.means, "squares": self.adam.squares, "steps": self.adam.steps}
        return state if self.average is None else {**state, "average": self.average}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The opposite of `tensors`."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.adam.refresh_halves()

    def finish(self) -> None:
        """Leave the average in the parameters and let go of their gradients."""
        if self.average is not None:
            self.adam.values.copy_(self.average)
        for parameter in self._parameters:
            parameter.grad = None

    def changing(self) -> list[Tensor]:
        """Everything that a step changes."""
        adam = self.adam
        return [adam.values, adam.gradients, adam.means, adam.squares, adam.steps, *self._halves.values()]


class Graphs:
    """Work recorded as CUDA graphs at its first use and replayed from then on; its matrix products take the tf32 units.

    changing: every tensor that the work changes and that matters; the run before the recording must leave no trace.
    """

    def __init__(self, changing: Callable[[], list[Tensor]]) -> None:
        self._changing = changing
        self._graphs: dict[str, torch.cuda.CUDAGraph] = {}

    def run(self, name: str, work: Callable[[], None]) -> None:
        """Replay the graph called `name`; record it first if there is none."""
        if name not in self._graphs:
            self._graphs[name] = self._record(work)
        self._graphs[name].replay()

    def forget(self) -> None:
        """Record everything anew at its next use."""
        self._graphs.clear()

    def _record(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Libraries set themselves up in a first run, which must not be recorded."""
        kept = [tensor.clone() for tensor in self._changing()]
        _enter_context(kept[0].device)
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                work()
            torch.cuda.current_stream().wait_stream(stream)
            for tensor, value in zip(self._changing(), kept, strict=True):
                tensor.copy_(value)
            graph = torch.cuda.CUDAGraph()
            # Threads that look after NCCL may ask for its events meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                work()
        finally:
            torch.set_float32_matmul_precision(precision)
        return graph


def _enter_context(device: torch.device) -> None:
    """Autograd's thread for a device has no CUDA context before its first kernel, and cuBLAS warns when it comes first."""
    (torch.ones(1, device=device, requires_grad=True) * 2).backward()


def take_step(graphs: Graphs, weights: FlatWeights, team: Team, pull: Callable[[], None]) -> None:
    """One step: `pull` adds up gradients, those of all processes are summed, the optimiser takes them.

    Alone it is a single graph; with others the sum stands between two, in the same stream.
    """
    if team.size == 1:
        graphs.run("step", lambda: _pull_and_update(weights, pull))
        return
    graphs.run("pull", pull)
    team.sum(weights.adam.gradients)
    graphs.run("update", weights.adam.update)


def _pull_and_update(weights: FlatWeights, pull: Callable[[], None]) -> None:
    pull()
    with torch.no_grad():
        weights.adam.update()


def decaying_rates(steps: int, device: torch.device, *, warmup: int = 0) -> Float[Tensor, " steps"]:
    """Exponential decay to a tenth over the phase (upstream.md 6.3), after a rise over `warmup` steps; one more entry than steps."""
    step = torch.arange(steps + 1, dtype=torch.float32, device=device)
    rates = 0.1 ** (step / steps)
    return rates * ((step + 1) / warmup).clamp(max=1) if warmup else rates


def _ranges(
    places: list[tuple[nn.Parameter, int, float]], total: int, tables: Sequence[nn.Parameter]
) -> tuple[list[Range], dict[int, Tensor]]:
    """Neighbouring parameters of one rate share a range; tables have one of their own."""
    ranges: list[Range] = []
    halves: dict[int, Tensor] = {}
    ends = [begin for _, begin, _ in places[1:]] + [total]
    for (parameter, begin, rate), end in zip(places, ends, strict=True):
        half = None
        if any(parameter is table for table in tables):
            half = halves[parameter.data_ptr()] = torch.empty(parameter.shape, dtype=torch.float16, device=parameter.device)
        before = ranges[-1] if ranges else None
        if before is not None and half is None and before.half is None and before.factor == rate:
            ranges[-1] = replace(before, end=end)
        else:
            ranges.append(Range(begin, end, rate, half, sparse=half is not None))
    return ranges, halves
