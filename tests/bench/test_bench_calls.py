"""bench/calls: what it measures, and what it says if it cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from tinytree import ROOT

KEYS = ["metric", "unit", "ours", "host", "ratio", "bar", "ok"]


@pytest.fixture
def short() -> Generator[Path, None, None]:
    """A directory for temporary files; a Unix socket's path is short."""
    directory = Path(tempfile.mkdtemp(prefix="ukl-t-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


def bench(*words: str, short: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """It runs to its end, with its temporary files in ``short``."""
    return subprocess.run(
        [str(ROOT / "bench" / "calls"), *words],
        env=os.environ | {"TMPDIR": str(short)} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_small_run(short: Path, tmp_path: Path) -> None:
    """Every row is measured on both sides, and nothing is left."""
    file = tmp_path / "report.json"
    done = bench(
        *("--rounds", "1", "--seconds", "0.05", "--json", str(file)), short=short
    )
    assert done.returncode == 0, done.stdout
    assert list(short.iterdir()) == []
    report = {one["metric"]: one for one in json.loads(file.read_text())}
    assert len(report) == 13
    for one in report.values():
        assert list(one) == KEYS
        assert one["ours"] > 0
        assert one["ratio"] == pytest.approx(one["ours"] / one["host"])
        assert (one["bar"] is None) == (one["ok"] is None)
        assert f"\n{one['metric']} " in done.stdout
    assert {name for name, one in report.items() if one["bar"]} == {
        *("fork-exec", "vfork-exec", "spawn", "python")
    }
    # What is trapped is dearer than what is rewritten, by far.
    for name in ("getsockname", "getppid"):
        assert report[f"{name}-trapped"]["ours"] > 1.5 * report[name]["ours"]


def test_what_cannot_be_measured(short: Path, tmp_path: Path) -> None:
    """A row says why; the others go on; the status tells."""
    file = tmp_path / "report.json"
    done = bench(
        *("--rounds", "1", "--seconds", "0.05", "--only", "^getppid$"),
        *("--json", str(file)),
        short=short,
        UKL_LINUX_SOURCE="/nowhere",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert done.returncode == 1, done.stdout
    assert "getppid                could not measure: " in done.stdout
    (one,) = json.loads(file.read_text())
    assert (one["ours"], one["host"], one["ratio"]) == (None, None, None)


@pytest.mark.parametrize(
    "words", [["--only", "nothing"], ["--only", "("], ["--rounds", "0"], ["--no"]]
)
def test_a_wrong_command_line(short: Path, words: list[str]) -> None:
    done = bench(*words, short=short)
    assert done.returncode == 125
    assert done.stdout.startswith("bench/calls: ")
    assert done.stdout.count("\n") == 1
