"""Each TEST of the C files here prints the same on the host and under the shim."""

from __future__ import annotations

import re
import subprocess
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


@pytest.fixture(scope="session")
def expected(
    compiled: Callable[[str], Path],
) -> Callable[[str, str], subprocess.CompletedProcess[str]]:
    """What a behaviour is on the host, once a session."""
    known: dict[tuple[str, str], subprocess.CompletedProcess[str]] = {}

    def get(file: str, name: str) -> subprocess.CompletedProcess[str]:
        if (file, name) not in known:
            known[file, name] = on_host(compiled(file), name)
        return known[file, name]

    return get


@pytest.mark.parametrize("sites", ["trapped", "rewritten"])
@pytest.mark.parametrize(("file", "name"), behaviours())
def test_same(
    inside: Inside,
    compiled: Callable[[str], Path],
    expected: Callable[[str, str], subprocess.CompletedProcess[str]],
    file: str,
    name: str,
    sites: str,
) -> None:
    host = expected(file, name)
    assert host.returncode == 0, host.stdout + host.stderr
    how = {"UKL_REWRITE": "now" if sites == "rewritten" else "off"}
    got = inside.run(compiled(file), name, extra=how)
    assert got.stdout.splitlines() == host.stdout.splitlines()
    assert (got.returncode, got.stderr) == (host.returncode, host.stderr)
