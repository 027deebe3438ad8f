"""A user in a clone, who runs its scripts."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tinytree import ROOT

PATIENCE = 60.0


@dataclass
class User:
    """Runs the scripts of the clone; instances are this user's own."""

    directory: Path
    runtime: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    """Variables for what is run."""

    def environment(self) -> dict[str, str]:
        """The environment of everything that is run."""
        kept = {key: value for key, value in os.environ.items() if key[:3] != "UKL"}
        return kept | {"XDG_RUNTIME_DIR": str(self.runtime)} | self.extra

    def do(
        self, script: str, *arguments: object, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """``./SCRIPT ARGUMENT...``, to its end."""
        return subprocess.run(
            [str(ROOT / script), *(str(word) for word in arguments)],
            env=self.environment(),
            cwd=self.directory,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def run(self, *arguments: object) -> str:
        """What ``./ukl-run ARGUMENT...`` prints; it has to succeed."""
        done = self.do("ukl-run", *arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def ukl(self, *arguments: object) -> str:
        """What ``./ukl ARGUMENT...`` prints; it has to succeed."""
        done = self.do("ukl", *arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def start(
        self, *arguments: object, stdin: IO[str] | None = None
    ) -> subprocess.Popen[str]:
        """``./ukl-run ARGUMENT...``, which goes on until the test ends."""
        return self._start("ukl-run", *arguments, stdin=stdin)

    def start_ukl(self, *arguments: object) -> subprocess.Popen[str]:
        """``./ukl ARGUMENT...``, the same way."""
        return self._start("ukl", *arguments)

    def _start(
        self, script: str, *arguments: object, stdin: IO[str] | None = None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(ROOT / script), *(str(word) for word in arguments)],
            env=self.environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def words(self, script: str) -> list[str]:
        """The command line of ``./SCRIPT``, for other ways of running it."""
        return [str(ROOT / script)]

    def nginx(self, *arguments: object) -> None:
        """The example's nginx for users without rights, with signals or none."""
        (self.directory / "logs").mkdir(exist_ok=True)
        self.directory.chmod(0o755)
        self.run(*arguments)

    def nginx_words(self) -> list[object]:
        """The command line of nginx in this user's directory."""
        conf = ROOT / "examples" / "nginx-user.conf"
        return ["nginx", "-p", self.directory, "-c", conf]


def eventually(what: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether ``what()`` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False
