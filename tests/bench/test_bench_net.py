"""bench/net: what it measures, what it says if it cannot, and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tinytree import ROOT

BENCH_NET = [str(ROOT / "bench" / "net")]
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
if os.geteuid() != 0:
    # Namespaces, and somewhere to note them, of its own.
    script = 'mount -t tmpfs tmpfs /run && exec "$@"'
    BENCH_NET = ["unshare", "-Urnm", "sh", "-c", script, "sh", *BENCH_NET]


def state(directory: Path) -> dict[str, object]:
    """What a benchmark must leave as it was."""
    names = Path("/run/netns")
    processes = set()
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                line = (one / "cmdline").read_bytes()
            except OSError:
                continue
            marks = (os.fsencode(directory), b"uklb-", b"//10.77.")
            if any(mark in line for mark in marks):
                processes.add(line)
    return {
        "files": sorted(directory.iterdir()),
        "namespaces": sorted(names.glob("uklb-*")) if names.is_dir() else [],
        "run": Path("/run/uklb").exists(),
        "allowed": ALLOWED.read_text(),
        "processes": processes,
    }


@pytest.fixture
def short() -> Generator[Path, None, None]:
    """A directory for temporary files; a Unix socket's path is short."""
    directory = Path(tempfile.mkdtemp(prefix="ukl-t-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def bench_net(*words: str, short: Path, **more: str) -> subprocess.Popen[str]:
    """It runs, with its temporary files in ``short``."""
    return subprocess.Popen(
        [*BENCH_NET, *words],
        env=os.environ | {"TMPDIR": str(short)} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_small_run(short: Path, tmp_path: Path) -> None:
    """Two targets, two rounds; every comparison has its entry."""
    before = state(short)
    file = tmp_path / "report.json"
    rows = ["nginx-612", "tcp-rr-one-cpu", "writes-out-64", "ping-one-cpu"]
    process = bench_net(
        *("--targets", "veth,user", "--rounds", "2", "--seconds", "0.2"),
        *("--only", "|".join(f"^{row}$" for row in rows), "--json", str(file)),
        short=short,
    )
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert state(short) == before
    report = json.loads(file.read_text())
    assert sorted(one["metric"] for one in report) == sorted(rows)
    for one in report:
        assert (one["side"], one["against"]) == ("user", "veth")
        assert [len(samples) for samples in one["samples"]] == [2, 2], one
        assert one["ratio"] == pytest.approx(one["ours"] / one["host"])
        assert one["failure"] is None
        # Nothing is that fast, nor that slow.
        low, high = {"1/s": (100, 1e6), "Mbit/s": (1, 1e5), "us": (1, 1e4)}[one["unit"]]
        assert low < one["ours"] < high, one
        assert low < one["host"] < high, one
        # The table has the figure too.
        (line,) = (x for x in said.splitlines() if x.split()[0] == one["metric"])
        assert line.split()[1] == one["unit"]
        assert f"{one['ratio']:.2f}" in line


def test_what_cannot_be_measured(short: Path, tmp_path: Path) -> None:
    """A missing client, and a server that does not start, are said."""
    before = state(short)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "nginx").write_text("#!/bin/sh\necho no, not today >&2\nexit 3\n")
    (tools / "nginx").chmod(0o755)
    file = tmp_path / "report.json"
    process = bench_net(
        *("--targets", "veth,user", "--rounds", "1", "--seconds", "0.1"),
        *("--only", "^nginx-64$|^tcp-rr$", "--json", str(file)),
        short=short,
        PATH=f"{tools}:{os.environ['PATH']}",
    )
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "  veth: could not measure: no, not today\n" in said
    assert state(short) == before
    first, second = json.loads(file.read_text())
    assert (first["ours"], first["ratio"]) == (None, None)
    assert first["failure"] == "no, not today"
    assert second["ratio"] > 0


def test_an_interrupt_leaves_nothing(short: Path) -> None:
    before = state(short)
    process = bench_net(
        *("--targets", "veth,user", "--only", "^nginx-64$", "--rounds", "50"),
        short=short,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # In the midst of a measurement.
        if "wrk\\x00" in str(state(short)["processes"]):
            break
        time.sleep(0.05)
    else:
        pytest.fail("no wrk is running")
    # What was before it has become it.
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert state(short) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "["], "--only [: unterminated character set at position 0"),
        (["--only", "zzz"], "--only zzz: no such metric"),
        (["--rounds", "0"], "--rounds and --seconds: give a positive number"),
        (["--seconds", "nan"], "--rounds and --seconds: give a positive number"),
        (["--seconds", "x"], "argument --seconds: invalid float value: 'x'"),
        (["--targets", "veth,veth"], "--targets veth,veth: name each once"),
        (
            ["--targets", "docker"],
            "--targets docker: no target docker (there are tap, user, veth, pasta, "
            "slirp4netns, gvisor)",
        ),
        (["more"], "unrecognized arguments: more"),
    ],
)
def test_bad_command_lines(words: list[str], message: str, short: Path) -> None:
    process = bench_net(*words, short=short)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 125
    assert said == f"bench/net: {message} (--help explains)\n"
