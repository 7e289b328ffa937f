"""`r2talker export`: an avatar becomes a checkpoint of the reference implementations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.errors import R2TalkerError


@dataclass(frozen=True)
class ExportArguments:
    """Write a checkpoint that the reference implementations load; an imported avatar gives its own back, bit for bit."""

    avatar: Positional[Path]
    """Avatar folder."""
    checkpoint: Positional[Path]
    """Checkpoint to write (.pth)."""
    head_only: bool = False
    """Leave out the torso of an avatar of our own, whose grid is smaller than the reference's."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(ExportArguments, "export", arguments)
    if args.checkpoint.suffix.lower() != ".pth":
        raise R2TalkerError(f"{args.checkpoint} must end in .pth")
    from r2talker.upstream.exporting import export_checkpoint

    report = export_checkpoint(args.avatar, args.checkpoint, head_only=args.head_only)
    content = "the checkpoint it was imported from" if report.exact else "head and torso" if report.torso else "the head"
    print(f"wrote {args.checkpoint}: {content}")
