"""``ukl exec``, ``ps``, ``stop``, ``logs`` and ``doctor`` on instances that run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from desk import Desk, wait_for

from hijack import doctor

COLUMNS = ["NAME", "STATE", "PID", "PROCS", "DOOR", "AGE", "COMMAND"]


class Web:
    """An instance named web whose target sleeps."""

    def __init__(self, desk: Desk) -> None:
        self.process = desk.start("-n", "web", "sleep", "60")
        try:
            wait_for(lambda: processes(desk) == [self.process.pid], "not attached")
        except BaseException:
            self.process.kill()
            raise

    def ended(self) -> int:
        """Waits for the target; its status."""
        self.process.communicate(timeout=20)
        return self.process.returncode


def processes(desk: Desk) -> list[int]:
    rows = json.loads(desk.ukl("ps", "--json").out)
    return [pid for row in rows for pid in row["processes"]]


@pytest.fixture
def web(desk: Desk) -> Generator[Web, None, None]:
    made = Web(desk)
    yield made
    if made.process.poll() is None:
        made.process.terminate()
        made.ended()


def test_exec_joins(desk: Desk, web: Web) -> None:
    process = subprocess.Popen(
        desk.line("ukl", "exec", "-e", "A=b", "web", "sh", "-c", "echo $A $$; read x"),
        env=desk.env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"b {process.pid}\n"
    assert sorted(processes(desk)) == sorted([web.process.pid, process.pid])
    process.communicate("x\n", timeout=20)
    assert process.returncode == 0
    done = desk.ukl("exec", "web", "sh", "-c", "exit 9")
    assert (done.status, done.out, done.err) == (9, "", "")
    done = desk.ukl("exec", "web", "--", "echo", "-n", "--help")
    assert (done.status, done.out) == (0, "--help")


def test_exec_errors(desk: Desk, web: Web) -> None:
    assert desk.ukl("exec", "web", "no-such").status == 127
    assert desk.ukl("exec", "web", "/").status == 126
    line = ("--via", "preload", "web", "/sbin/ldconfig", "-p")
    done = desk.ukl("exec", *line)
    assert (done.status, done.out) == (126, "")
    assert "statically linked" in done.err
    done = desk.ukl("exec", "--allow-host", "--report", "r.json", *line)
    assert (done.status, done.out) == (125, "")
    assert "nothing is counted on the host's kernel" in done.err
    assert processes(desk) == [web.process.pid]


def test_the_instance_lives_on_with_what_joined(desk: Desk, web: Web) -> None:
    process = subprocess.Popen(
        desk.line("ukl", "exec", "web", "sh", "-c", "echo ready; read x"),
        env=desk.env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    web.process.terminate()
    assert web.ended() == -signal.SIGTERM
    wait_for(lambda: processes(desk) == [process.pid], "the first one stays")
    assert desk.instances == ["web"]
    process.communicate("x\n", timeout=20)
    desk.settle()


def test_ps(desk: Desk, web: Web) -> None:
    lines = desk.ukl("ps").out.splitlines()
    assert lines[0].split() == COLUMNS
    assert re.fullmatch(
        rf"web +running +{web.process.pid} +1 +preload +[\d.]+ s  "
        r"sleep 60",
        lines[1],
    )
    assert len(lines) == 2
    (row,) = json.loads(desk.ukl("ps", "--json").out)
    assert row["directory"] == str(desk.directory / "ukl" / "web")
    assert row["pid"] == web.process.pid
    assert row["argv"] == ["sleep", "60"]
    assert row["profiles"] == []


def test_ps_of_nothing(desk: Desk) -> None:
    assert desk.ukl("ps").out.split() == COLUMNS
    assert desk.ukl("ps", "--json").out == "[]\n"


def test_stop(desk: Desk, web: Web) -> None:
    done = desk.ukl("stop", "web")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert web.ended() == -signal.SIGTERM
    # Gone when stop returns: the name can be used again at once.
    assert desk.instances == []
    assert desk.run("-n", "web", "echo", "again").out == "again\n"


def test_stop_insists(desk: Desk) -> None:
    """A target that ignores SIGTERM is killed two seconds later."""
    script = "trap '' TERM; echo ready; while :; do sleep 0.2; done"
    process = desk.start("-n", "web", "sh", "-c", script)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)
    begun = time.monotonic()
    done = desk.ukl("stop", "web")
    assert (done.status, done.err) == (0, "")
    assert 1.5 < time.monotonic() - begun < 8
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL


def test_stop_of_several(desk: Desk, web: Web) -> None:
    done = desk.ukl("stop", "nosuch", "web", "neither")
    assert done.status == 1
    assert done.err == (
        "ukl: no instance named nosuch is running (ukl ps lists them)\n"
        "ukl: no instance named neither is running (ukl ps lists them)\n"
    )
    assert web.ended() == -signal.SIGTERM


def test_stop_all(desk: Desk, web: Web) -> None:
    assert desk.run("--keep", "-n", "kept", "true").status == 0
    assert desk.ukl("stop", "--all").status == 0
    assert web.ended() == -signal.SIGTERM
    desk.settle()
    assert desk.ukl("stop", "--all").status == 0


def test_stop_of_a_kernel_host_that_hangs(desk: Desk, web: Web) -> None:
    for pid in desk.hosts():
        os.kill(pid, signal.SIGSTOP)
    (row,) = json.loads(desk.ukl("ps", "--json").out)
    assert row["state"] == "stuck"
    done = desk.ukl("stop", "-t", "0.5", "web")
    assert (done.status, done.err) == (
        0,
        "ukl: instance web did not end by itself; it was killed\n",
    )
    desk.settle()
    assert web.ended() == -signal.SIGKILL


def test_logs(desk: Desk, web: Web) -> None:
    done = desk.ukl("logs", "web")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "Linux version" in lines[0]
    assert all(re.match(r"\[ *\d+\.\d+\] ", line) for line in lines)


def test_logs_follow(desk: Desk, web: Web) -> None:
    process = subprocess.Popen(
        desk.line("ukl", "logs", "-f", "web"),
        env=desk.env(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "Linux version" in process.stdout.readline()
    assert process.poll() is None
    with (desk.directory / "ukl" / "web" / "log").open("a") as log:
        log.write("a word of the kernel host\n")
    while process.stdout.readline() != "a word of the kernel host\n":
        assert process.poll() is None
    assert desk.ukl("stop", "web").status == 0
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_last_words_of_an_instance_are_kept(desk: Desk, web: Web) -> None:
    """The kernel host is killed: the guardian ends the instance and says so."""
    proper = [pid for pid in desk.hosts() if _parent(pid) in desk.hosts()]
    assert len(proper) == 1
    os.kill(proper[0], signal.SIGKILL)
    assert web.ended() == -signal.SIGKILL
    wait_for(lambda: not desk.hosts(), "the guardian stays")
    words = "the kernel host was killed by signal 9; the instance's processes were"
    assert words in desk.ukl("logs", "web").out
    assert desk.ukl("ps").out.count("\n") == 1
    assert words in desk.ukl("ps", "-a").out
    done = desk.ukl("stop", "web")
    assert done.status == 1
    desk.settle()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_doctor(desk: Desk) -> None:
    done = desk.ukl("doctor", "--json")
    findings = json.loads(done.out)
    by_check = {one["check"]: one for one in findings}
    assert by_check["instance"]["level"] == "ok", by_check["instance"]
    assert by_check["host"]["level"] == "ok"
    assert by_check["syscall dispatch"]["level"] == "ok"
    assert done.status == int(any(one["level"] == "problem" for one in findings))
    assert desk.instances == []
    plain = desk.ukl("doctor")
    assert plain.status == done.status
    assert len(plain.out.splitlines()) == len(findings)
    for line, one in zip(plain.out.splitlines(), findings, strict=True):
        assert line.split()[0] == one["level"]
        assert line[9:].startswith(one["check"])


def test_doctor_finds_what_is_wrong(desk: Desk) -> None:
    """Without a build there is a problem, and its mend."""
    desk.environment["XDG_CACHE_HOME"] = str(desk.directory / "empty")
    done = desk.ukl("doctor")
    assert done.status == 1
    assert (
        "problem  build             the kernel host has not been built "
        "(ukl build makes it)\n"
    ) in done.out
    assert "problem  instance          the kernel host has not been built" in done.out


def test_doctor_sees_limits(desk: Desk) -> None:
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *desk.line("ukl", "doctor")],
        env=desk.env(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (
        "warning  limits            the limit on open files is 100 (see ulimit -a)"
    ) in done.stdout


def test_every_check_says_what_it_is_for() -> None:
    assert all(check.__doc__ for check in doctor.CHECKS)
