"""Face parsing by the user's BiSeNet, in place of mesh and colour."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from r2talker.device import choose_device
from r2talker.face.bisenet import CLASSES, load_bisenet, parse_faces
from r2talker.ingest.masks import read_alpha, read_regions, write_regions
from r2talker.ingest.networks.models import find_models
from r2talker.ingest.parsing import BACKGROUND, HEAD, NECK, TORSO
from r2talker.ingest.pictures import read_clip
from r2talker.ingest.step import Step, StepResult, Workspace

_AT_ONCE = 4
_PERSON = 0.5

REGION = np.full(CLASSES, BACKGROUND, np.uint8)
"""Region of each class (upstream.md 1.2)."""
REGION[[*range(1, 14), 17, 18]] = HEAD
REGION[[14, 15]] = NECK
REGION[16] = TORSO


def with_parser(masks: Step) -> Step:
    """The step `masks`, whose regions are named anew by the user's network where there is one."""

    def run(workspace: Workspace) -> StepResult:
        weights = find_models(workspace.config.model_dir).parser
        result = masks.run(workspace)
        return result if weights is None else _parse_again(workspace, weights, result)

    return replace(masks, settings=(*masks.settings, "model_dir"), run=run)


def name_regions(
    classes: UInt8[np.ndarray, "size size"], alpha: Float32[np.ndarray, "size size"], own: UInt8[np.ndarray, "size size"]
) -> UInt8[np.ndarray, "size size"]:
    """Regions by the network's classes inside the person's mask, which has the finer edge; where the network saw background
    there, the region that mesh and colour gave."""
    regions = REGION[classes]
    return np.where(alpha <= _PERSON, BACKGROUND, np.where(regions == BACKGROUND, own, regions)).astype(np.uint8)


def _parse_again(workspace: Workspace, weights: Path, result: StepResult) -> StepResult:
    network = load_bisenet(weights, choose_device("auto"))
    clip = enumerate(read_clip(workspace, tuple(workspace.readings("frames")["crop"]), workspace.config.size))
    share = np.zeros(TORSO + 1)
    workspace.progress.begin("parsing", workspace.frames)
    for batch in _batches(clip):
        classes = parse_faces(network, torch.from_numpy(np.stack([rgb for _, rgb in batch]))).numpy()
        for (index, _), found in zip(batch, classes, strict=True):
            path = workspace.folder.parsing(index)
            label = name_regions(found, read_alpha(workspace, index), read_regions(path))
            write_regions(path, label)
            share += np.bincount(label.reshape(-1), minlength=TORSO + 1) / label.size / workspace.frames
        workspace.progress.advance(batch[-1][0] + 1)
    names = ("background", "head", "neck", "torso")
    readings = {f"{name}_share": round(float(value), 4) for name, value in zip(names, share, strict=True)}
    return StepResult(f"{result.message}; regions by {weights.name}", {**result.readings, **readings})


def _batches(clip: Iterator[tuple[int, np.ndarray]]) -> Iterator[list[tuple[int, np.ndarray]]]:
    while batch := list(islice(clip, _AT_ONCE)):
        yield batch
