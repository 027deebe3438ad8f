#!/usr/bin/env python3
"""Go's tests of its own standard library, on the host and in an instance.

    ./ukl build && tests/suites/gostd.py [PACKAGE]...

Builds the tests of each package twice, as a static program without cgo and as one that
is linked with libc, and runs both on both sides, in the package's directory. Prints how
many tests pass on the host (parts of tests and examples count) and how many of these
pass under ukl, and the differences. Both sides have a network with nothing but a
loopback. It takes Go with its sources (Debian's golang-go) and a C compiler. A test
that differs is run again alone, on both sides: some fail now and then on a busy
machine.

Exit status: 0 if at least 99.5 % of what passes on the host passes under ukl.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from cpython import ALONE, ALONE_UP, BAR, ROOT

PACKAGES = ("net", "net/http", "os", "os/exec", "os/signal", "syscall")
# What is said to ``go test`` beyond the usual, and CGO_ENABLED.
KINDS = {
    "static": ((), "0"),
    "dynamic": (("-ldflags=-linkmode=external",), "1"),
}
TEST_SECONDS = 300
PROCESSES = 10
STIRS = re.compile(r"^=== (RUN|PAUSE|CONT) +(\S+)$", re.MULTILINE)
ENDS = re.compile(r"--- (PASS|FAIL|SKIP): (\S+) \(")
Outcomes = dict[str, str]


def build(package: str, kind: str, where: Path) -> Path:
    """The package's tests as a program."""
    extra, cgo = KINDS[kind]
    program = where / f"{package.replace('/', '_')}.{kind}.test"
    done = subprocess.run(
        ["go", "test", "-c", "-o", str(program), *extra, package],
        env={**os.environ, "CGO_ENABLED": cgo},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not program.exists():
        sys.exit(f"go cannot build the tests of {package} ({kind}): {done.stderr}")
    return program


def command(side: str, program: Path) -> list[str]:
    if side == "host":
        return [*ALONE, ALONE_UP, "sh", str(program)]
    return [str(ROOT / "ukl-run"), "-s", "network={}", "--", str(program)]


def listed(program: Path) -> list[str]:
    """Its tests and examples, parts not among them."""
    done = subprocess.run(
        [str(program), "-test.list=."],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return [
        word for word in done.stdout.split() if not word.startswith(("Bench", "Fuzz"))
    ]


def exactly(names: list[str]) -> str:
    return "^(" + "|".join(map(re.escape, names)) + ")$"


class Side:
    """Where a program's tests are run: on the host, or under ukl."""

    def __init__(
        self, name: str, program: Path, at: Path, flags: list[str], seconds: float
    ) -> None:
        self.name = name
        self.line = [*command(name, program), "-test.v", *flags]
        self.at = at
        self.seconds = seconds

    def once(self, tests: list[str], log: Path) -> tuple[str, bool]:
        """What a process printed, and whether it took too long or was killed."""
        with log.open("ab") as stream:
            begun = stream.tell()
            process = subprocess.Popen(
                [*self.line, f"-test.run={exactly(tests)}"],
                cwd=self.at,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
            broken = True
            with suppress(subprocess.TimeoutExpired):
                # A test program that fails says so with 1, one that panics with 2.
                broken = process.wait(self.seconds) not in (0, 1)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return log.read_bytes()[begun:].decode(errors="replace"), broken

    def run(self, tests: list[str], log: Path) -> Outcomes:
        """The outcome of each test: PASS, FAIL or SKIP.

        Tests that ran when the process ended, or was killed for taking longer than
        ``seconds``, have failed; another process goes on with those that had not begun,
        or had made way for others.
        """
        log.unlink(missing_ok=True)
        found: Outcomes = {}
        left = tests
        for _ in range(PROCESSES):
            text, broken = self.once(left, log)
            last = {test: word for word, test in STIRS.findall(text)}
            new = {test: "FAIL" for test, word in last.items() if word != "PAUSE"}
            new |= {test: outcome for outcome, test in ENDS.findall(text)}
            found |= new
            left = [test for test in left if test not in found]
            if not broken or not new or not left:
                break
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", default=PACKAGES)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: both")
    parser.add_argument("--seconds", type=float, default=TEST_SECONDS)
    parser.add_argument("--long", action="store_true", help="without -test.short")
    parser.add_argument("--keep", type=Path, help="a directory for all outputs")
    given = parser.parse_args()
    # A shell's background job ignores it, and so would the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    where = given.keep or Path(tempfile.mkdtemp(prefix="ukl-gostd-"))
    where.mkdir(parents=True, exist_ok=True)
    root = subprocess.check_output(["go", "env", "GOROOT"], text=True).strip()
    flags = [] if given.long else ["-test.short"]
    total = passed = 0
    for package in given.packages:
        for kind in given.kind or KINDS:
            program = build(package, kind, where.resolve())
            at = Path(root, "src", package)
            begun = time.monotonic()
            sides = [
                Side(name, program, at, flags, given.seconds)
                for name in ("host", "ukl")
            ]
            tests = listed(program)
            host, ukl = (
                side.run(tests, program.with_suffix(f".{side.name}")) for side in sides
            )
            good = {test for test, outcome in host.items() if outcome == "PASS"}
            bad = []
            for test in sorted(good):
                first = ukl.get(test, "missing")
                if first == "PASS":
                    continue
                log = program.with_suffix(f".{test.replace('/', '_')}")
                top = [test.split("/")[0]]
                on_host, here = (
                    side.run(top, Path(f"{log}.{side.name}")).get(test, "missing")
                    for side in sides
                )
                if here == "PASS":
                    print(f"  {test}: {first}, alone PASS", flush=True)
                else:
                    bad.append(f"{test}: {here} (alone on the host: {on_host})")
            total += len(good)
            passed += len(good) - len(bad)
            print(
                f"{package} {kind}: {len(host)} tests, {len(good)} pass on the host, "
                f"{len(good) - len(bad)} of these under ukl "
                f"({time.monotonic() - begun:.0f} s)",
                flush=True,
            )
            for line in bad:
                print(f"  {line}", flush=True)
    share = passed / total if total else 0.0
    print(f"{passed} of {total} that pass on the host pass under ukl: {share:.2%}")
    return share < BAR


if __name__ == "__main__":
    sys.exit(main())
