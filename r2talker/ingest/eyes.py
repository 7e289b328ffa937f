"""Step `eyes`: how far the eyes are open, as the methods read it."""

import numpy as np

from r2talker.data.points import eye_values
from r2talker.files import write_json
from r2talker.ingest.step import Step, StepResult, Workspace

_VALUES = "eye_values.json"


def measure_eyes(workspace: Workspace) -> StepResult:
    """Keep the eye value of every picture (upstream.md 2.7), from its `.lms`; readings: its range."""
    workspace.progress.begin("eyes", 1)
    points = np.stack([np.loadtxt(workspace.folder.landmarks(index)) for index in range(workspace.frames)])
    values = eye_values(points, workspace.config.size)
    write_json(workspace.product(_VALUES), [round(float(value), 6) for value in values])
    readings = {"min": round(float(values.min()), 4), "max": round(float(values.max()), 4)}
    return StepResult(f"eye opening {values.min():.2f} to {values.max():.2f} % of the picture", readings)


STEP = Step("eyes", 1, ("landmarks",), ("size",), measure_eyes, lambda workspace: [workspace.product(_VALUES)])
