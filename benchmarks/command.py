"""What the benchmarks' command lines share: options, and what happens to the results."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.ceilings import Ceilings
from benchmarks.table import RESULTS, Result, append_results, describe_machine, results_table
from r2talker import methods
from r2talker.errors import R2TalkerError


def new_parser(description: str | None, *, size: int = 512) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--size", type=int, default=size, help="side of the pictures in pixels")
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that it runs")
    parser.add_argument("--record", action="store_true", help="append the rows to the table, if the tests pass here")
    parser.add_argument("--commit", default="", help="commit of the code, where there is no git to ask")
    parser.add_argument("--table", type=Path, default=RESULTS, help="the table to append to")
    return parser


def add_methods(parser: argparse.ArgumentParser) -> None:
    """`--methods`, by default all."""
    names = methods.available()
    parser.add_argument("--methods", nargs="+", choices=names, default=list(names), help="methods to measure")


def conclude(results: Sequence[Result], args: argparse.Namespace, device: torch.device, tests: Sequence[str]) -> None:
    """Append the results if that was asked for, and print their table last."""
    machine = describe_machine(device)
    if args.record:
        machine = replace(machine, commit=args.commit or machine.commit)
        if not machine.commit:
            raise R2TalkerError("git does not say which commit this is; pass it as --commit, or leave out --record")
        append_results(args.table, results, machine, tests)
    print(f"\n{machine.device}, driver {machine.driver or '-'}, CUDA {machine.cuda or '-'}, torch {machine.torch}")
    print(results_table(results))


def describe_ceilings(ceilings: Ceilings) -> str:
    """One line for the log."""
    rates = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in ceilings.matrix.items())
    return f"ceilings: copy {ceilings.copy / 1e9:.0f} GB/s, {rates}"


def run(main: Callable[[], None]) -> None:
    """Call `main`; what a user can mend ends as one line."""
    try:
        main()
    except R2TalkerError as error:
        sys.exit(f"error: {error}")
