"""How a run computes: by fused kernels or by autograd, in which precision, whether sums come in one order."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.model.head import FrameCode, Head, Radiance
from r2talker.model.torso import Torso, TorsoOutput
from r2talker.train.config import TrainConfig

LOSS_SCALE = 4096.0
"""Factor on the loss while halves carry gradients: a sample's is 1e-7 with 16384 rays, where halves end at 6e-8; a weight's is below 1."""


@dataclass(frozen=True)
class Arithmetic:
    """fused: kernels where they can run, which hold tables and matrices as halves. mixed: halves for the networks' products elsewhere."""

    fused: bool = False
    mixed: bool = False

    @property
    def loss_scale(self) -> float:
        """Factor on the loss, which the stepper takes out of the gradients again."""
        return LOSS_SCALE if self.mixed else 1.0

    def head(self, head: Head) -> Callable[..., Radiance]:
        """What evaluates `head` in training."""
        return MixedHead(head) if self.mixed else head

    def torso(self, torso: Torso) -> Callable[..., TorsoOutput]:
        """What evaluates `torso` in training."""
        return MixedTorso(torso) if self.mixed else torso


CUBLAS_SETTING = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""Variable and value for products that come out alike every time (cuBLAS manual, results reproducibility)."""

PLAIN = Arithmetic()
"""Autograd in single precision."""


def choose_arithmetic(config: TrainConfig, device: torch.device) -> Arithmetic:
    """What `--precision` and `--deterministic` mean on a device; kernels that add in any order are not deterministic.

    Raises R2TalkerError for mixed precision on a CPU, which has no faster halves.
    """
    gpu = device.type == "cuda"
    if config.precision == "mixed" and not gpu:
        raise R2TalkerError(
            "--precision mixed needs a GPU, a CPU computes in single precision; leave it out or pass --device cuda"
        )
    mixed = gpu and config.precision != "single"
    return Arithmetic(fused=mixed and not config.deterministic, mixed=mixed)


@contextmanager
def in_one_order(wanted: bool, device: torch.device) -> Iterator[None]:
    """Where `wanted`, sums on a GPU come in one order while the block runs; on a CPU they do anyway.

    cuBLAS reads its setting once, at the first product of the process: a program that multiplies on the GPU before must set it itself,
    or PyTorch raises RuntimeError and names it.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault(*CUBLAS_SETTING)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@dataclass(frozen=True)
class MixedHead:
    """Evaluates a head with its networks' products in halves (Micikevicius et al. 2018), all else in single precision."""

    inner: Head

    def __call__(
        self, positions: Float[Tensor, "samples 3"], directions: Float[Tensor, "samples 3"], frame: FrameCode
    ) -> Radiance:
        with torch.autocast(positions.device.type, torch.float16):
            return self.inner(positions, directions, frame)


@dataclass(frozen=True)
class MixedTorso:
    """The same for a torso."""

    inner: Torso

    def __call__(
        self,
        xy: Float[Tensor, "points 2"],
        pose: Float[Tensor, "6"],
        individual: Float[Tensor, " code_width"],
        stance: Float[Tensor, "3"] | None = None,
    ) -> TorsoOutput:
        with torch.autocast(xy.device.type, torch.float16):
            return self.inner(xy, pose, individual, stance)
