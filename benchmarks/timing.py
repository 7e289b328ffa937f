"""How long work takes and how much memory it needs, on a CPU or a GPU."""

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Work = Callable[[], object]
WARM_UP = 5
"""Calls that are not timed."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over all repeats."""

    median: float
    p95: float
    least: float


def summarise(seconds: Sequence[float]) -> Timing:
    """Median, 95th percentile (linear between neighbours) and minimum; ValueError for nothing."""
    if not seconds:
        raise ValueError("there is nothing to summarise: repeat at least once")
    ordered = sorted(seconds)
    place = 0.95 * (len(ordered) - 1)
    below, above = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
    return Timing(statistics.median(ordered), below + (place - int(place)) * (above - below), ordered[0])


def synchronise(device: torch.device) -> None:
    """Wait for all work launched on a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(work: Work, device: torch.device, *, repeats: int) -> Timing:
    """Time single calls, after WARM_UP (fewer than the repeats if those are few): with events on a GPU, where launches pile up as in use."""
    for _ in range(min(WARM_UP, repeats)):
        work()
    synchronise(device)
    if device.type != "cuda":
        return summarise([first_call(work, device) for _ in range(repeats)])
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for begin, end in pairs:
        begin.record()
        work()
        end.record()
    synchronise(device)
    return summarise([begin.elapsed_time(end) / 1e3 for begin, end in pairs])


def first_call(work: Work, device: torch.device) -> float:
    """Seconds from the call until the device has finished."""
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def peak_memory(work: Work, device: torch.device) -> int:
    """Most bytes allocated on the GPU during one call; on a CPU the process's largest size so far."""
    if device.type != "cuda":
        work()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    synchronise(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device)
