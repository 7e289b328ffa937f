"""The page docs/architecture.md holds: who imports whom, what loads what, what is documented."""

import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import r2talker

PACKAGE = Path(r2talker.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
DOORS = ("__init__", "__main__")
"""The package's own files, which belong to no room."""
UNSEEN = {"ingest": {"model", "methods", "conditions"}}
"""Rooms below that a room does not see all the same."""
ONLY_CLI = "subject"
HEAVY = ("torch", "numpy", "cv2", "mediapipe", "av", "scipy", "soundfile", "soxr", "tensorboard", "numba")
NOT_ON_A_TRAINING_MACHINE = ("mediapipe", "av", "soundfile", "soxr", "tyro")
BARE = ("train.run", "train.trainer", "avatar", "render.frame", "evaluate.held_out", "evaluate.motion", "evaluate.run")
"""What such a machine runs: training, rendering, evaluation."""


@dataclass(frozen=True)
class Source:
    """A file of the package: its dotted name without `r2talker.`, its tree."""

    name: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


def sources() -> list[Source]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts
        found.append(Source(".".join(parts), ast.parse(path.read_text(), str(path))))
    return found


SOURCES = sources()


def order() -> dict[str, int]:
    """Level of every room in the page's list, the lowest at 0."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("`cli` > ")]
    levels = [re.findall(r"`(\w+)`", level) for level in line.split(">")]
    return {room: len(levels) - place for place, rooms in enumerate(levels, 1) for room in rooms}


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything imported anywhere in a file, including what is imported inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the room they come from"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def rooms_imported(tree: ast.AST) -> set[str]:
    """Rooms that a file imports from; names of the package itself are not rooms."""
    inside = (name.split(".")[1:] for name in imported(tree) if name.split(".")[0] == PACKAGE.name)
    return {parts[0] for parts in inside if parts} - {"__version__"}


def outer(tree: ast.AST) -> set[str]:
    """Top-level packages that a file imports."""
    return {name.split(".")[0] for name in imported(tree)}


class TestDirection:
    def test_the_page_lists_every_room(self) -> None:
        assert set(order()) == {source.room for source in SOURCES} - set(DOORS)

    @pytest.mark.parametrize(
        "source", [source for source in SOURCES if source.room not in DOORS], ids=lambda source: source.name
    )
    def test_imports_go_down(self, source: Source) -> None:
        levels = order()
        for room in rooms_imported(source.tree) - {source.room}:
            assert levels[room] < levels[source.room], f"{source.name} must not import from {room}"
            assert room not in UNSEEN.get(source.room, ()), f"{source.name} must not see {room}"
            assert room != ONLY_CLI or source.room == "cli", f"only cli sees {room}, not {source.name}"

    def test_the_package_offers_and_its_door_opens(self) -> None:
        doors = {source.name: rooms_imported(source.tree) for source in SOURCES if source.room in DOORS}
        assert doors == {"__init__": {"avatar", "errors"}, "__main__": {"cli"}}

    def test_inside_only_the_version_is_taken_from_the_package(self) -> None:
        taken = {
            node.attr
            for source in SOURCES
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == PACKAGE.name
        }
        assert taken <= {"__version__"}

    def test_methods_do_not_import_each_other(self) -> None:
        files = [source for source in SOURCES if source.room == "methods" and source.name != "methods"]
        assert len(files) >= 3
        for source in files:
            assert "methods" not in rooms_imported(source.tree)

    @pytest.mark.parametrize(("package", "room"), [("av", "media"), ("mediapipe", "face")])
    def test_one_room_knows_it(self, package: str, room: str) -> None:
        assert {source.room for source in SOURCES if package in outer(source.tree)} == {room}

    def test_only_the_command_line_parses_arguments(self) -> None:
        assert {source.room for source in SOURCES if outer(source.tree) & {"tyro", "argparse"}} == {"cli"}

    @pytest.mark.parametrize(
        ("code", "rooms"),
        [
            ("import r2talker", set()),
            ("from r2talker import __version__, methods", {"methods"}),
            ("def f():\n    from r2talker.face.detector import FaceDetector", {"face"}),
            ("import r2talker.ops.sh_encode.op as op", {"ops"}),
            ("import_module('r2talker.media.read')", {"media"}),
            ("import torch", set()),
        ],
    )
    def test_the_reader_of_imports_reads(self, code: str, rooms: set[str]) -> None:
        assert rooms_imported(ast.parse(code)) == rooms


def run(code: str) -> str:
    """Output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


class TestLightness:
    def loaded_after(self, code: str) -> list[str]:
        watched = f"import json, sys\n{code}\nprint(); print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
        return list(json.loads(run(watched).splitlines()[-1]))

    def test_importing_the_package_loads_nothing(self) -> None:
        assert self.loaded_after("import r2talker; r2talker.__version__; r2talker.R2TalkerError") == []

    def test_importing_the_command_line_loads_nothing(self) -> None:
        assert self.loaded_after("import r2talker.cli.main; r2talker.cli.main.run(['--help'])") == []

    def test_the_help_of_every_verb_loads_nothing(self) -> None:
        code = """
            from r2talker.cli.main import VERBS, run
            for verb in VERBS:
                try:
                    run([verb, "--help"])
                except SystemExit as stop:
                    assert not stop.code, verb
                else:
                    raise AssertionError(verb)
        """
        assert self.loaded_after("\n".join(line[12:] for line in code.splitlines())) == []

    def test_the_watcher_sees_what_is_loaded(self) -> None:
        assert self.loaded_after("import numpy") == ["numpy"]

    def test_rooms_load_nothing(self) -> None:
        rooms = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
        assert len(rooms) >= 12
        assert self.loaded_after("\n".join(f"import r2talker.{room}" for room in rooms)) == []

    def test_help_is_quick(self) -> None:
        script = Path(sys.executable).with_name(PACKAGE.name)
        command = [str(script)] if script.exists() else [sys.executable, "-m", PACKAGE.name]
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60, check=True)
            seconds.append(time.perf_counter() - start)
        assert "usage: r2talker" in done.stdout
        assert min(seconds) < 0.5

    def test_training_and_rendering_import_on_a_bare_machine(self) -> None:
        blocked = "\n".join(f"sys.modules[{name!r}] = None" for name in NOT_ON_A_TRAINING_MACHINE)
        modules = "\n".join(f"import r2talker.{module}" for module in BARE)
        methods = "from r2talker import methods; [methods.get(name) for name in methods.available()]"
        assert run(f"import sys\n{blocked}\n{modules}\n{methods}\nprint('imported')") == "imported\n"


class TestPublicNames:
    def test_all_resolves(self) -> None:
        for name in r2talker.__all__:
            assert getattr(r2talker, name) is not None
        assert r2talker.Avatar.__name__ == "Avatar"
        assert issubclass(r2talker.R2TalkerError, Exception)

    def test_anything_else_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="nothing_of_the_kind"):
            r2talker.nothing_of_the_kind  # noqa: B018

    @pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
    def test_public_functions_and_classes_are_documented(self, source: Source) -> None:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        public = [node for node in source.tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
        assert ast.get_docstring(source.tree), f"{source.name} does not say what it is about"
        assert [node.name for node in public if not ast.get_docstring(node)] == []
