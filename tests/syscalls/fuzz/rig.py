"""Runs a program of steps on the host and in an instance, and compares.

``steps.c`` runs each program in a process of its own, on the host in a network of its
own, and prints a line a step. What differs is run again, slowly: a loopback may deliver
a moment later. Only what then still differs is a difference; what does not is counted.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Self

from inside import ALONE, ALONE_UP, Inside

from hijack.instance import Instance

HERE = Path(__file__).resolve().parent
SLOW = (4, 10)
"""How long a step waits when a program is run again, in milliseconds."""
PORTS = range(1100, 32000, 4)
SECONDS = 60.0
LOST = {"gone", "no answer"}
"""What an answer ends with if the interpreter itself has ended, or hangs."""


@dataclass(frozen=True)
class Way:
    """How the shim comes into the interpreter."""

    loader: bool = False
    sites: str = ""


@dataclass(frozen=True)
class Known:
    """A difference that is accepted, by both sides' lines."""

    reason: str
    host: str
    ukl: str

    def fits(self, host: str, ukl: str) -> bool:
        return bool(re.search(self.host, host) and re.search(self.ukl, ukl))


# Others show in more than a line, so steps.c does not come to them. Each has a comment
# there: epoll_wait() of a mixed set, select() of closed numbers beyond the host's
# table, sockets with O_APPEND, sockets of the instance in SCM_RIGHTS (all of these:
# doc/limits.md), the buffers that TCP tunes itself, and locks of inodes that all
# processes of the machine share.
KNOWN = (
    Known(
        "the host's newer kernel has SO_PASSCRED for Unix sockets only",
        r"[gs]etsockopt 1/16 EOPNOTSUPP$",
        r"[gs]etsockopt 1/16 (0|EINVAL|EFAULT)",
    ),
    Known(
        "reception without a copy, by mmap() of a TCP socket, needs an MMU",
        r"misc mmap 0$",
        r"misc mmap ENODEV$",
    ),
)


class Side:
    """An interpreter that serves."""

    def __init__(
        self, line: list[str], where: Path, env: dict[str, str], program: Path | None
    ) -> None:
        self.where = where
        where.mkdir()
        self.process = subprocess.Popen(
            [*line, "serve", str(where)],
            executable=program,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def send(self, program: bytes, port: int, slow: int) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(b"%d %d %d\n" % (port, slow, len(program)) + program)
        stdin.flush()

    def answer(self) -> list[str]:
        """The lines of a program."""
        stdout = self.process.stdout
        assert stdout is not None
        text = b""
        end = time.monotonic() + SECONDS
        while not re.search(rb"(?:^|\n)END \w+\n\Z", text):
            left = end - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                return [*text.decode(errors="replace").splitlines(), "no answer"]
            more = os.read(stdout.fileno(), 65536)
            if not more:
                return [*text.decode(errors="replace").splitlines(), "gone"]
            text += more
        return text.decode(errors="replace").splitlines()

    def end(self) -> str:
        """What it said to standard error."""
        process = self.process
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdin = None
        try:
            said = process.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = process.communicate()[1]
        return said.decode(errors="replace")


class Rig:
    """Both sides."""

    def __init__(self, where: Path, shim: Path, way: Way) -> None:
        self.where = where
        self.shim = shim
        self.way = way
        self.steps = 0
        self.runs = 0
        self.unsteady: list[str] = []
        self.known: Counter[str] = Counter()
        self.broken = ""
        self.ports = 0

    def __enter__(self) -> Self:
        interpreter = self.where / "steps"
        subprocess.run(
            [
                *("gcc", "-O1", "-w", "-D_GNU_SOURCE", "-pthread"),
                *("-o", interpreter, HERE / "steps.c"),
            ],
            check=True,
        )
        self.instance = Instance.boot(
            directory=self.where / "i", name="fuzz", keep=True
        )
        inside = Inside(self.instance, self.shim)
        extra = {"UKL_REWRITE": self.way.sites} if self.way.sites else {}
        if self.way.loader:
            extra["UKL_VIA"] = "loader"
        program = str(interpreter) if self.way.loader else ""
        self.ukl = Side(
            [str(interpreter)],
            self.where / "ukl",
            inside.environment(extra, program),
            self.shim if self.way.loader else None,
        )
        self.host = Side(
            [*ALONE, ALONE_UP, "sh", str(interpreter)],
            self.where / "host",
            dict(os.environ),
            None,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.host.end()
        said = self.ukl.end()
        running, log = self.instance.running, self.instance.log()
        self.instance.stop()
        if kind is None:
            assert running, log
            assert "BUG:" not in log, log
            assert "WARNING:" not in log, log
            assert not said, said

    def run(self, program: bytes, slow: int) -> tuple[list[str], list[str]]:
        """What both sides print; they have the same ports."""
        port = PORTS[self.ports % len(PORTS)]
        self.ports += 1
        self.host.send(program, port, slow)
        self.ukl.send(program, port, slow)
        return self.host.answer(), self.ukl.answer()

    def compare(self, host: list[str], ukl: list[str]) -> list[str] | None:
        """Why lines differ as they may; None if others do."""
        if len(host) != len(ukl):
            return None
        reasons = []
        for theirs, ours in zip(host, ukl, strict=True):
            if ours == theirs:
                continue
            for known in KNOWN:
                if known.fits(theirs, ours):
                    reasons.append(known.reason)
                    break
            else:
                return None
        return reasons

    def difference(self, lines: list[str]) -> str:
        """Empty if both sides do the same, else the program and both outputs.

        A program that ended a side is the answer to all later ones.
        """
        if self.broken:
            return self.broken
        program = "".join(line + "\n" for line in lines).encode()
        quick: list[str] = []
        for slow in (0, *SLOW):
            host, ukl = self.run(program, slow)
            if not slow:
                quick = self.sides(host, ukl)
            reasons = self.compare(host, ukl)
            if reasons is not None:
                self.steps += sum(1 for line in host if re.match(r" *\d+ ", line))
                self.runs += 1
                if slow:
                    self.unsteady.append("\n".join([f"  {one}" for one in quick]))
                self.known.update(reasons)
                return ""
            if LOST & {host[-1], ukl[-1]}:
                break
        text = "\n".join(
            [
                "the program:",
                *(f"  {line}" for line in lines),
                "the host and ukl:",
                *self.sides(host, ukl),
            ]
        )
        if LOST & {host[-1], ukl[-1]}:
            self.broken = text
        return text

    def sides(self, host: list[str], ukl: list[str]) -> list[str]:
        """Both outputs side by side."""
        return [
            f"{' ' if a == b else '!'} {a:<50} | {b}"
            for a, b in zip_longest(host, ukl, fillvalue="")
        ]

    def summary(self) -> str:
        known = "".join(f"; {n} times: {why}" for why, n in self.known.items())
        return (
            f"{self.steps} steps in {self.runs} programs without a difference, "
            f"{len(self.unsteady)} of them only when slow{known}"
        )
