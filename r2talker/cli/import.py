"""`r2talker import`: a checkpoint of the reference implementations becomes an avatar."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse


@dataclass(frozen=True)
class ImportArguments:
    """Make an avatar of a checkpoint that RAD-NeRF, R2-Talker or GeneFace on instant-ngp trained. Nothing in the file is executed."""

    checkpoint: Positional[Path]
    """Checkpoint (.pth): latest or best, head or head and torso."""
    avatar: Positional[Path]
    """Avatar folder to write."""
    dataset: Path | None = None
    """Dataset folder of the clip: camera, poses, background, landmarks or audio features."""
    poses: Annotated[Path | None, arg(name="pose")] = None
    """Instead of a dataset: transforms_*.json with the camera and head poses."""
    background: Path | None = None
    """With --pose: picture behind the person (bc.jpg); white without it."""
    landmarks: Path | None = None
    """With --pose: .npy of the training clip's landmarks (aud_idexp.npy), (T, 68, 3); needed by methods that normalise them."""
    weights: Literal["auto", "average", "raw"] = "auto"
    """Which weights the avatar gets: the moving average (ema), the raw ones, or the average where the file has one."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(ImportArguments, "import", arguments)
    from r2talker.avatar_format import AvatarFolder, read_avatar_info
    from r2talker.cli.describe import describe_avatar
    from r2talker.upstream.importing import import_checkpoint
    from r2talker.upstream.scene import SceneFiles

    files = SceneFiles(args.dataset, args.poses, args.background, args.landmarks)
    report = import_checkpoint(args.checkpoint, args.avatar, files, weights=args.weights)
    print(f"{report.method.title} with its {'moving average of the' if report.weights == 'average' else 'raw'} weights")
    print(describe_avatar(args.avatar, read_avatar_info(AvatarFolder(args.avatar))))
