"""Step `features`: log-mel windows, the audio features that need no download."""

from pathlib import Path

import torch

from r2talker.data.folder import Feature
from r2talker.drive.log_mel import LogMel, audio_windows
from r2talker.files import write_npy
from r2talker.ingest.step import SAMPLE_RATE, Step, StepResult, Workspace
from r2talker.media.read import read_audio

NAME = "mel"
_FILE = "aud_mel.npy"


def make_features(workspace: Workspace) -> StepResult:
    """Write `aud_mel.npy`, float32 [frames, 16, width]; readings: what `dataset.json` says of it."""
    workspace.progress.begin("features", 1)
    width = workspace.config.feature_width
    samples = torch.from_numpy(read_audio(workspace.folder.audio, rate=SAMPLE_RATE))
    with torch.inference_mode():
        windows = audio_windows(LogMel(width)(samples), workspace.frames, padding=LogMel.silence)
    write_npy(_path(workspace), windows.numpy())
    feature = Feature(_FILE, LogMel.rate, width)
    readings = {"file": feature.file, "rate": feature.rate, "width": feature.width}
    return StepResult(f"{len(windows)} windows of {windows.shape[1]} x {width} log-mel bands", readings)


def _path(workspace: Workspace) -> Path:
    return workspace.folder.root / _FILE


STEP = Step("features", 1, ("frames", "sync"), ("feature_width",), make_features, lambda workspace: [_path(workspace)])
