"""The curves of the report, one beneath the other."""

from collections.abc import Sequence

import numpy as np

from r2talker.drive.log_mel import ROWS_PER_FRAME
from r2talker.drive.sound_lag import IN_STEP_ROWS
from r2talker.ingest.report.findings import BLINK_SHARE, Finding, find_blinks, runs
from r2talker.ingest.report.inspection import read_inspected
from r2talker.ingest.report.signals import Signals
from r2talker.ingest.step import FPS, SAMPLE_RATE, Workspace
from r2talker.media.read import read_audio
from r2talker.report.charts import Band, Chart, Curve, draw_chart, draw_sync, draw_waveform

# The sound stands right below the mouth.
_SOUND_AFTER = 6


def draw_panels(workspace: Workspace, findings: Sequence[Finding], excluded: Sequence[int]) -> str:
    """All charts over time, then the one of the sound's lag."""
    signals, frames = read_inspected(workspace), workspace.frames
    bands = _bands(workspace, findings, excluded)
    samples = read_audio(workspace.folder.audio, rate=SAMPLE_RATE)
    parts = [draw_chart(chart) for chart in _charts(signals, bands)]
    parts.insert(_SOUND_AFTER, draw_waveform(samples, frames, bands, title="Sound"))
    keys = (("held", "held out from training"), ("band", "a warning is about it"), ("out", "excluded"))
    legend = "".join(f'<span><i class="key {kind}"></i>{text}</span>' for kind, text in keys)
    return f'<h2>Curves</h2><div class="keys">{legend}</div>{"".join(parts)}{_sync(workspace)}'


def _charts(signals: Signals, bands: Sequence[Band]) -> list[Chart]:
    blinks = find_blinks(signals.eye)
    minutes = len(signals.eye) / FPS / 60
    pitch, yaw, roll = signals.angles.T
    right, up, away = signals.position.T
    return [
        Chart("Head turning", "degrees", [Curve("pitch", pitch), Curve("yaw", yaw), Curve("roll", roll)], bands),
        Chart("Head position", "mm", [Curve("right", right), Curve("up", up), Curve("towards the camera", away)], bands),
        Chart(
            "Eye opening", "% of the picture", [Curve("both eyes", signals.eye)], bands, blinks,
            BLINK_SHARE * float(np.median(signals.eye)), note=f"{len(blinks)} blinks, {len(blinks) / minutes:.0f} a minute",
        ),
        Chart("Lids", "widths of an eye", [Curve("left in the picture", signals.lids[:, 0]), Curve("right", signals.lids[:, 1])], bands),
        Chart("Gaze", "widths of an eye", [Curve("to the right", signals.gaze[:, 0]), Curve("up", signals.gaze[:, 1])], bands),
        Chart("Mouth opening", "mm between the inner lips", [Curve("opening", signals.mouth)], bands),
        Chart("Sharpness of the face", "of the clip's median", [Curve("sharpness", signals.sharpness)], bands, height=100),
        Chart("Distance of the face's points from the tracked mesh", "px at 512", [Curve("rms", signals.residual)], bands, height=100),
    ]  # fmt: skip


def _bands(workspace: Workspace, findings: Sequence[Finding], excluded: Sequence[int]) -> list[Band]:
    blamed, out = np.zeros((2, workspace.frames), bool)
    for finding in findings:
        if finding.badness:
            blamed[finding.frames] = True
    out[list(excluded)] = True
    bands = [Band(workspace.train_frames, workspace.frames, "held")]
    bands += [Band(first, end, "out") for first, end in runs(out)]
    return bands + [Band(first, end, "band") for first, end in runs(blamed & ~out)]


def _sync(workspace: Workspace) -> str:
    """The curve from which the lag was read, and what it says."""
    sync = workspace.readings("sync")
    late, frames = sync["late_frames"], sync["lag_frames"]
    if late is None:
        text = "Too little speech, or too short a clip, to tell whether sound and lips are in step: 8 s are needed."
    elif frames == 0:
        text = f"Sound and lips are in step: measured {late * 1000 / FPS:+.0f} ms, and less than three quarters of a picture counts as none."
    else:
        side = "late" if frames > 0 else "early"
        done = "it was shifted back" if sync["fixed"] else "<code>--fix-sync</code> shifts it back"
        measured = f"best lag {frames:+d} of a picture's 40 ms, measured {late * 1000 / FPS:+.0f} ms"
        text = f"The sound comes {abs(frames) * 1000 / FPS:.0f} ms {side} ({measured}); {done}."
    best = None if late is None else IN_STEP_ROWS + late * ROWS_PER_FRAME
    chart = draw_sync(sync["rows"], sync["scores"], best, IN_STEP_ROWS) if sync["rows"] else ""
    return f"<h2>Sound and lips</h2><p>{text}</p>{chart}"
