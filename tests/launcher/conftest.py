"""What tests of the launcher share: a shim that only attaches, and a desk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from desk import Desk
from tinytree import ROOT

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def standin(kernel_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shim that attaches and does nothing else; see standin.c."""
    target = tmp_path_factory.mktemp("standin") / "standin.so"
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"),
            *("-fno-stack-protector", f"-I{ROOT / 'kernel' / 'include'}"),
            *("-o", target, HERE / "standin.c", ROOT / "kernel" / "host" / "lib.c"),
        ],
        check=True,
    )
    return target


@pytest.fixture
def desk(standin: Path) -> Generator[Desk, None, None]:
    """A desk; afterwards nothing may run or lie there any more."""
    # Short: a socket's path has little room.
    made = Desk(Path(tempfile.mkdtemp(prefix="ukl-t-")), standin)
    try:
        yield made
        left = made.hosts()
        try:
            made.settle()
        except AssertionError:
            pytest.fail(f"kernel hosts {left} were left with {made.instances}")
    finally:
        for pid in made.hosts():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(made.directory)
