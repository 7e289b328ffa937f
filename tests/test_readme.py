"""The README's commands exist, its examples are what the command line understands, and no page has a broken link."""

import os
import re
import shlex
from pathlib import Path

import pytest

from r2talker.cli.main import VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = ("check", "demo", "fix", "setup", "test")


def commands(name: str) -> list[str]:
    """Lines of the README's shell blocks that start with `name`, without comments."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith(name)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_shell_and_can_be_run(name: str) -> None:
    path = ROOT / "scripts" / name
    assert os.access(path, os.X_OK)
    first, *rest = path.read_text().splitlines()
    assert first in ("#!/bin/sh", "#!/usr/bin/env bash")
    assert any(line.startswith("set -eu") for line in rest)


def test_two_commands_do_all_the_setting_up() -> None:
    first_block = README.split("```sh\n", 1)[1].split("```", 1)[0]
    assert [line.split("#")[0].strip() for line in first_block.splitlines()] == ["scripts/demo", "scripts/test"]
    for name in ("demo", "test"):
        script = (ROOT / "scripts" / name).read_text()
        assert "scripts/setup" in script
    assert "r2talker demo" in (ROOT / "scripts" / "demo").read_text()
    assert "pytest" in (ROOT / "scripts" / "test").read_text()


def test_the_readme_opens_with_a_sentence_and_a_picture() -> None:
    title, sentence, picture = [line for line in README.splitlines() if line][:3]
    assert title == "# r2talker"
    assert sentence.endswith(".")
    (path,) = re.findall(r"^!\[[^]]+\]\(([^)]+)\)$", picture)
    assert (ROOT / path).stat().st_size > 1000


def headings(page: Path) -> set[str]:
    """What links into a page call its headings: small letters, hyphens for spaces, no other signs."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        found = page.parent / name if name else page
        assert found.exists(), target
        assert not heading or heading in headings(found), target


def test_every_page_is_linked_to() -> None:
    pages = {page.name for page in PAGES}
    linked = {Path(target).name for page in PAGES for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())}
    assert pages - linked <= {"README.md"}


@pytest.mark.parametrize("line", commands("r2talker "))
def test_examples_parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example names a real command, with options that it has; nothing is run."""
    from importlib import import_module

    _, verb, *arguments = shlex.split(line)
    assert verb in VERBS
    module = import_module(f"r2talker.cli.{verb.replace('-', '_')}")

    class ParsedError(Exception):
        pass

    def parse_only(kind: type, name: str, given: list[str]) -> object:
        assert name == verb
        original(kind, name, given)
        raise ParsedError

    original = module.parse
    monkeypatch.setattr(module, "parse", parse_only)
    with pytest.raises(ParsedError):
        module.main(arguments)
