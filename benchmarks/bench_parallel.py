"""Head training on one GPU against several: step time, time of one sum of the gradients, quality.

torchrun --standalone --nproc-per-node 2 -m benchmarks.bench_parallel
"""

import sys
import time
from dataclasses import dataclass

import torch

from benchmarks.bench_train import FRAMES_PER_STEP, held_out_psnr
from benchmarks.command import add_methods, conclude, new_parser
from benchmarks.command import run as run_main
from benchmarks.fused_engine import FusedEngine
from benchmarks.models import build_model
from benchmarks.scene import Clip, make_clip
from benchmarks.table import Result
from benchmarks.timing import synchronise
from r2talker.device import choose_device
from r2talker.errors import R2TalkerError
from r2talker.ops.cuda.kernels import missing
from r2talker.train.parallel import ALONE, Team, joined_team

TESTS = ("tests/ops/cuda", "tests/train/test_fused.py", "tests/train/test_parallel.py")
WARM_UP, SUMS = 20, 100


@dataclass(frozen=True)
class Reading:
    """Milliseconds of a step and of one sum of the gradients over the processes, PSNR of the held-out frames in dB."""

    step: float
    sum: float
    psnr: float


def train_together(method: str, clip: Clip, team: Team, steps: int, rays: int) -> Reading:
    """Train a fresh head in the team, all of it timed but the first steps. R2TalkerError when weights differ afterwards."""
    device = clip.background.device
    engine = FusedEngine(build_model(method, clip.size, device), clip, steps, rays, FRAMES_PER_STEP, team)
    engine.fused.advance(WARM_UP)
    synchronise(device)
    start = time.perf_counter()
    engine.fused.advance(steps - WARM_UP)
    synchronise(device)
    taken = time.perf_counter() - start
    values = engine.fused.weights.adam.values
    theirs = values.clone()
    team.follow([theirs])
    if not torch.equal(theirs, values):
        raise R2TalkerError(f"weights of process {team.rank + 1} differ from the leader's after {steps} steps; this is a fault")
    psnr = held_out_psnr(engine.current_model(), clip)
    return Reading(1e3 * taken / (steps - WARM_UP), time_sum(team, torch.zeros_like(values)), psnr)


def time_sum(team: Team, gradients: torch.Tensor) -> float:
    """Milliseconds of one sum over the processes."""
    team.sum(gradients)
    synchronise(gradients.device)
    start = time.perf_counter()
    for _ in range(SUMS):
        team.sum(gradients)
    synchronise(gradients.device)
    return 1e3 * (time.perf_counter() - start) / SUMS


def rows(method: str, processes: int, rays: int, reading: Reading) -> list[Result]:
    """A reading as rows of the table."""
    subject = f"{method}, {rays} rays, {processes} GPU{'s' if processes > 1 else ''}"
    return [
        Result("parallel", subject, "step", reading.step, "ms"),
        Result("parallel", subject, "sum of gradients", reading.sum, "ms"),
        Result("parallel", subject, "held out", reading.psnr, "dB"),
    ]


def main() -> None:
    """The leader trains alone while the others wait, then all train together, with as many rays in all and with as many each."""
    parser = new_parser(__doc__)
    add_methods(parser)
    parser.add_argument("--steps", type=int, default=3000, help="the learning rate falls to a tenth over them")
    parser.add_argument("--rays", type=int, default=16384, help="rays per step of one GPU")
    args = parser.parse_args()
    with joined_team(args.device) as team:
        device, steps = choose_device(args.device), 100 if args.quick else args.steps
        reason = missing(device)
        if reason is not None:
            raise R2TalkerError(reason)
        clip = make_clip(args.size, device)
        results: list[Result] = []
        for method in args.methods:
            if team.leads:
                results += rows(method, 1, args.rays, train_together(method, clip, ALONE, steps, args.rays))
            team.decide(lambda: True)
            for rays in (args.rays, args.rays * team.size) if team.size > 1 else ():
                results += rows(method, team.size, rays, train_together(method, clip, team, steps, rays))
        leads = team.leads
        team.part()
    if leads:
        conclude(results, args, device, TESTS)
    else:
        sys.exit(0)


if __name__ == "__main__":
    run_main(main)
