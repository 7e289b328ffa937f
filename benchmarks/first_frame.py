"""Seconds to the first frame in a new process: `python -m benchmarks.first_frame METHOD`, with compiled kernels cached or not.

Counted from a model on its device to the first picture, without importing torch and starting the device.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.models import choose_model, encode_codes, without_pose
from benchmarks.scene import make_clip
from benchmarks.table import ROOT
from benchmarks.timing import synchronise
from r2talker import methods
from r2talker.device import choose_device
from r2talker.render.config import RenderSettings
from r2talker.render.renderer import Renderer

CACHES = ("R2TALKER_CACHE", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
"""Environment variables that say where compiled kernels are kept."""


@dataclass(frozen=True)
class FirstFrame:
    """Seconds with empty caches, and with the caches that this left."""

    cold: float
    warm: float


def measure_first_frame(method: str, device: torch.device, size: int, models: Path | None) -> FirstFrame:
    """Run this module twice in new processes that share a fresh cache folder."""
    command = [sys.executable, "-m", "benchmarks.first_frame", method, "--device", str(device), "--size", str(size)]
    if models is not None:
        command += ["--models", str(models.resolve())]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | dict.fromkeys(CACHES, folder)
        seconds = []
        for _ in range(2):
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the first frame failed: {done.stderr.strip()[-1000:]}")
            seconds.append(float(done.stdout.split()[-1]))
    return FirstFrame(*seconds)


def draw_first_frame(method: str, device: torch.device, size: int, models: Path | None) -> float:
    """Seconds of making a renderer and drawing one frame of head and torso."""
    clip = make_clip(size, device)
    model = choose_model(models, method, size, device, torso=True)
    synchronise(device)
    start = time.perf_counter()
    renderer = Renderer(model, RenderSettings(), without_pose(clip.camera(0)), clip.background, batch=1)
    renderer.draw(encode_codes(model, clip)[:1], clip.eye[:1], clip.c2w[:1])
    synchronise(device)
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=methods.available())
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--models", type=Path, help="folder of heads that bench_train saved")
    args = parser.parse_args()
    print(draw_first_frame(args.method, choose_device(args.device), args.size, args.models))


if __name__ == "__main__":
    main()
