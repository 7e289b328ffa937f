"""Step `exclusion`: pictures that training leaves out, remembered in `excluded.json` of the dataset."""

from pathlib import Path

from r2talker.errors import R2TalkerError
from r2talker.files import read_json, write_json
from r2talker.ingest.exclusion import WORST, format_frames, parse_exclusion
from r2talker.ingest.report.findings import worst_frames
from r2talker.ingest.report.inspection import read_findings
from r2talker.ingest.step import FPS, Step, StepResult, Workspace, digest_file

FILE = "excluded.json"
_FEWEST_SECONDS = 1.8


def exclude_frames(workspace: Workspace) -> StepResult:
    """Decide which pictures are left out and remember what was asked; readings: frames, and those that were asked for by number.

    Raises R2TalkerError for numbers outside the clip and when hardly anything would be left to train on.
    """
    workspace.progress.begin("exclusion", 1)
    asked = workspace.config.exclude or ""
    named, worst, _ = parse_exclusion(asked)
    if named and max(named) >= workspace.frames:
        raise R2TalkerError(
            f"--exclude {format_frames(named)}: {workspace.video} gives pictures 0 to {workspace.frames - 1}; name those, or `none`"
        )
    frames = named | set(worst_frames(read_findings(workspace), workspace.frames) if worst else [])
    left = workspace.train_frames - sum(frame < workspace.train_frames for frame in frames)
    if left < _FEWEST_SECONDS * FPS:
        raise R2TalkerError(
            f"--exclude {asked} leaves {left} pictures to train on; keep at least {_FEWEST_SECONDS * FPS:.0f}, or give a longer clip"
        )
    clip = digest_file(workspace.video)
    if asked:
        write_json(workspace.folder.root / FILE, {"clip": clip, "asked": asked})
    else:
        (workspace.folder.root / FILE).unlink(missing_ok=True)
    message = f"{len(frames)} pictures excluded from training" if frames else "no picture excluded from training"
    return StepResult(message, {"frames": sorted(frames)})


def resolve_exclusion(root: Path, clip: str, asked: str) -> str:
    """The exclusion that holds for the dataset `root` of the clip with digest `clip`: what was asked for before, and now.

    Raises R2TalkerError when the memory is damaged.
    """
    frames, worst, forget = parse_exclusion(asked)
    memory = root / FILE
    if not forget and memory.exists():
        before = read_json(memory)
        if not isinstance(before, dict) or not isinstance(before.get("asked"), str):
            raise R2TalkerError(f"{memory} does not say which pictures to leave out; delete it")
        if before.get("clip") == clip:
            earlier, earlier_worst, _ = parse_exclusion(before["asked"])
            frames, worst = frames | earlier, worst or earlier_worst
    return ",".join(part for part in (format_frames(frames), WORST if worst else "") if part)


def _made(workspace: Workspace) -> list[Path]:
    return [workspace.folder.root / FILE] if workspace.config.exclude else []


STEP = Step("exclusion", 1, ("frames", "inspection"), ("exclude",), exclude_frames, _made)
