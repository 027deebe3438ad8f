"""Each TEST of the C files here prints the same on the host and under the shim."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from inside import Inside, on_host

HERE = Path(__file__).resolve().parent
FILES = ("calls", "fds", "loading", "namespaces", "processes", "rights")
FILES += ("seccomp", "signals", "sockets", "torture", "waiting")
MOUNTS = ("namespaces",)
"""Those that need a mount namespace of their own on the host."""


def behaviours() -> list[tuple[str, str]]:
    """File and name of each behaviour; roles are what others exec."""
    found = []
    for file in FILES:
        text = (HERE / f"{file}.c").read_text()
        names = re.findall(r"^TEST\((\w+)\)", text, re.M)
        found += [(file, name) for name in names if not name.startswith("role_")]
    return found


@dataclass(frozen=True)
class Way:
    """How a behaviour comes to run."""

    build: str
    sites: str
    loader: bool = True
    everywhere: bool = False
    """Also what it executes is loaded, whether or not it could be preloaded."""


WAYS = {
    "preload-trapped": Way("dynamic", "off", loader=False),
    "preload-rewritten": Way("dynamic", "now", loader=False),
    "loader-trapped": Way("dynamic", "off", everywhere=True),
    "loader-rewritten": Way("dynamic", "now", everywhere=True),
    "static-trapped": Way("static", "off"),
    "static-rewritten": Way("static", "now"),
    "static-pie-rewritten": Way("static-pie", "now"),
    "musl-static-rewritten": Way("musl-static", "now"),
}
HANGS = {("musl-static", "main_thread_exits_first")}
"""On the host too: musl's exit after fork in a thread."""
Known = Callable[[str, str, str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def expected(compiled: Callable[..., Path]) -> Known:
    """What a behaviour is on the host, once a session for each build."""
    known: dict[tuple[str, str, str], subprocess.CompletedProcess[str]] = {}

    def get(file: str, name: str, build: str) -> subprocess.CompletedProcess[str]:
        if (file, name, build) not in known:
            program = compiled(file, build)
            own = file in MOUNTS
            known[file, name, build] = on_host(program, name, mounts=own)
        return known[file, name, build]

    return get


def cases() -> list[tuple[str, str, str]]:
    """File, behaviour and way of each run."""
    return [
        (file, name, way)
        for file, name in behaviours()
        for way, how in WAYS.items()
        if (how.build, name) not in HANGS
    ]


@pytest.mark.parametrize(("file", "name", "way"), cases())
def test_same(
    inside: Inside,
    compiled: Callable[..., Path],
    expected: Known,
    file: str,
    name: str,
    way: str,
) -> None:
    how = WAYS[way]
    host = expected(file, name, how.build)
    # Some of musl's functions crash by themselves where glibc's fail.
    crashed = host.returncode == -signal.SIGSEGV and how.build == "musl-static"
    assert host.returncode == 0 or crashed, host.stdout + host.stderr
    extra = {"UKL_REWRITE": how.sites}
    if how.everywhere:
        extra["UKL_VIA"] = "loader"
    program = compiled(file, how.build)
    got = inside.run(program, name, extra=extra, loader=how.loader)
    assert got.stdout.splitlines() == host.stdout.splitlines()
    assert (got.returncode, got.stderr) == (host.returncode, host.stderr)
