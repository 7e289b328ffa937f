"""One process of a team, as the tests start it: `python -m tests.train.team_worker WORK ARGUMENTS`, once per process.

Fails as the command line does: one line on the error stream, exit code 2.
"""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from r2talker.errors import R2TalkerError
from r2talker.train.config import TrainConfig
from r2talker.train.parallel import ALONE, Team, joined_team
from r2talker.train.phase import StepLoss
from r2talker.train.stepper import GradientStepper
from tests.tiny import MOTION, TRAIN_SIZE, Interrupting
from tests.train.test_loop import Regression

STEPS, FRAMES = 30, 4
TEAM_TRAINING = TrainConfig(
    train_size=TRAIN_SIZE, head_steps=48, camera_steps=3, torso_steps=6, rays=64, device="cpu", checkpoint_seconds=0
)
FUSED_SIZE, FUSED_STEPS, FUSED_RAYS = 128, 300, 4096
EMULATED_SIZE, EMULATED_STEPS, EMULATED_RAYS = 32, 2, 64


def fit(team: Team, phase: Regression | None = None) -> tuple[GradientStepper, Regression]:
    """All steps of a regression over FRAMES draws a step."""
    phase = phase or Regression(steps=STEPS, frames_per_step=FRAMES)
    stepper = GradientStepper(phase, TrainConfig(ema_share=0.5), team)
    for step in range(STEPS):
        stepper.take(step)
    return stepper, phase


def regression(team: Team, out: str) -> None:
    """Leave weights, average and readings of every process."""
    stepper, phase = fit(team)
    tensors = {"weight": phase.model.weight.detach(), "average": stepper.average.values[0]}
    tensors["error"] = torch.tensor(stepper.scalars()["error"])
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, f"{out}/{team.rank}.safetensors")


@dataclasses.dataclass
class Failing(Regression):
    """Comes to grief in the second process after some steps."""

    fault: Callable[[], None] = lambda: None

    def loss(self, turn: int) -> StepLoss:
        if turn == 5 * FRAMES + 1:
            self.fault()
        return super().loss(turn)


def refuse(team: Team) -> None:
    """The second process meets a fault that it can name."""

    def fault() -> None:
        raise R2TalkerError("the disk of the second machine is full;\nfree some space")

    fit(team, Failing(steps=STEPS, frames_per_step=FRAMES, fault=fault))


def vanish(team: Team) -> None:
    """The second process is killed."""
    fit(team, Failing(steps=STEPS, frames_per_step=FRAMES, fault=lambda: os.kill(os.getpid(), signal.SIGKILL)))


def avatar(team: Team, dataset: str, folder: str, stop: str = "") -> None:
    """Train an avatar; `stop`: the phase in which the leader is interrupted after 20 steps."""
    from r2talker.train.run import train_avatar

    progress = Interrupting(stop, 21) if stop and team.leads else None
    train_avatar("radnerf", Path(dataset), Path(folder), TEAM_TRAINING, MOTION, progress, team=team)


def fused(team: Team, out: str) -> None:
    """Train the scene by kernels on this process's GPU."""
    from benchmarks.bench_train import held_out_psnr
    from benchmarks.fused_engine import FusedEngine
    from benchmarks.models import build_model
    from benchmarks.scene import make_clip

    clip = make_clip(FUSED_SIZE, "cuda")
    engine = FusedEngine(build_model("r2talker", FUSED_SIZE, "cuda"), clip, FUSED_STEPS, FUSED_RAYS, FRAMES, team)
    engine.fused.advance(FUSED_STEPS)
    tensors = _state(engine.fused)
    psnr = held_out_psnr(engine.current_model(), clip)
    save_file({**tensors, "psnr": torch.tensor(psnr)}, f"{out}/{team.rank}.safetensors")


def emulated(team: Team, out: str) -> None:
    """The same in the emulator, without graphs, and what each process gave to the sum of the first step."""
    import r2talker.train.flat
    import r2talker.train.fused_head
    from benchmarks.fused_engine import FusedEngine
    from benchmarks.models import build_model
    from benchmarks.scene import make_clip
    from tests.ops.cuda.backends import Backend

    def load(parts: Any, macros: Any, device: torch.device) -> Any:
        return Backend(device).load(parts, macros, leave_out=("pull_back_ambient",))

    r2talker.train.flat.load_kernels = r2talker.train.fused_head.load_kernels = load
    torch.cuda.get_device_properties = lambda device: SimpleNamespace(multi_processor_count=2)  # type: ignore[assignment]
    r2talker.train.flat.Graphs.run = lambda self, name, work: work()  # type: ignore[method-assign]
    given: list[Tensor] = []

    class Listening(Team):
        def sum(self, tensor: Tensor) -> None:
            given.append(tensor.clone())
            super().sum(tensor)
            given.append(tensor.clone())

    model = build_model("r2talker", EMULATED_SIZE, "cpu")
    ears = Listening(team.rank, team.size)
    clip = make_clip(EMULATED_SIZE, "cpu")
    engine = FusedEngine(model, clip, EMULATED_STEPS, EMULATED_RAYS, FRAMES, ears)
    engine.fused.advance(EMULATED_STEPS)
    tensors = {**_state(engine.fused), "given": given[0], "summed": given[1], "frames": engine.fused.clip.schedule}
    save_file(tensors, f"{out}/{team.rank}.safetensors")


def _state(head: Any) -> dict[str, Tensor]:
    names = {"values", "means", "squares", "average", "density", "bits", "steps"}
    return {name: tensor.cpu().clone() for name, tensor in head.tensors().items() if name in names}


WORKS: dict[str, Callable[..., None]] = {
    "regression": regression, "refuse": refuse, "vanish": vanish, "avatar": avatar, "fused": fused, "emulated": emulated,
}  # fmt: skip


def main(work: str, *arguments: str) -> int:
    """Join the others and work; the exit code."""
    torch.set_num_threads(1)
    try:
        with joined_team("cuda" if work == "fused" else "cpu") as team:
            assert team != ALONE, "start it by torchrun"
            WORKS[work](team, *arguments)
    except R2TalkerError as error:
        print(f"worker: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
