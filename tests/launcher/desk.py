"""A place where tests of the launcher run its commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tinytree import ROOT

PATIENCE = 30.0

# What bootstrap.sh starts, with a shim of the test's own.
START = """\
import sys
_, path, module, shim, *arguments = sys.argv
sys.path.insert(0, path)
from importlib import import_module
from pathlib import Path
main = import_module(f"launcher.{module}").main
sys.exit(main(arguments, shim=Path(shim)))
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class Desk:
    """A user's desk: a runtime directory of one's own, and the commands."""

    directory: Path
    shim: Path
    environment: dict[str, str] = field(default_factory=dict)

    def line(self, module: str, *arguments: object) -> list[str]:
        """The command line of ``ukl-run`` (``run``) or ``ukl``."""
        words = (ROOT, module, self.shim, *arguments)
        return [sys.executable, "-I", "-c", START, *(str(word) for word in words)]

    def env(self) -> dict[str, str]:
        """The environment in which commands run."""
        return (
            {key: value for key, value in os.environ.items() if key[:3] != "UKL"}
            | {"XDG_RUNTIME_DIR": str(self.directory)}
            | self.environment
        )

    def _do(self, line: list[str], text: str | None = None) -> Done:
        done = subprocess.run(
            line,
            env=self.env(),
            cwd=self.directory,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: object, text: str | None = None) -> Done:
        """``ukl-run ARGUMENT...``"""
        return self._do(self.line("run", *arguments), text)

    def ukl(self, *arguments: object) -> Done:
        """``ukl ARGUMENT...``"""
        return self._do(self.line("ukl", *arguments))

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """``ukl-run ARGUMENT...`` in the background, with pipes.

        With signals as on a terminal, if these tests run under nohup, too.
        """
        signals = "--default-signal=HUP,INT,QUIT"
        return subprocess.Popen(
            ["env", signals, *self.line("run", *arguments)],
            env=self.env(),
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def instances(self) -> list[str]:
        """The names of the instance directories that are there."""
        base = self.directory / "ukl"
        return sorted(one.name for one in base.iterdir()) if base.is_dir() else []

    def hosts(self) -> list[int]:
        """The pids of the kernel hosts that run here, zombies excluded."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"--dir" in words:
                where = os.fsdecode(words[words.index(b"--dir") + 1])
                if where.startswith(f"{self.directory}/"):
                    found.append(int(process.name))
        return found

    def settle(self) -> None:
        """Wait until no instance is left; fails if one stays."""
        wait_for(lambda: not self.hosts() and not self.instances, "an instance stays")


def in_a_namespace(*words: object, seconds: float) -> subprocess.CompletedProcess[str]:
    """A command in a network namespace of its own, root or not.

    ``ukl-run`` in it has a runtime directory of its own, which has to be empty soon.
    """
    where = Path(tempfile.mkdtemp(prefix="ukl-t-"))
    mine = [] if os.geteuid() == 0 else ["-r"]
    try:
        done = subprocess.run(
            ["unshare", *mine, "-n", *(str(word) for word in words)],
            env=os.environ | {"XDG_RUNTIME_DIR": str(where)},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        ukl = where / "ukl"
        wait_for(
            lambda: not ukl.is_dir() or not any(ukl.iterdir()), "an instance stays"
        )
    finally:
        shutil.rmtree(where)
    return done


def wait_for(what: Callable[[], object], complaint: str, seconds: float = 15) -> None:
    """Wait until ``what()`` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)
