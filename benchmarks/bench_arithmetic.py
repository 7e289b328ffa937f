"""What precision and one order of sums cost where no fused kernels run: step time and quality of plain head training."""

import os

import torch

from benchmarks.bench_train import PlainEngine, run
from benchmarks.command import add_methods, conclude, new_parser
from benchmarks.command import run as run_main
from benchmarks.models import build_model
from benchmarks.scene import Clip, make_clip
from benchmarks.table import Result
from r2talker.device import choose_device
from r2talker.train.arithmetic import CUBLAS_SETTING, Arithmetic, in_one_order

TESTS = ("tests/train/test_arithmetic.py",)


def measure_arithmetic(method: str, clip: Clip, steps: int, rays: int) -> list[Result]:
    """Train a head in single and mixed precision, and in mixed precision with sums in one order; a CPU has single precision only."""
    device = clip.background.device
    forms = {"single": (False, False), "mixed": (True, False), "mixed, deterministic": (True, True)}
    if device.type != "cuda":
        forms = {"single": (False, False)}
    results = []
    for name, (mixed, ordered) in forms.items():
        print(f"{method}, {name}, {rays} rays a step", flush=True)
        with in_one_order(ordered, device):
            model = build_model(method, clip.size, device)
            engine = PlainEngine(model, clip, steps, rays, arithmetic=Arithmetic(mixed=mixed))
            # The first steps find their algorithms; the clock of the others starts after them.
            early, late = run(engine, clip, steps=steps, checkpoints=(steps // 4,))
        step = (late.seconds - early.seconds) / (late.step - early.step)
        subject = f"{method}, plain, {name}, {rays} rays"
        results += [
            Result("arithmetic", subject, "step", 1e3 * step, "ms"),
            Result("arithmetic", subject, f"held out, {steps} steps", late.psnr, "dB"),
        ]
    return results


def main() -> None:
    """Measure and print."""
    parser = new_parser(__doc__)
    add_methods(parser)
    parser.add_argument("--steps", type=int, default=200, help="the learning rate falls to a tenth over them")
    parser.add_argument("--rays", type=int, default=16384, help="rays per step")
    args = parser.parse_args()
    # Read at the first product, which is not one of those that are to come in one order.
    os.environ.setdefault(*CUBLAS_SETTING)
    device = choose_device(args.device)
    clip = make_clip(args.size, device)
    results: list[Result] = []
    for method in args.methods:
        results += measure_arithmetic(method, clip, 8 if args.quick else args.steps, args.rays)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    conclude(results, args, device, TESTS)


if __name__ == "__main__":
    run_main(main)
