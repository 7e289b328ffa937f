"""Training of a head on the scene: PSNR of the held-out frames over wall time.

`python -m benchmarks.bench_train --save FOLDER` keeps the heads for bench_frame. `run` measures any engine.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from benchmarks.command import add_methods, conclude, new_parser
from benchmarks.command import run as run_main
from benchmarks.fused_engine import FusedEngine
from benchmarks.models import NET_RATE, build_model, encode_codes, frame_code, head_hull, save_model
from benchmarks.scene import HELD_OUT, TRAIN, Clip, make_clip
from benchmarks.table import Result
from benchmarks.timing import synchronise
from r2talker.device import choose_device
from r2talker.evaluate.metrics import psnr
from r2talker.model.head import FrameCode
from r2talker.model.talking_head import TalkingHead
from r2talker.ops.camera_rays.op import generate_rays
from r2talker.ops.cuda.kernels import missing
from r2talker.render.config import RenderSettings
from r2talker.render.frame import render_frame
from r2talker.render.rays import trace_rays
from r2talker.train.arithmetic import PLAIN, Arithmetic
from r2talker.train.config import TrainConfig
from r2talker.train.losses import binary_entropy, squared_error
from r2talker.train.phase import learning_rate, make_optimizer
from r2talker.train.sampling import frame_of_step, step_generator

TESTS = ("tests/ops/cuda", "tests/ops/test_march_rays.py", "tests/ops/test_composite.py", "tests/render")
FRAMES_PER_STEP = 4
CHECKPOINTS = (100, 250, 500, 1000, 1500, 2000, 2500, 3000)
"""Steps after which the held-out frames are read; the last step of a run is one too."""


@dataclass(frozen=True)
class Checkpoint:
    """A reading: steps done, seconds of training (readings not counted), mean PSNR of the held-out frames in dB."""

    step: int
    seconds: float
    psnr: float


class Engine(Protocol):
    """A way to train a head."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def step(self, step: int) -> None:
        """Launch one step; nothing needs to be finished when it returns."""
        ...

    def current_model(self) -> TalkingHead:
        """The head and its occupancy as they would be saved now; only read until the next step."""
        ...


@dataclass
class PlainEngine:
    """Rays of one training frame per step from the whole picture, over the known background, through the plain operations.

    The loss is squared error and opacity entropy; occupancy is limited to the hull of the masks, as training on a dataset does.
    """

    model: TalkingHead
    clip: Clip
    steps: int
    rays: int
    occupancy_cells: int = 1 << 21
    config: TrainConfig = field(default_factory=TrainConfig)
    settings: RenderSettings = field(default_factory=RenderSettings)
    arithmetic: Arithmetic = PLAIN

    def __post_init__(self) -> None:
        occupancy = self.model.occupancy
        occupancy.restrict(head_hull(self.clip, occupancy.centres(), self.settings))
        self.windows = self.clip.windows(self.model.method)
        self.model.head.contract.start(self.windows[list(TRAIN)])
        self.groups = self.model.head_groups(self.config.grid_rate, NET_RATE)
        self.optimizer = make_optimizer(self.groups)

    @property
    def device(self) -> torch.device:
        return self.clip.background.device

    def current_model(self) -> TalkingHead:
        return self.model

    def step(self, step: int) -> None:
        frame = TRAIN[frame_of_step(len(TRAIN), self.config.seed, step)]
        generator = step_generator(self.config.seed, step, self.device)
        if step % self.config.occupancy_interval == 0:
            with torch.no_grad():
                code = self._code(frame)
            self.model.occupancy.update(self.model.head, code, generator, most=self.occupancy_cells)
        for slot, group in zip(self.optimizer.param_groups, self.groups, strict=True):
            slot["lr"] = learning_rate(group.rate, step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        scale = self.arithmetic.loss_scale
        (self._loss(frame, generator) * scale).backward()
        if scale != 1:
            for parameter in (p for group in self.groups for p in group.parameters):
                if parameter.grad is not None:
                    parameter.grad.div_(scale).nan_to_num_(0.0, 0.0, 0.0)
        self.optimizer.step()

    def _loss(self, frame: int, generator: torch.Generator) -> torch.Tensor:
        clip, device = self.clip, self.device
        pixels = torch.randint(clip.size**2, (self.rays,), generator=generator, device=device)
        noise = torch.rand(self.rays, generator=generator, device=device)
        truth = clip.pictures[frame].reshape(-1, 3)[pixels].float() / 255
        behind = clip.background.reshape(-1, 3)[pixels].float() / 255
        rays = generate_rays(clip.camera(frame), pixels)
        head, occupancy = self.model.head, self.model.occupancy
        traced = trace_rays(self.arithmetic.head(head), occupancy, rays, self._code(frame), behind, self.settings, noise=noise)
        return squared_error(traced.rgb, truth) + self.config.entropy * binary_entropy(traced.opacity)

    def _code(self, frame: int) -> FrameCode:
        head = self.model.head
        condition = head.contract.encode(self.windows[frame : frame + 1])[0]
        return FrameCode(condition, self.clip.eye[frame], head.individual_codes[frame])


def run(
    engine: Engine, clip: Clip, *, steps: int, seconds: float = float("inf"), checkpoints: Sequence[int] = CHECKPOINTS
) -> list[Checkpoint]:
    """Train for `steps`, or until `seconds` have passed, and read the held-out frames at checkpoints and at the end.

    Seconds count from the first step; readings stop the clock.
    """
    readings: list[Checkpoint] = []
    spent = 0.0
    synchronise(engine.device)
    start = time.perf_counter()
    for done in range(1, steps + 1):
        engine.step(done - 1)
        over = spent + time.perf_counter() - start >= seconds
        if done in checkpoints or done == steps or over:
            synchronise(engine.device)
            spent += time.perf_counter() - start
            readings.append(Checkpoint(done, spent, held_out_psnr(engine.current_model(), clip)))
            print(f"  step {done}: {readings[-1].psnr:.2f} dB after {spent:.2f} s", flush=True)
            synchronise(engine.device)
            start = time.perf_counter()
        if over:
            break
    return readings


def held_out_psnr(model: TalkingHead, clip: Clip, *, settings: RenderSettings | None = None) -> float:
    """Mean over the held-out frames of the PSNR in dB of whole pictures, rendered in plain torch."""
    codes, plate = encode_codes(model, clip), clip.background.float() / 255
    total = 0.0
    for frame in HELD_OUT:
        code = frame_code(model, clip, codes, frame)
        picture = render_frame(model, clip.camera(frame), code, plate, settings or RenderSettings())
        total += psnr(picture.rgb, clip.pictures[frame].float() / 255)
    return total / len(HELD_OUT)


def checkpoint_rows(subject: str, readings: Sequence[Checkpoint]) -> list[Result]:
    """The readings as rows, one subject per checkpoint, and the steps per second of the whole run."""
    rows = []
    for reading in readings:
        name = f"{subject}, {reading.step} steps"
        rows += [
            Result("train", name, "held out", reading.psnr, "dB"),
            Result("train", name, "training", reading.seconds, "s"),
            Result("train", name, "rate", reading.step / reading.seconds, "steps/s"),
        ]
    return rows


def measure_training(args: argparse.Namespace, device: torch.device, clip: Clip) -> list[Result]:
    """Train a head of every method, fused where kernels run, and plain where asked for or where they do not."""
    steps, cells = (20, 25000) if args.quick else (args.steps, 1 << 21)
    results: list[Result] = []
    for method in args.methods:
        if missing(device) is None:
            rays = args.rays or 16384
            model = build_model(method, args.size, device)
            print(f"{method}, fused, {rays} rays a step", flush=True)
            engine = FusedEngine(model, clip, steps, rays, FRAMES_PER_STEP)
            results += checkpoint_rows(f"{method}, fused, {rays} rays", run(engine, clip, steps=steps, seconds=args.seconds))
            _save(args, method, engine.current_model())
            if not args.plain_seconds:
                continue
        rays = args.rays or (65536 if device.type == "cuda" else 2048)
        model = build_model(method, args.size, device)
        print(f"{method}, plain, {rays} rays a step", flush=True)
        seconds = min(args.seconds, args.plain_seconds or args.seconds)
        readings = run(PlainEngine(model, clip, steps, rays, cells), clip, steps=steps, seconds=seconds)
        results += checkpoint_rows(f"{method}, plain, {rays} rays", readings)
        if missing(device) is not None:
            _save(args, method, model)
    return results


def _save(args: argparse.Namespace, method: str, model: TalkingHead) -> None:
    if args.save is not None:
        save_model(args.save / f"{method}.safetensors", model, args.size)


def add_training(parser: argparse.ArgumentParser) -> None:
    """The options of training."""
    parser.add_argument("--steps", type=int, default=3000, help="the learning rate falls to a tenth over them")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop earlier, after so many seconds")
    parser.add_argument("--plain-seconds", type=float, default=0.0, help="beside the fused engine, train plainly for so long")
    parser.add_argument(
        "--rays", type=int, help="rays per step; by default 16384 fused, plain 65536 on a GPU and 2048 on a CPU"
    )
    parser.add_argument("--save", type=Path, help="folder for the trained heads")


def main() -> None:
    """Train, measure and print."""
    parser = new_parser(__doc__)
    add_methods(parser)
    add_training(parser)
    args = parser.parse_args()
    device = choose_device(args.device)
    conclude(measure_training(args, device, make_clip(args.size, device)), args, device, TESTS)


if __name__ == "__main__":
    run_main(main)
