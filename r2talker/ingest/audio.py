"""Step `audio`: the clip's sound as 16 kHz mono, exactly as long as its pictures."""

import numpy as np
from jaxtyping import Float32

from r2talker.errors import R2TalkerError
from r2talker.ingest.step import FPS, SAMPLE_RATE, Step, StepResult, Workspace
from r2talker.media.read import read_audio
from r2talker.media.write import write_wav

# Below this the track counts as silent: -60 dB of full scale, under the noise of any recorded speech.
_SILENT_PEAK = 1e-3


def make_audio(workspace: Workspace) -> StepResult:
    """Write `aud.wav`; a clip without sound gets silence. Readings: has_sound, peak."""
    workspace.progress.begin("audio", 1)
    samples, warning = read_sound(workspace)
    peak = float(np.abs(samples).max())
    has_sound = peak > _SILENT_PEAK
    if not has_sound and not warning:
        warning = f"; {workspace.video} has no sound: the avatar can replay its clip, but cannot learn to speak"
    write_wav(workspace.folder.audio, samples, rate=SAMPLE_RATE)
    return StepResult(f"{len(samples) / SAMPLE_RATE:.1f} s of sound{warning}", {"has_sound": has_sound, "peak": round(peak, 4)})


def read_sound(workspace: Workspace) -> tuple[Float32[np.ndarray, " samples"], str]:
    """The clip's sound as it is, as long as its pictures, silence where there is none; and a warning that starts with `; `."""
    samples = np.zeros(round(workspace.frames / FPS * SAMPLE_RATE), np.float32)
    if workspace.readings("frames")["clip"]["has_sound"]:
        try:
            heard = read_audio(workspace.video, rate=SAMPLE_RATE)[: len(samples)]
            samples[: len(heard)] = heard
        except R2TalkerError as error:
            return samples, f"; {error}"
    return samples, ""


STEP = Step("audio", 1, ("frames",), ("seconds",), make_audio, lambda workspace: [workspace.folder.audio])
