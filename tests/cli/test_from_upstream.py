"""docs/from-upstream.md says what takes the place of every option of the references' programs, and what it says exists."""

import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from r2talker.cli.main import VERBS
from tests.cli.conftest import Command

PAGE = (Path(__file__).parents[2] / "docs" / "from-upstream.md").read_text()
SECTION = re.split(r"^## ", PAGE.split("\n## Options\n", 1)[1], flags=re.MULTILINE)[0]

SHARED = """
-O --data_range --workspace --seed --ckpt --num_rays --max_steps --update_extra_interval --fp16 --exp_eye --lambda_amb --bg_img --fix_eye
--smooth_eye --smooth_lips --smooth_path --smooth_path_window --torso_shrink --color_space --bound --scale --offset --dt_gamma --min_near
--density_thresh --density_thresh_torso --patch_size --finetune_lips --torso --head_ckpt --gui --W --H --radius --fovy --max_spp --att
--aud --cond_type --method --emb --ind_dim --ind_num --ind_dim_torso --part --part2 --train_camera
--asr --asr_wav --asr_play --asr_model --asr_save_feats --fps -l -m -r
--cuda_ray --num_steps --upsample_steps --max_ray_batch --fbg --amb_dim
"""
BOTH = SHARED.split()
"""Options of trainer and tester (upstream.md 6.6, 6.7 and 6.9)."""
TRAINER = ["path", "--test", "--test_train", "--iters", "--lr", "--lr_net", "--preload"]
TESTER = ["--pose"]
PROCESS = ["path", "--task", "--asr"]
"""Options of the pre-processing command (upstream.md 6.8)."""

ROWS = re.findall(r"^\| `([^`]+)` \| (trainer|tester|both|process) \| (.+) \|$", SECTION, re.MULTILINE)
OURS = sorted({code for _, _, here in ROWS for code in re.findall(r"`([^`]+)`", here)})


@pytest.mark.parametrize(
    ("program", "options"), [("both", BOTH), ("trainer", TRAINER), ("tester", TESTER), ("process", PROCESS)]
)
def test_every_option_has_its_row_once(program: str, options: list[str]) -> None:
    assert sorted(option for option, of, _ in ROWS if of == program) == sorted(options)


def test_the_tables_have_no_other_rows() -> None:
    lines = [line for line in SECTION.splitlines() if line.startswith("|")]
    heads = [line for line in lines if line in ("| option | program | here |", "|---|---|---|")]
    assert len(heads) == 4
    assert len(lines) - len(heads) == len(ROWS)


@cache
def options_of(verb: str) -> frozenset[str]:
    """The options that a verb's help lists."""
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        import_module(f"r2talker.cli.{verb.replace('-', '_')}").main(["--help"])
    return frozenset(re.findall(r"(?<![\w-])--[a-z][\w-]*", printed.getvalue()))


def test_every_option_of_ours_exists() -> None:
    named = [code.split() for code in OURS if code.split()[0] in VERBS]
    assert len(named) > 25
    for verb, *rest in named:
        for option in (part for part in rest if part.startswith("-")):
            assert option in options_of(verb), f"{verb} {option}"


def test_what_stands_alone_is_an_option_of_theirs() -> None:
    theirs = {*BOTH, *TRAINER, *TESTER, *PROCESS}
    for code in OURS:
        if code.startswith("-"):
            assert code in theirs, f"{code} stands without the verb that it belongs to"


def test_nothing_is_left_unsaid() -> None:
    for option, _, here in ROWS:
        # A reason, a verb of ours, or another row that says more.
        assert here.startswith(("none: ", "nothing to ask for: ", "`", "the ")), option
        for other in re.findall(r"see `(-[^`]+)`", here):
            assert other in {row[0] for row in ROWS}


@pytest.mark.parametrize("spelling", ["--data_range", "--data-range"])
def test_either_spelling_is_understood(command: Command, spelling: str) -> None:
    """Past the parser: what is refused is the avatar that does not exist."""
    outcome = command("render", "none.avatar", "-o", "a.mp4", spelling, 5, -1)
    assert outcome.code == 2
    assert "none.avatar is not a finished avatar" in outcome.err


def test_the_line_of_the_tester_is_understood(command: Command) -> None:
    (line,) = re.findall(r"^r2talker render (.+)$", SECTION.replace("\\\n", " "), re.MULTILINE)
    outcome = command("render", *line.split())
    assert "person.avatar is not a finished avatar" in outcome.err
