"""An instance for each program and door; nothing of it may be left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from machine import Machine
from tinytree import ROOT


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, kernel_image: Path
) -> Generator[Machine, None, None]:
    """An instance whose programs come by the door that the test is run with."""
    # A Unix socket's path is short, pytest's directories are not; and a session of
    # pytest's that begins closes those of all others to other users.
    base = Path(f"/tmp/ukl-programs-{os.getpid()}-{time.monotonic_ns() % 10**9}")
    base.mkdir(0o755)
    one = Machine(base / "box", base / "run", request.param)
    one.directory.mkdir(0o755)
    one.runtime.mkdir(0o700)
    try:
        yield one
        one.nothing_is_left()
    finally:
        subprocess.run(
            [str(ROOT / "ukl"), "stop", "--all"],
            env=one.environment(),
            capture_output=True,
            check=False,
        )
        for process in one.servers:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(base)


@pytest.fixture
def port() -> int:
    """A TCP port of the host's loopback that nobody has at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        found: int = one.getsockname()[1]
    return found


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """3 MB that nobody could guess."""
    return os.urandom(3_000_000)
