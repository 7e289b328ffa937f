"""Settings small enough for tests, and a listener that remembers."""

from r2talker.drive.config import MotionConfig
from r2talker.progress import Silent
from r2talker.train.config import TrainConfig
from r2talker.train.motion_config import MotionTrainingConfig

CLIP_SIZE = 144
"""Side of the procedural clip's pictures."""
SIZE = 128
"""Side of its dataset's pictures."""
TRAIN_SIZE = 64
"""Side of the pictures that avatars are trained on."""
FRAMES, TRAIN_FRAMES = 60, 54
"""Pictures of the clip, and those of its training split."""

TRAINING = TrainConfig(train_size=TRAIN_SIZE, head_steps=40, torso_steps=30, rays=256, device="cpu")
MOTION = MotionTrainingConfig(steps=40, seconds=600, frames=64, variants=1, model=MotionConfig(hidden=16, members=2))


class Recorder(Silent):
    """Remembers what long work reported: (name, total, done) of every beginning, and the message of every end."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.ended: list[str] = []

    def begin(self, name: str, total: int, *, done: int = 0) -> None:
        self.begun.append((name, total, done))

    def end(self, message: str) -> None:
        self.ended.append(message)


class Interrupting(Recorder):
    """Stops the work, as Ctrl-C does, when step `name` has reported `done` units."""

    def __init__(self, name: str, done: int) -> None:
        super().__init__()
        self.name, self.done = name, done

    def advance(self, done: int, note: str = "", *, total: int | None = None) -> None:
        if self.begun[-1][0] == self.name and done >= self.done:
            raise KeyboardInterrupt
