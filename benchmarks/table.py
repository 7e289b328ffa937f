"""The committed table of results: one measured quantity a row, with the machine and the commit it was measured on.

`python -m benchmarks.table` renders it as markdown. Nothing is written unless the tests of what was measured pass on that machine.
"""

import argparse
import csv
import datetime
import io
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from r2talker.errors import R2TalkerError
from r2talker.files import write_bytes

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results.csv")


@dataclass(frozen=True)
class Result:
    """One quantity: benchmark (`frame`), subject (`r2talker, fused, 512`), quantity (`head frame`), value and its unit."""

    benchmark: str
    subject: str
    quantity: str
    value: float
    unit: str


@dataclass(frozen=True)
class Machine:
    """Where and on what code something was measured; `commit` ends in `+` when tracked files differ from it."""

    device: str
    driver: str
    cuda: str
    torch: str
    commit: str
    date: str


COLUMNS = tuple(field.name for kind in (Result, Machine) for field in fields(kind))


def describe_machine(device: torch.device) -> Machine:
    """The machine that this runs on, today."""
    gpu = device.type == "cuda"
    return Machine(
        device=torch.cuda.get_device_name(device) if gpu else f"{_processor()}, {torch.get_num_threads()} threads",
        driver=_output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0] if gpu else "",
        cuda=(torch.version.cuda or "") if gpu else "",
        torch=torch.__version__,
        commit=_commit(),
        date=datetime.date.today().isoformat(),
    )


def append_results(path: Path, results: Iterable[Result], machine: Machine, tests: Sequence[str]) -> None:
    """Add rows to the table at `path`, after the pytest node ids `tests` have passed here.

    R2TalkerError when a test failed or was skipped, or none ran; the file is then as it was. A CPU's rows do not ask for the
    tests marked `gpu`; a GPU's rows ask for all.
    """
    require_passing(tests, gpu=bool(machine.cuda))
    before = read_results(path) if path.exists() else []
    rows = before + [{key: str(value) for key, value in (asdict(result) | asdict(machine)).items()} for result in results]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def read_results(path: Path) -> list[dict[str, str]]:
    """Rows of a table; R2TalkerError when it is no such table."""
    with path.open(newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise R2TalkerError(f"{path} is not a table of results; expected the columns {', '.join(COLUMNS)}")
        return list(reader)


def require_passing(tests: Sequence[str], *, gpu: bool) -> None:
    """Run pytest node ids in a fresh interpreter; R2TalkerError unless every one ran and passed."""
    if not tests:
        raise R2TalkerError("results are written only beside passing tests; name the tests of what was measured")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # On a GPU the kernels themselves are tested, not their emulation.
        options = ["--require-gpu", "-k", "not emulator"] if gpu else ["-m", "not gpu"]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *options, *tests]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        suite = ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
    counts = {} if suite is None else {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    if not counts.get("tests") or counts["failures"] or counts["errors"] or counts["skipped"] or done.returncode:
        said = " ".join(f"{name} {count}" for name, count in counts.items()) or done.stderr.strip()[-300:].replace("\n", " ")
        raise R2TalkerError(f"nothing is written: {' '.join(tests)} did not all pass here ({said}); mend them first")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def results_table(results: Iterable[Result]) -> str:
    """Subjects as rows and quantities as columns."""
    cells: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for result in results:
        column = f"{result.quantity} [{result.unit}]" if result.unit else result.quantity
        columns[column] = None
        cells.setdefault(result.subject, {})[column] = f"{result.value:.4g}"
    rows = [[subject, *(found.get(column, "") for column in columns)] for subject, found in cells.items()]
    return markdown(["", *columns], rows)


def render_markdown(rows: Iterable[dict[str, str]]) -> str:
    """All rows of a table of results, one part per benchmark, machine and commit, newest last."""
    parts: dict[tuple[str, ...], list[Result]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("benchmark", "device", "driver", "cuda", "torch", "commit", "date"))
        result = Result(row["benchmark"], row["subject"], row["quantity"], float(row["value"]), row["unit"])
        parts.setdefault(key, []).append(result)
    texts = []
    for (benchmark, device, driver, cuda, version, commit, date), results in parts.items():
        machine = f"{device}, driver {driver}, CUDA {cuda}" if cuda else device
        texts.append(f"### {benchmark}: {machine}, torch {version}, commit {commit}, {date}\n\n{results_table(results)}\n")
    return "\n".join(texts)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    commit = _output("git", "rev-parse", "--short", "HEAD")
    return f"{commit}+" if commit and _output("git", "status", "--porcelain", "--untracked-files=no") else commit


def _output(*command: str) -> str:
    """What a program prints, or nothing when it cannot say."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=RESULTS, help="file to render")
    print(render_markdown(read_results(parser.parse_args().table)))


if __name__ == "__main__":
    main()
