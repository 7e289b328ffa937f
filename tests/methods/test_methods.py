"""The room of methods: what is listed, how one is added, where their names may stand."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import r2talker
from r2talker import methods
from r2talker.errors import R2TalkerError
from r2talker.model.head import FrameCode, HeadConfig
from r2talker.model.talking_head import ModelConfig, TalkingHead

PACKAGE = Path(r2talker.__file__).parent
FILES = sorted(path.stem for path in (PACKAGE / "methods").glob("*.py") if path.stem != "__init__")
SPEAKS_OF_THE_PACKAGE = Path("cli/main.py")
"""The dispatcher starts the package by its name, which is also a method's; it knows no methods."""
NEW = '''"""A method in one file."""

from dataclasses import replace

from r2talker.model.conditioning import Conditioned
from r2talker.model.method import Method
from r2talker.types import DriveSpec
from torch import nn
from r2talker.ops.grid_encode.layout import GridLayout


class Plain(nn.Module):
    extra_features = 3

    def encode(self, values):
        return self.code(self.embed(values))

    def embed(self, values):
        return values.flatten(1).mean(1, keepdim=True)

    def code(self, embedded):
        return embedded.expand(-1, 3)

    def start(self, values):
        pass

    def condition(self, features, code):
        from torch import cat
        return Conditioned(cat([features, code.expand(len(features), -1)], dim=-1), None, None)


GRID = GridLayout(3, 2, base=4, finest=8, levels=2)
METHOD = Method("newcomer", "New", "new", DriveSpec("landmarks", 3, False), GRID, GRID, GRID, lambda shape: Plain(), {})
'''


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fourth method, by nothing but a file in the folder of methods."""
    (tmp_path / "newcomer.py").write_text(NEW)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    methods.available.cache_clear()
    yield "newcomer"
    monkeypatch.undo()
    methods.available.cache_clear()
    sys.modules.pop("r2talker.methods.newcomer", None)
    vars(methods).pop("newcomer", None)


def test_every_file_is_a_method() -> None:
    assert list(methods.available()) == FILES
    assert len(FILES) >= 3
    assert methods.DEFAULT in FILES


@pytest.mark.parametrize("name", methods.available())
def test_a_method_says_who_it_is(name: str) -> None:
    method = methods.get(name)
    assert method.name == name
    assert method.title
    assert method.drive.kind in ("landmarks", "audio")
    assert method.drive.window >= 1


def test_names_are_unique() -> None:
    found = [methods.get(name) for name in methods.available()]
    assert len({method.upstream_name for method in found}) == len({method.title for method in found}) == len(found)


@pytest.mark.parametrize("name", ["", "nerf", "__init__", "r2talker.methods.r2talker", "../avatar"])
def test_an_unknown_method_is_one_line_that_lists_the_others(name: str) -> None:
    with pytest.raises(R2TalkerError) as raised:
        methods.get(name)
    message = str(raised.value)
    assert "\n" not in message
    assert repr(name) in message
    assert all(known in message for known in methods.available())


def test_a_file_adds_a_method(newcomer: str) -> None:
    assert newcomer in methods.available()
    method = methods.get(newcomer)
    config = ModelConfig(HeadConfig(method.position_grid, codes=2), method.trained_grid)
    head = TalkingHead(config, method).head
    code = head.contract.encode(torch.rand(4, 3, 68, 3))[2]
    radiance = head(torch.rand(5, 3), torch.rand(5, 3), FrameCode(code, torch.tensor(0.1), head.individual_codes[0]))
    assert radiance.rgb.shape == (5, 3)
    with pytest.raises(R2TalkerError, match=newcomer):
        methods.get("unknown")


def test_and_leaves_no_trace_once_its_file_is_gone() -> None:
    assert list(methods.available()) == FILES


def constants(tree: ast.AST) -> Iterator[ast.Constant]:
    """String constants that are no docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


def names_methods(text: str) -> bool:
    """One of the methods' names; the package's own, which is also a method's, only if it is all of the text."""
    names = {name for known in methods.available() for name in (known, methods.get(known).upstream_name)}
    words = "|".join(re.escape(name) for name in names if name != PACKAGE.name)
    return text == PACKAGE.name or re.search(rf"\b({words})\b", text) is not None


def test_no_method_is_named_outside_its_room() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value!r}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "methods" and path.relative_to(PACKAGE) != SPEAKS_OF_THE_PACKAGE
        for node in constants(ast.parse(path.read_text()))
        if names_methods(node.value)
    ]
    assert not found


def test_the_dispatcher_names_no_other_method() -> None:
    found = {node.value for node in constants(ast.parse((PACKAGE / SPEAKS_OF_THE_PACKAGE).read_text()))}
    assert {text for text in found if names_methods(text)} <= {PACKAGE.name}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('if name == "radnerf": pass', 1),
        ('x = "r2talker"', 1),
        ('x = f"for {y}: geneface"', 1),
        ('"""About radnerf."""', 0),
        ('x = "r2talker-dataset"', 0),
    ],
)
def test_the_scan_finds_what_it_should(source: str, found: int) -> None:
    assert sum(names_methods(node.value) for node in constants(ast.parse(source))) == found
