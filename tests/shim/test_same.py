"""Each TEST of the C files here prints the same on the host and under the shim."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from inside import Inside, on_host

HERE = Path(__file__).resolve().parent
FILES = ("calls", "fds", "processes", "signals", "sockets", "waiting")


def behaviours() -> list[tuple[str, str]]:
    """File and name of each behaviour; roles are what others exec."""
    found = []
    for file in FILES:
        text = (HERE / f"{file}.c").read_text()
        names = re.findall(r"^TEST\((\w+)\)", text, re.M)
        found += [(file, name) for name in names if not name.startswith("role_")]
    return found


@pytest.mark.parametrize(("file", "name"), behaviours())
def test_same(
    inside: Inside, compiled: Callable[[str], Path], file: str, name: str
) -> None:
    program = compiled(file)
    expected = on_host(program, name)
    assert expected.returncode == 0, expected.stdout + expected.stderr
    got = inside.run(program, name)
    assert got.stdout.splitlines() == expected.stdout.splitlines()
    assert (got.returncode, got.stderr) == (expected.returncode, expected.stderr)
