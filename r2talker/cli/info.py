"""`r2talker info`: what a folder holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.errors import R2TalkerError


@dataclass(frozen=True)
class InfoArguments:
    """Say what an avatar or a dataset holds."""

    path: Positional[Path]
    """Avatar or dataset folder."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(InfoArguments, "info", arguments)
    from r2talker.avatar_format import AvatarFolder, read_avatar_info
    from r2talker.cli.describe import describe_avatar, describe_dataset
    from r2talker.data.dataset import read_dataset
    from r2talker.data.folder import DatasetFolder, read_info
    from r2talker.data.foreign.layout import is_foreign

    if not args.path.is_dir():
        raise R2TalkerError(f"{args.path} is not a folder; give an avatar or a dataset")
    if AvatarFolder(args.path).info.exists():
        print(describe_avatar(args.path, read_avatar_info(AvatarFolder(args.path))))
    elif DatasetFolder(args.path).info.exists():
        print(describe_dataset(args.path, read_info(DatasetFolder(args.path))))
    elif is_foreign(args.path):
        dataset = read_dataset(args.path)
        print("\n".join([describe_dataset(args.path, dataset.info), *(f"  note: {note}" for note in dataset.notes)]))
    else:
        raise R2TalkerError(f"{args.path} holds neither avatar.json nor dataset.json; it is unfinished or something else")
