"""From a video to an avatar in Python: python examples/01_make_an_avatar.py VIDEO FOLDER"""

import sys
from pathlib import Path

from r2talker.ingest.config import IngestConfig
from r2talker.ingest.pipeline import ingest
from r2talker.train.config import TrainConfig
from r2talker.train.run import train_avatar


def main(video: Path, folder: Path, *, size: int = 128, train: TrainConfig | None = None) -> Path:
    """Ingest the clip and train an r2talker avatar; returns the avatar's folder."""
    ingest(video, folder / "clip.dataset", IngestConfig(size=size))
    return train_avatar("r2talker", folder / "clip.dataset", folder / "clip.avatar", train).avatar


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])))
