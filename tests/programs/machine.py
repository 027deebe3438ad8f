"""An instance for one program: servers in it, clients in it and on the host."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tinytree import ROOT

from hijack.paths import cache_root

BOTH = pytest.mark.parametrize("machine", ["preload", "loader"], indirect=True)
"""For tests of dynamic programs."""
LOADER = pytest.mark.parametrize("machine", ["loader"], indirect=True)
"""For tests of those that ld.so does not preload into."""
SECONDS = 60.0
"""How long anything may take."""
PYTHON = "/usr/bin/python3"
"""Debian's: the tests' own is in a virtual environment."""
# A network of its own, as an instance has: nothing but a loopback that is up.
ALONE = ["unshare", *(() if os.geteuid() == 0 else ("-r",)), "-n", "sh", "-c"]
ALONE_UP = 'ip link set lo up && exec "$@"'
LISTENS = (
    'for i in $(seq 400); do ss -Hltun | grep -q ":$0 " && exit; sleep 0.05; done; '
    "exit 1"
)


@dataclass
class Machine:
    """The instance ``box``, whose programs all come by one door."""

    directory: Path
    """For files; everybody may read it."""
    runtime: Path
    door: str
    """``preload`` or ``loader``."""
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    kept: bool = False
    """Whether the instance is there without any of them: a daemon keeps it."""

    def environment(self) -> dict[str, str]:
        """The environment of all programs; English, without words for us."""
        kept = {key: value for key, value in os.environ.items() if key[:3] != "UKL"}
        return kept | {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.directory),
            # What is built is found from there as well, when HOME alone says where.
            "XDG_CACHE_HOME": str(cache_root().parent),
        }

    def words(self, *line: object, publish: Sequence[str] = ()) -> list[str]:
        """The command line that runs ``line`` in the instance, or makes that."""
        words = [str(ROOT / "ukl"), "exec", "--via", self.door, "box"]
        if not self.kept and all(one.poll() is not None for one in self.servers):
            words = [str(ROOT / "ukl-run"), "--via", self.door, "-n", "box"]
            words += [word for port in publish for word in ("-P", port)]
        return [*words, *(str(word) for word in line)]

    def log(self, number: int) -> Path:
        """What the server of that number, from 0, has said."""
        return self.directory / f"log{number}"

    def serve(
        self, *line: object, publish: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a server; one that is alone makes the instance, with its ports."""
        words = self.words(*line, publish=publish)
        with self.log(len(self.servers)).open("wb") as log:
            process = subprocess.Popen(
                words,
                env=self.environment(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # apache2 ends its whole process group.
                start_new_session=True,
            )
        self.servers.append(process)
        return process

    def said(self) -> str:
        """What all servers have said."""
        logs = [self.log(number) for number in range(len(self.servers))]
        return "\n".join(f"{one.name}:\n{one.read_text('utf-8', 'replace')}"
                         for one in logs)  # fmt: skip

    def do(
        self, *line: object, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the instance to its end."""
        return subprocess.run(
            self.words(*line),
            env=self.environment(),
            cwd=self.directory,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )

    def run(self, *line: object, status: int = 0, text: str | None = None) -> str:
        """What a program in the instance prints; it has to end with ``status``."""
        done = self.do(*line, text=text)
        assert done.returncode == status, (
            f"{line}: {done.returncode}\n{done.stdout}{done.stderr}{self.said()}"
        )
        return done.stdout

    def sh(self, script: str, *arguments: object, status: int = 0) -> str:
        """What a script of bash's in the instance prints; it ends at a failure."""
        return self.run("bash", "-ec", script, *arguments, status=status)

    def on_host(self, *line: object) -> subprocess.CompletedProcess[str]:
        """What a program does on the host, on a network with nothing but a loopback."""
        return subprocess.run(
            [*ALONE, ALONE_UP, "sh", *(str(word) for word in line)],
            env=self.environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )

    def listens(self, port: int) -> None:
        """Wait until somebody in the instance listens on ``port``, TCP or UDP."""
        assert self.servers
        end = time.monotonic() + SECONDS
        # 125: the instance is not there yet.
        while (done := self.do("bash", "-c", LISTENS, port)).returncode == 125:
            assert time.monotonic() < end, done.stderr + self.said()
            assert self.servers[-1].poll() is None, self.said()
            time.sleep(0.05)
        assert done.returncode == 0, f"nobody listens on {port}: {self.said()}"

    def end(
        self,
        process: subprocess.Popen[bytes],
        status: int = 0,
        how: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Send a server a signal; it has to end with ``status``."""
        process.send_signal(how)
        assert process.wait(SECONDS) == status, self.said()

    def instances(self) -> list[str]:
        """The names that ``ukl ps`` prints."""
        done = subprocess.run(
            [str(ROOT / "ukl"), "ps", "--json"],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        return [row["name"] for row in json.loads(done.stdout)]

    def nothing_is_left(self) -> None:
        """All servers have ended, and with them the instance and its directory."""
        for process in self.servers:
            assert process.poll() is not None, self.said()
        assert eventually(lambda: self.instances() == []), self.said()
        assert eventually(lambda: list(self.runtime.glob("ukl/*")) == [])


def here(*line: object, text: str | None = None) -> str:
    """What a program on the host prints; it has to succeed."""
    done = subprocess.run(
        [str(word) for word in line],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.returncode}\n{done.stderr}"
    return done.stdout


def as_user(name: str) -> list[str]:
    """The words before a command line that only ``name``, or any user, may run."""
    if os.geteuid():
        return []
    who = pwd.getpwnam(name)
    ids = [f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids]


def requests(said: str) -> int:
    """How many requests wrk has made; fails if there was an error."""
    assert "Socket errors" not in said, said
    assert "Non-2xx" not in said, said
    found = re.search(r"(\d+) requests in", said)
    assert found is not None, said
    return int(found[1])


def need(*programs: str) -> None:
    """Fails, and says which programs are missing: ./ukl-test installs them."""
    missing = [name for name in programs if shutil.which(name) is None]
    assert not missing, f"not installed: {' '.join(missing)} (./ukl-test installs it)"


def eventually(what: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether ``what()`` comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False
