"""A user with a runtime directory and a place for files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from person import User


@pytest.fixture
def user(tmp_path: Path) -> Generator[User, None, None]:
    """A user whose instances the test's end stops; nothing may be left of them."""
    # A Unix socket's path is short, pytest's directories are not.
    runtime = Path(f"/tmp/ukl-whole-{os.getpid()}-{time.monotonic_ns() % 10**9}")
    runtime.mkdir(0o700)
    one = User(tmp_path, runtime)
    yield one
    one.do("ukl", "stop", "--all")
    for process in one.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    shutil.rmtree(runtime)


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback that nobody has at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
