"""`r2talker convert-bfm`: the Basel Face Model becomes a file of plain tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from r2talker.cli.arguments import parse


@dataclass(frozen=True)
class ConvertBfmArguments:
    """Convert the Basel Face Model 2009, which you own, with the side files of AD-NeRF's face tracking, for `r2talker track-bfm`."""

    model: Positional[Path]
    """01_MorphableModel.mat."""
    expressions: Path | None = None
    """exp_info.npy; by default beside the model."""
    keys: Path | None = None
    """keys_info.npy; by default beside the model."""
    topology: Path | None = None
    """topology_info.npy; by default beside the model."""
    output: Annotated[Path, arg(aliases=["-o"])] = Path("bfm.safetensors")
    """File to write, about 120 MB."""


def main(arguments: Sequence[str]) -> None:
    """Run the verb."""
    args = parse(ConvertBfmArguments, "convert-bfm", arguments)
    from r2talker.ingest.morphable.convert import BaselFiles, convert_basel

    beside = args.model.parent
    files = BaselFiles(
        model=args.model,
        expressions=args.expressions or beside / "exp_info.npy",
        keys=args.keys or beside / "keys_info.npy",
        topology=args.topology or beside / "topology_info.npy",
    )
    vertices = convert_basel(files, args.output)
    print(f"{args.output}: {vertices} vertices; r2talker track-bfm DATASET {args.output}")
