"""Step `sync`: by how much the clip's sound comes late, and on demand its correction."""

import math

import torch

from r2talker.drive.motion import advance_sound
from r2talker.drive.sound_lag import measure_sound_lag
from r2talker.files import read_npy
from r2talker.ingest.audio import read_sound
from r2talker.ingest.step import FPS, SAMPLE_RATE, Step, StepResult, Workspace
from r2talker.media.write import write_wav


def measure_sync(workspace: Workspace) -> StepResult:
    """Find the lag of the sound; with `fix_sync` shift `aud.wav` by it, else leave it as recorded.

    Readings: lag_frames (positive: late), late_frames (not rounded, or None), fixed, and the curve: rows (20 ms), scores.
    """
    workspace.progress.begin("sync", 1)
    samples = torch.from_numpy(read_sound(workspace)[0])
    has_sound = workspace.readings("audio")["has_sound"]
    landmarks = torch.from_numpy(read_npy(workspace.folder.landmark_offsets()))
    lag = measure_sound_lag(samples, landmarks if has_sound else landmarks[:0])
    fixed = workspace.config.fix_sync and lag.frames != 0
    write_wav(workspace.folder.audio, advance_sound(samples, lag.frames if fixed else 0).numpy(), rate=SAMPLE_RATE)
    readings = {
        "lag_frames": lag.frames,
        "late_frames": None if math.isnan(lag.late) else round(lag.late, 2),
        "fixed": fixed,
        "rows": lag.rows.tolist(),
        "scores": [round(float(score), 4) for score in lag.scores],
    }
    return StepResult(_message(lag.frames, math.isnan(lag.late), fixed), readings)


def _message(frames: int, unknown: bool, fixed: bool) -> str:
    if unknown:
        return "sound and lips: too little speech to tell whether they are in step"
    if frames == 0:
        return "sound and lips are in step"
    count = f"{abs(frames)} picture{'s' if abs(frames) > 1 else ''}"
    text = f"the sound comes {abs(frames) / FPS * 1000:.0f} ms ({count}) {'late' if frames > 0 else 'early'}"
    return f"{text}; shifted" if fixed else f"{text}; --fix-sync shifts it"


STEP = Step("sync", 1, ("audio", "expression"), ("fix_sync",), measure_sync, lambda workspace: [workspace.folder.audio])
