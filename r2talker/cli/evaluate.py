"""`r2talker evaluate`: readings on the held-out frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from r2talker.cli.arguments import parse
from r2talker.cli.progress import ProgressDisplay


@dataclass(frozen=True)
class EvaluateArguments:
    """Measure an avatar on the held-out end of a dataset; writes evaluation.json and evaluation.png into the avatar's folder."""

    avatar: Positional[Path]
    """Avatar folder."""
    dataset: Positional[Path]
    """The dataset that it was trained on."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(EvaluateArguments, "evaluate", arguments)
    from r2talker.evaluate.held_out import evaluate_avatar

    with ProgressDisplay() as progress:
        scores = evaluate_avatar(args.avatar, args.dataset, progress=progress)
    print(scores.summary())
