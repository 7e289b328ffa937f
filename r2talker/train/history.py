"""What a training run has measured so far, kept beside its checkpoint so that a run that goes on has it all."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from r2talker.errors import R2TalkerError
from r2talker.files import read_json, write_json
from r2talker.train.checkpoint import Position


@dataclass
class PhaseRecord:
    """Readings of one phase.

    steps: as many as it has, or is foreseen to have. begun, ended: seconds of training at its start and at its last reading. points:
    one entry per reading with `step`, `seconds` of training, and the readings by name. previews: `step` and `psnr` (dB, the whole
    picture) of the held-out frame that previews show.
    """

    name: str
    steps: int
    begun: float
    ended: float
    points: list[dict[str, float]] = field(default_factory=list)
    previews: list[dict[str, float]] = field(default_factory=list)

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of one reading."""
        found = [(point["step"], point[name]) for point in self.points if name in point]
        return [step for step, _ in found], [value for _, value in found]

    def cut(self, step: int) -> None:
        """Forget what was measured at this step and later."""
        self.points, self.previews = (
            [point for point in points if point["step"] < step] for points in (self.points, self.previews)
        )

    @property
    def readings(self) -> list[str]:
        """Names of the readings."""
        return [name for name in (self.points[-1] if self.points else {}) if name not in ("step", "seconds")]


@dataclass
class History:
    """The phases begun so far in order; runs: how often the training was begun or went on; generator: seconds of the landmark generator."""

    phases: list[PhaseRecord] = field(default_factory=list)
    runs: int = 1
    generator: float = 0.0

    def begin(self, name: str, steps: int, seconds: float) -> PhaseRecord:
        """The record of a phase, which is a new one unless the phase goes on."""
        if not self.phases or self.phases[-1].name != name:
            self.phases.append(PhaseRecord(name, steps, seconds, seconds))
        return self.phases[-1]

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_json(path, asdict(self))


def read_history(path: Path, position: Position | None) -> History:
    """The history of the run of a checkpoint, without what was measured after it."""
    if position is None or not path.exists():
        return History()
    value = read_json(path)
    try:
        phases = [PhaseRecord(**record) for record in value["phases"]]
        names = [record.name for record in phases]
        phases = phases[: names.index(position.phase) + 1]
        phases[-1].cut(position.step)
        return History(phases, value["runs"] + 1, value["generator"])
    except (KeyError, TypeError, ValueError) as error:
        raise R2TalkerError(f"{path} is unreadable ({error}); start again with --restart") from error
