"""What a machine can do at best, measured: bytes copied and matrix operations per second. `python -m benchmarks.ceilings`."""

import argparse
from dataclasses import dataclass

import torch

from benchmarks.table import markdown
from benchmarks.timing import measure
from r2talker.device import choose_device

GPU_BYTES, CPU_BYTES = 1 << 30, 1 << 27
CACHES = 8
"""A copied buffer is at least so many times the L2 cache."""
GPU_SIDE, CPU_SIDE = 8192, 1024
"""Side of the multiplied matrices."""


@dataclass(frozen=True)
class Ceilings:
    """copy: bytes read plus bytes written per second, within the device. matrix: operations per second by number format."""

    copy: float
    matrix: dict[str, float]

    @property
    def best_matrix(self) -> float:
        """Of the fastest format."""
        return max(self.matrix.values())

    def share_of_copy(self, moved: float, seconds: float) -> float:
        """The part of the copy bandwidth that moving `moved` bytes in `seconds` uses."""
        return moved / seconds / self.copy

    def share_of_matrix(self, operations: float, seconds: float) -> float:
        """The part of the best matrix rate that `operations` in `seconds` use."""
        return operations / seconds / self.best_matrix


def measure_ceilings(device: torch.device, *, repeats: int = 20) -> Ceilings:
    """Median over repeats, on random data: fp16 and bf16 on a GPU, fp32 on a CPU."""
    gpu = device.type == "cuda"
    formats = {"fp16": torch.float16, "bf16": torch.bfloat16} if gpu else {"fp32": torch.float32}
    side = GPU_SIDE if gpu else CPU_SIDE
    rates = {name: _matrix_rate(device, side, form, repeats) for name, form in formats.items()}
    return Ceilings(_copy_rate(device, repeats), rates)


def _copy_rate(device: torch.device, repeats: int) -> float:
    size = CPU_BYTES
    if device.type == "cuda":
        size = max(GPU_BYTES, CACHES * torch.cuda.get_device_properties(device).L2_cache_size)
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / measure(lambda: target.copy_(source), device, repeats=repeats).median


def _matrix_rate(device: torch.device, side: int, form: torch.dtype, repeats: int) -> float:
    a, b = (torch.randn(side, side, device=device, dtype=form) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / measure(lambda: torch.mm(a, b, out=out), device, repeats=repeats).median


def main() -> None:
    """Print the ceilings of a device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    ceilings = measure_ceilings(choose_device(parser.parse_args().device))
    rows = [["copy, read + written", f"{ceilings.copy / 1e9:.0f} GB/s"]]
    rows += [[f"matrix product, {name}", f"{rate / 1e12:.3g} TFLOP/s"] for name, rate in ceilings.matrix.items()]
    print(markdown(["ceiling", "measured"], rows))


if __name__ == "__main__":
    main()
