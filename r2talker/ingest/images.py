"""Step `images`: the pictures to learn from - the person over the clean background, and the torso alone."""

from pathlib import Path

import cv2
import numpy as np

from r2talker.files import write_bytes
from r2talker.ingest.masks import read_alpha, read_regions
from r2talker.ingest.pictures import encode, map_ordered, prepare_folder, read_clip, read_rgb, write_jpeg
from r2talker.ingest.step import Step, StepResult, Workspace
from r2talker.ingest.torso import make_torso

# 44 s of 512 x 512 fit into 60 MB; 46 dB in a soft clip, 42 dB in a sharp one.
_QUALITY = 85
_TORSO_QUALITY = 80


def make_images(workspace: Workspace) -> StepResult:
    """Write `gt_imgs/<i>.jpg` and `torso_imgs/<i>.webp` (`.png` on demand); readings: mean bytes of each.

    A resumed step leaves the pictures that are there.
    """
    folder, size = workspace.folder, workspace.config.size
    background = np.ascontiguousarray(read_rgb(folder.background))
    prepare_folder(folder.ground_truth(0).parent, keep=workspace.resumed)
    prepare_folder(folder.torso(0).parent, keep=workspace.resumed)
    suffix = ".png" if workspace.config.torso_png else ".webp"
    options = [cv2.IMWRITE_PNG_COMPRESSION, 6] if workspace.config.torso_png else [cv2.IMWRITE_WEBP_QUALITY, _TORSO_QUALITY]
    workspace.progress.begin("images", workspace.frames)

    def compose(item: tuple[int, np.ndarray]) -> tuple[int, int]:
        index, rgb = item
        target = _torso_path(workspace, index)
        if target.exists() and folder.ground_truth(index).exists():
            return folder.ground_truth(index).stat().st_size, target.stat().st_size
        alpha = read_alpha(workspace, index)
        label = read_regions(folder.parsing(index))
        truth = cv2.blendLinear(rgb, background, alpha, 1 - alpha)
        write_jpeg(folder.ground_truth(index), truth, _QUALITY)
        torso = make_torso(truth, label, alpha)
        content = encode(suffix, cv2.cvtColor(torso, cv2.COLOR_RGBA2BGRA), options)
        write_bytes(target, content)
        return folder.ground_truth(index).stat().st_size, len(content)

    sizes = []
    clip = read_clip(workspace, tuple(workspace.readings("frames")["crop"]), size)
    for done, pair in enumerate(map_ordered(compose, enumerate(clip))):
        sizes.append(pair)
        workspace.progress.advance(done + 1)
    truth_bytes, torso_bytes = np.mean(sizes, axis=0).round().astype(int).tolist()
    message = (
        f"{len(sizes)} pictures over the clean background ({truth_bytes} bytes each), as many torsos ({torso_bytes} bytes each)"
    )
    return StepResult(message, {"gt_bytes": truth_bytes, "torso_bytes": torso_bytes})


def _torso_path(workspace: Workspace, index: int) -> Path:
    return workspace.folder.torso(index).with_suffix(".png" if workspace.config.torso_png else ".webp")


def _made(workspace: Workspace) -> list[Path]:
    frames = range(workspace.frames)
    return [*(workspace.folder.ground_truth(i) for i in frames), *(_torso_path(workspace, i) for i in frames)]


STEP = Step("images", 3, ("frames", "masks", "background"), ("size", "seconds", "torso_png"), make_images, _made)
