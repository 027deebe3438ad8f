#!/usr/bin/env python3
"""CPython's own tests, on the host and in an instance, test by test.

    ./ukl build && tests/suites/cpython.py [MODULE]...

Prints, for each module, how many tests pass on the host and how many of these pass
under ukl, and the differences. Both sides have a network with nothing but a loopback.
It takes an ordinary Python 3.11 that has its ``test`` package (Debian's
libpython3.11-testsuite, pyenv); ``--python`` names another. A test that differs is
run again alone, on both sides: some fail now and then on a busy machine.

Exit status: 0 if at least 99.5 % of what passes on the host passes under ukl.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULES = (
    *("test_socket", "test_select", "test_selectors", "test_epoll", "test_poll"),
    *("test_asyncio", "test_ssl", "test_socketserver", "test_httplib"),
    *("test_httpservers", "test_ftplib", "test_subprocess", "test_signal"),
    *("test_os", "test_threading"),
)
BAR = 0.995
TEST_SECONDS = 60
PROCESSES = 20
# In a namespace of its own, as the same user: who is not root must not look like root.
ROOT_HERE = os.geteuid() == 0
ALONE_AS = () if ROOT_HERE else ("--map-current-user", "--keep-caps")
ALONE = ("unshare", *ALONE_AS, "-n", "sh", "-c")
ALONE_DROP = "" if ROOT_HERE else "setpriv --ambient-caps=-all --inh-caps=-all "
ALONE_UP = f'ip link set lo up && exec {ALONE_DROP}"$@"'
Outcomes = dict[str, tuple[str, str]]


def find_python() -> str:
    """The first with a test package."""
    names = ["python3.11", "/usr/bin/python3.11"]
    for name in filter(None, map(shutil.which, names)):
        asked = subprocess.run(
            [name, "-c", "import sys, test.test_socket; print(sys.executable)"],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if not asked.returncode:
            return asked.stdout.strip()
    sys.exit("no Python 3.11 with a test package (Debian: libpython3.11-testsuite)")


def command(side: str, python: str) -> list[str]:
    if side == "host":
        return [*ALONE, ALONE_UP, "sh", python]
    return [str(ROOT / "ukl-run"), "-s", "network={}", "--", python]


def run(side: str, python: str, module: str, seconds: float, log: Path) -> Outcomes:
    """A module's tests: outcome and reason of each.

    A test that ends the process, or takes longer than ``TEST_SECONDS``, has failed;
    another process goes on behind it.
    """
    record = log.with_suffix(".json")
    record.unlink(missing_ok=True)
    end = time.monotonic() + seconds
    found: Outcomes = {}
    line = [*command(side, python), str(HERE / "cpython_each.py"), str(record), module]
    with log.open("wb") as stream:
        for _ in range(PROCESSES):
            process = subprocess.Popen(
                [*line, str(TEST_SECONDS)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
            try:
                status = f"ended with {process.wait(max(1, end - time.monotonic()))}"
            except subprocess.TimeoutExpired:
                status = "took too long"
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not read(record, found, status) or time.monotonic() > end:
                break
    return found


def read(record: Path, found: Outcomes, status: str) -> bool:
    """Whether there is more to run."""
    running = ""
    done = False
    for line in record.read_text().splitlines() if record.exists() else ():
        word = json.loads(line)
        if "begins" in word:
            running = word["begins"]
            found.setdefault(running, ("failed", f"the process {status}"))
        elif "test" in word:
            found[word["test"]] = (word["outcome"], word["why"])
        done |= "done" in word
    if not done and not running:
        found["(the module)"] = ("failed", f"the process {status}")
    return not done and bool(running)


def again(python: str, test: str, seconds: float, where: Path) -> tuple[str, str, str]:
    """A test alone: the outcomes on the host and under ukl, and why."""
    found = []
    why = ""
    for side in ("host", "ukl"):
        name = test.removeprefix("test.")
        outcomes = run(side, python, name, seconds, where / f"{side}-alone-{name}.log")
        outcome, why = outcomes.get(test, ("missing", ""))
        found.append(outcome)
    return found[0], found[1], why


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", default=MODULES)
    parser.add_argument("--python", default="")
    parser.add_argument("--seconds", type=float, default=900.0, help="for a module")
    parser.add_argument("--keep", type=Path, help="a directory for all outputs")
    given = parser.parse_args()
    # A shell's background job ignores it, and so would the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    python = given.python or find_python()
    where = given.keep or Path(tempfile.mkdtemp(prefix="ukl-cpython-"))
    where.mkdir(parents=True, exist_ok=True)
    total = passed = 0
    for module in given.modules:
        sides = {}
        begun = time.monotonic()
        for side in ("host", "ukl"):
            log = where / f"{side}-{module}.log"
            sides[side] = run(side, python, module, given.seconds, log)
        good = {n for n, (outcome, _) in sides["host"].items() if outcome == "ok"}
        bad = []
        for name in sorted(good):
            outcome, why = sides["ukl"].get(name, ("missing", ""))
            if outcome == "ok":
                continue
            on_host, here, more = again(python, name, 120.0, where)
            if here == "ok":
                print(f"  {name}: {outcome}, alone ok", flush=True)
                continue
            bad.append((name, f"{here} (alone on the host: {on_host})", more or why))
        total += len(good)
        passed += len(good) - len(bad)
        print(
            f"{module}: {len(sides['host'])} tests, {len(good)} pass on the host, "
            f"{len(good) - len(bad)} of these under ukl "
            f"({time.monotonic() - begun:.0f} s)",
            flush=True,
        )
        for name, outcome, why in bad:
            last = why.strip().splitlines()[-1:] or [""]
            print(f"  {name}: {outcome}: {last[0]}", flush=True)
    share = passed / total if total else 0.0
    print(f"{passed} of {total} that pass on the host pass under ukl: {share:.2%}")
    return share < BAR


if __name__ == "__main__":
    sys.exit(main())
