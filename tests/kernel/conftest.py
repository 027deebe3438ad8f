"""What the tests of the library kernel share: programs, instances, patience."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from hijack import instance as api
from hijack.instance import Instance

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

Boot = Callable[..., Instance]
"""Boots an instance that the test's end stops; arguments as Instance.boot()."""


@pytest.fixture(scope="session")
def image() -> Path:
    """The library kernel under test: ``UKL_TEST_IMAGE``, or what was built last."""
    given = os.environ.get("UKL_TEST_IMAGE")
    return Path(given) if given else api.default_image()


@pytest.fixture(scope="session")
def host() -> Path:
    """The kernel host under test: ``UKL_TEST_HOST``, or what was built last."""
    given = os.environ.get("UKL_TEST_HOST")
    return Path(given) if given else api.default_host()


@pytest.fixture(scope="session")
def program(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Compiles ``tests/kernel/NAME.c`` with libukl, once a session."""
    where = tmp_path_factory.mktemp("programs")

    def compiled(name: str) -> Path:
        target = where / name
        if not target.exists():
            subprocess.run(
                [
                    "gcc",
                    "-O2",
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-fno-stack-protector",
                    "-pthread",
                    f"-I{ROOT / 'kernel' / 'include'}",
                    f"-o{target}",
                    HERE / f"{name}.c",
                    ROOT / "kernel" / "host" / "lib.c",
                ],
                check=True,
            )
        return target

    return compiled


@pytest.fixture
def boot(image: Path, host: Path, tmp_path: Path) -> Generator[Boot, None, None]:
    """Boots instances, and stops them when the test is over."""
    booted: list[Instance] = []

    def start(**options: object) -> Instance:
        number = len(booted) + 1
        settings: dict[str, object] = {
            "image": image,
            "host": host,
            "name": f"test{number}",
            "directory": tmp_path / f"i{number}",
            "keep": True,
        }
        made = Instance.boot(**(settings | options))  # type: ignore[arg-type]
        booted.append(made)
        return made

    yield start
    for made in booted:
        made.stop()


@pytest.fixture
def instance(boot: Boot) -> Instance:
    """One instance with the defaults, kept while it is empty."""
    return boot()


class Running:
    """A started test program."""

    def __init__(self, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def output(self, seconds: float = 30) -> str:
        """What it printed, once it has ended."""
        try:
            return self.process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            self.end()
            said = self.process.communicate()[0]
            pytest.fail(f"still running after {seconds:g} s; it said: {said}")

    def passes(self, seconds: float = 30) -> str:
        """Asserts that the test it ran has passed; returns what it printed."""
        said = self.output(seconds)
        assert self.process.returncode == 0, said
        assert "\nok " in f"\n{said}" and "not ok" not in said, said
        return said

    def end(self) -> None:
        """Kills it and what it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def run(
    program: Callable[[str], Path],
) -> Generator[Callable[..., Running], None, None]:
    """run(NAME, INSTANCE, ARGUMENT...) starts a C test in an instance."""
    started: list[Running] = []

    def start(name: str, where: Instance, *arguments: object) -> Running:
        line = [program(name), where.control, *arguments]
        running = Running([str(word) for word in line])
        started.append(running)
        return running

    yield start
    for running in started:
        running.end()
        running.process.wait()
