"""doc/programs.md has a row for each test here, and the other way round."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tinytree import ROOT

HERE = Path(__file__).resolve().parent
ROWS = (ROOT / "doc" / "programs.md").read_text()


def marked() -> dict[str, str]:
    """The mark and the name of each test of a program."""
    found: dict[str, str] = {}
    for path in HERE.glob("test_*.py"):
        for mark, name in re.findall(
            r"^@(BOTH|LOADER)\ndef (test_\w+)", path.read_text(), re.M
        ):
            found[name] = mark
    return found


@pytest.mark.parametrize("name", sorted(marked()))
def test_it_has_a_row(name: str) -> None:
    (row,) = (line for line in ROWS.splitlines() if f"| `{name}` |" in line)
    assert row.split(" | ")[2] == {"BOTH": "both", "LOADER": "loader"}[marked()[name]]


def test_no_row_is_without_a_test() -> None:
    assert set(re.findall(r"`(test_\w+)` \|", ROWS)) == set(marked())
