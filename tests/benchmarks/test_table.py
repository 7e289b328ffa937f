"""Results on disk: written beside passing tests only, read back, rendered."""

from pathlib import Path

import pytest
import torch

from benchmarks.table import (
    COLUMNS,
    RESULTS,
    Machine,
    Result,
    append_results,
    describe_machine,
    read_results,
    render_markdown,
    require_passing,
    results_table,
)
from r2talker.errors import R2TalkerError

MACHINE = Machine("a card", "", "", "2.11.0", "abc1234", "2026-11-25")
ROWS = [
    Result("frame", "head, plain", "median", 1.25, "ms"),
    Result("frame", "head, plain", "samples", 1000.0, ""),
    Result("frame", "head, fused", "median", 0.5, "ms"),
]
PASSES = "def test_a(): pass\n"
TESTS = {
    "fails": (PASSES + "def test_b(): assert False\n", "failures 1"),
    "is skipped": ("import pytest\ndef test_b(): pytest.skip('no card')\n" + PASSES, "skipped 1"),
    "breaks": ("oops\n", "errors 1"),
    "is missing": ("", "tests 0"),
}


def write_test(tmp_path: Path, text: str) -> str:
    path = tmp_path / "test_it.py"
    path.write_text(text)
    return str(path)


def test_rows_come_back_and_are_appended(tmp_path: Path) -> None:
    table, tests = tmp_path / "results.csv", [write_test(tmp_path, PASSES)]
    append_results(table, ROWS[:2], MACHINE, tests)
    append_results(table, ROWS[2:], MACHINE, tests)
    rows = read_results(table)
    assert [row["subject"] for row in rows] == ["head, plain", "head, plain", "head, fused"]
    assert [float(row["value"]) for row in rows] == [1.25, 1000.0, 0.5]
    assert {row["commit"] for row in rows} == {"abc1234"}


@pytest.mark.parametrize("case", TESTS)
def test_nothing_is_written_when_a_test(tmp_path: Path, case: str) -> None:
    text, words = TESTS[case]
    table = tmp_path / "results.csv"
    for before in (None, ",".join(COLUMNS) + "\n"):
        if before is not None:
            table.write_text(before)
        with pytest.raises(R2TalkerError, match=f"nothing is written: .*{words}") as caught:
            append_results(table, ROWS, MACHINE, [write_test(tmp_path, text)])
        assert "\n" not in str(caught.value)
        assert (table.read_text() if table.exists() else None) == before


def test_nothing_is_written_without_tests(tmp_path: Path) -> None:
    with pytest.raises(R2TalkerError, match="name the tests"):
        append_results(tmp_path / "results.csv", ROWS, MACHINE, [])


def test_a_processor_is_not_asked_for_the_tests_of_a_card(tmp_path: Path) -> None:
    failing = "def test_b(): assert False\n"
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    require_passing([write_test(tmp_path, f"{PASSES}import pytest\n@pytest.mark.gpu\n{failing}")], gpu=False)
    # The mark alone makes the difference.
    with pytest.raises(R2TalkerError, match="nothing is written"):
        require_passing([write_test(tmp_path, PASSES + failing)], gpu=False)


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(R2TalkerError, match=r"results\.csv is not a table of results; expected the columns benchmark, "):
        read_results(tmp_path / "results.csv")


def test_subjects_are_rows_and_quantities_columns() -> None:
    assert results_table(ROWS).splitlines() == [
        "|  | median [ms] | samples |",
        "| --- | --- | --- |",
        "| head, plain | 1.25 | 1000 |",
        "| head, fused | 0.5 |  |",
    ]


def test_every_machine_has_its_part(tmp_path: Path) -> None:
    table, tests = tmp_path / "results.csv", [write_test(tmp_path, PASSES)]
    append_results(table, ROWS, MACHINE, tests)
    rows = read_results(table)
    rows += [row | {"device": "another card", "driver": "580", "cuda": "13.0"} for row in rows]
    text = render_markdown(rows)
    assert "### frame: a card, torch 2.11.0, commit abc1234, 2026-11-25\n" in text
    assert "### frame: another card, driver 580, CUDA 13.0, torch 2.11.0" in text
    assert text.count("| head, fused | 0.5 |  |") == 2


def test_this_machine_is_described() -> None:
    machine = describe_machine(torch.device("cpu"))
    assert machine.device.endswith(f"{torch.get_num_threads()} threads")
    assert machine.torch == torch.__version__
    assert (machine.driver, machine.cuda) == ("", "")


def test_the_committed_table_can_be_read() -> None:
    for row in read_results(RESULTS):
        assert float(row["value"]) == float(row["value"])
        assert row["commit"]
