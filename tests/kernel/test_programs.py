"""The C tests: each TEST of these files, in an instance of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hijack.instance import Instance

HERE = Path(__file__).resolve().parent
FILES = ("calls", "copies", "events", "processes", "signals")

# What some need at boot: here the tick counter wraps after 5 s.
COMMAND_LINES = {"jiffies_wrap": "ukl.jiffies=500"}


def c_tests() -> list[tuple[str, str]]:
    """File and name of each C test."""
    found = []
    for file in FILES:
        text = (HERE / f"{file}.c").read_text()
        found += [(file, name) for name in re.findall(r"^TEST\((\w+)\)", text, re.M)]
    return found



@pytest.mark.parametrize(("file", "name"), c_tests())
def test_program(boot: Any, run: Any, file: str, name: str) -> None:
    instance: Instance = boot(cmdline=COMMAND_LINES.get(name, ""))
    run(file, instance, name).passes(120)
    assert instance.running, instance.messages()
    assert "BUG:" not in instance.log()
