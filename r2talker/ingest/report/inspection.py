"""Step `inspection`: measures every picture and says what is wrong with the clip."""

from dataclasses import asdict
from pathlib import Path

from r2talker.ingest.report.findings import Clip, Finding, find_faults
from r2talker.ingest.report.signals import Signals, measure_signals, read_signals, write_signals
from r2talker.ingest.step import Step, StepResult, Workspace

_SIGNALS = "signals.npz"


def inspect_clip(workspace: Workspace) -> StepResult:
    """Keep the signals of every picture; readings: the findings."""
    workspace.progress.begin("inspection", workspace.frames)
    signals = measure_signals(workspace)
    write_signals(workspace.product(_SIGNALS), signals)
    sync = workspace.readings("sync")
    has_sound = workspace.readings("audio")["has_sound"]
    findings = find_faults(Clip(signals, has_sound, 0 if sync["fixed"] else sync["lag_frames"]))
    kinds = ", ".join(f"{finding.kind} ({len(finding.frames)})" if finding.badness else finding.kind for finding in findings)
    message = f"{len(findings)} warning{'s' if len(findings) > 1 else ''}: {kinds}" if findings else "no warnings"
    return StepResult(message, {"findings": [asdict(finding) for finding in findings]})


def read_findings(workspace: Workspace) -> list[Finding]:
    """What `inspect_clip` found wrong."""
    return [Finding(**value) for value in workspace.readings("inspection")["findings"]]


def read_inspected(workspace: Workspace) -> Signals:
    """What `inspect_clip` measured."""
    return read_signals(workspace.product(_SIGNALS))


def _made(workspace: Workspace) -> list[Path]:
    return [workspace.product(_SIGNALS)]


STEP = Step(
    "inspection",
    2,
    ("frames", "audio", "landmarks", "tracking", "expression", "eyes", "sync"),
    ("size", "focal"),
    inspect_clip,
    _made,
)
