"""The walls and the manners, as tests."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytree import ROOT

PYTHON_ROOMS = ("hijack", "launcher", "tests")
# Programs without a suffix, and what they share.
BENCHMARKS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "bench").iterdir()
    if path.is_file()
    and (
        path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/env python3")
    )
)


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff() -> None:
    run("ruff", "check", *PYTHON_ROOMS, *BENCHMARKS)


def test_ruff_format() -> None:
    run("ruff", "format", "--check", *PYTHON_ROOMS, *BENCHMARKS)


def test_mypy_strict() -> None:
    run("mypy", "--strict", "hijack", "launcher")


def test_mypy_of_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYPYPATH", "bench:tests/user:tests")
    run("mypy", "--strict", "--scripts-are-modules", *BENCHMARKS)


def imports(room: str) -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield path, name.name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                yield path, node.module or ""


def test_the_wall_between_launcher_and_hijack() -> None:
    """The launcher imports hijack, never the other way round; click stays outside."""
    wrong = [
        f"{path}: {name}"
        for path, name in imports("hijack")
        if name.split(".")[0] in ("launcher", "click", "tests")
    ]
    assert wrong == []
    assert any(name.startswith("hijack") for _, name in imports("launcher"))


@pytest.mark.parametrize("slow", ["rich", "cffi", "elftools", "mesonbuild"])
def test_a_cached_build_imports_nothing_slow(slow: str) -> None:
    script = (
        "import sys, hijack.build, hijack.mesonbuild, launcher.verb_build;"
        f"sys.exit({slow!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_every_python_file_says_what_it_is_for() -> None:
    for room in PYTHON_ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.parametrize(
    "script", ["ukl", "ukl-run", "ukl-test", ".ci/run", "hijack/dhcp.sh"]
)
def test_scripts_are_posix_shell(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/bin/sh\n# ")
    shell = shutil.which("dash")
    assert shell is not None
    for one in (path, ROOT / "launcher/bootstrap.sh"):
        done = subprocess.run([shell, "-n", one], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_no_file_names_this_machine() -> None:
    pattern = re.compile(r"(?<![\w.*)}])/(work|tmp/\w+|home/\w+|root)/")
    wrong = []
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if path.is_symlink() or not path.is_file():
            continue
        # Hidden folders are tools' own, but for .ci.
        if any(part.startswith(".") and part != ".ci" for part in parts):
            continue
        if "__pycache__" in parts or path == Path(__file__):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [f"{path}: {m[0]}" for m in pattern.finditer(text)]
    assert wrong == []


def test_modules_of_tests_have_names_of_their_own() -> None:
    """They are imported by their bare names, from whatever folder comes first."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert [n for n in set(names) if names.count(n) > 1 and n != "conftest.py"] == []
