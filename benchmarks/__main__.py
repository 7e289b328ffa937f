"""All benchmarks in one run on one machine: training, frames of the heads just trained, kernels, operations. `python -m benchmarks`"""

import tempfile
from pathlib import Path

from benchmarks import bench_frame, bench_kernels, bench_ops, bench_train
from benchmarks.bench_frame import measure_frames
from benchmarks.bench_kernels import measure_kernels
from benchmarks.bench_ops import measure_operations
from benchmarks.bench_train import add_training, measure_training
from benchmarks.ceilings import measure_ceilings
from benchmarks.command import add_methods, conclude, describe_ceilings, new_parser, run
from benchmarks.scene import make_clip
from r2talker.device import choose_device
from r2talker.ops.cuda.kernels import missing

TESTS = tuple(dict.fromkeys([*bench_train.TESTS, *bench_frame.TESTS, *bench_kernels.TESTS, *bench_ops.TESTS]))


def main() -> None:
    """Measure and print."""
    parser = new_parser(__doc__)
    add_methods(parser)
    add_training(parser)
    parser.add_argument("--repeats", type=int, default=200, help="timed frames")
    args = parser.parse_args()
    device = choose_device(args.device)
    ceilings = measure_ceilings(device, repeats=3 if args.quick else 20)
    print(describe_ceilings(ceilings), flush=True)
    clip = make_clip(args.size, device)
    with tempfile.TemporaryDirectory() as folder:
        args.save = args.save or Path(folder)
        results = measure_training(args, device, clip)
        results += measure_frames(args, device, clip, ceilings, args.save)
        if missing(device) is None:
            results += measure_kernels(args, device, clip, ceilings, args.save)
        results += measure_operations(args, device, ceilings)
    conclude(results, args, device, TESTS)


if __name__ == "__main__":
    run(main)
