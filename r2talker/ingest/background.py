"""Step `background`: the picture without the person."""

import numpy as np

from r2talker.ingest.config import REFERENCE_SIZE
from r2talker.ingest.masks import read_alpha
from r2talker.ingest.pictures import read_clip, write_jpeg
from r2talker.ingest.plate import fill_unseen, measure_distance, merge_looks
from r2talker.ingest.step import Step, StepResult, Workspace

_LOOKS = 60
_QUALITY = 95


def make_background(workspace: Workspace) -> StepResult:
    """Write `bc.jpg`; readings: share of the picture that was seen in some frame."""
    size, frames = workspace.config.size, workspace.frames
    wanted = np.linspace(0, frames - 1, min(_LOOKS, frames)).astype(int).tolist()
    crop = tuple(workspace.readings("frames")["crop"])
    workspace.progress.begin("background", len(wanted))
    pictures, distances = [], []
    for index, rgb in zip(wanted, read_clip(workspace, crop, size, wanted), strict=True):
        pictures.append(rgb)
        distances.append(measure_distance(read_alpha(workspace, index) < 0.05, REFERENCE_SIZE))
        workspace.progress.advance(len(pictures))
    plate, seen = merge_looks(np.stack(pictures), np.stack(distances))
    write_jpeg(workspace.folder.background, fill_unseen(plate, seen), _QUALITY)
    return StepResult(f"background, {seen.mean():.0%} of it seen", {"seen_share": round(float(seen.mean()), 4)})


STEP = Step("background", 2, ("masks",), ("size", "seconds"), make_background, lambda workspace: [workspace.folder.background])
