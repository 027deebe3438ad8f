"""What the tests of the shim share: the shim, programs, an instance."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from inside import HERE, SHIM, Inside, need
from tinytree import ROOT

from hijack.instance import Instance


@pytest.fixture(scope="session")
def shim() -> Path:
    """The shim under test: ``UKL_TEST_SHIM``, or what was built last."""
    path = Path(os.environ.get("UKL_TEST_SHIM", str(SHIM)))
    assert path.is_file(), f"{path} is missing: ./ukl build makes it"
    return path


ABI = ROOT / "kernel" / "arch" / "lkl" / "include" / "uapi"
# musl's own come first.
LINUX_HEADERS = ["-idirafter", "/usr/include"]
LINUX_HEADERS += ["-idirafter", "/usr/include/x86_64-linux-gnu"]
BUILDS = {
    "dynamic": ["gcc"],
    "static": ["gcc", "-static"],
    "static-pie": ["gcc", "-static-pie"],
    "musl": ["musl-gcc", *LINUX_HEADERS],
    "musl-static": ["musl-gcc", "-static", *LINUX_HEADERS],
    "asan": ["gcc", "-fsanitize=address"],
}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles ``tests/syscalls/NAME.c``, once a session, in one of ``BUILDS``."""
    where = tmp_path_factory.mktemp("shim-programs")

    def build(name: str, how: str = "dynamic") -> Path:
        target = where / how / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            line = [*BUILDS[how], "-O1", "-Wall", "-D_GNU_SOURCE", "-pthread"]
            line += ["-Wno-unused-result", "-Wno-infinite-recursion", "-w"]
            line += [f"-I{ABI}", f"-o{target}", str(HERE / f"{name}.c")]
            need(BUILDS[how][0])
            subprocess.run(line, check=True)
        return target

    return build


@pytest.fixture
def inside(shim: Path, tmp_path: Path) -> Generator[Inside, None, None]:
    """An instance of the test's own; it must live to the end, without a bug."""
    with Instance.boot(directory=tmp_path / "i", name="shim", keep=True) as instance:
        before = instance.records()
        yield Inside(instance, shim)
        assert instance.running, instance.messages()
        end = time.monotonic() + 5
        while instance.records() != before and time.monotonic() < end:
            time.sleep(0.01)
        assert instance.records() == before, "processes or threads have leaked"
        log = instance.log()
        assert "BUG:" not in log, log
        assert "WARNING:" not in log, log
