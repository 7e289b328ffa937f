"""How verbs turn their arguments into a dataclass."""

from collections.abc import Sequence
from typing import TypeVar

import tyro

from r2talker.methods import available

METHOD_HELP = f"How the head is conditioned: {', '.join(available())}."
Arguments = TypeVar("Arguments")


def parse(kind: type[Arguments], verb: str, arguments: Sequence[str]) -> Arguments:
    """Parse `arguments` into the dataclass `kind`, whose docstring and field docstrings are the help."""
    return tyro.cli(
        kind, prog=f"r2talker {verb}", args=list(arguments), config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    )
