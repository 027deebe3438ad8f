"""``--report FILE``: what ran where, what was trapped, what was refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from person import User, eventually

PROGRAM = r"""
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int i, s = socket(AF_INET, SOCK_DGRAM, 0), type, status;
	socklen_t n = sizeof(type);

	for (i = 0; i < 30; i++)
		getsockopt(s, SOL_SOCKET, SO_TYPE, &type, &n);
	for (i = 0; i < 20; i++)
		getppid();
	for (i = 0; i < 3; i++)
		open("/nowhere", O_RDONLY);
	for (i = 0; i < 2; i++)
		recv(s, &i, 0, MSG_DONTWAIT);
	syscall(SYS_io_uring_setup, 1, NULL);
	if (!fork()) {
		getppid();
		execl("/bin/true", "true", NULL);
	}
	wait(&status);
	if (argc > 1)
		kill(getpid(), atoi(argv[1]));
	return 3;
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program whose calls are known."""
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    subprocess.run(["gcc", "-w", "-o", tmp_path / "program", source], check=True)
    return tmp_path / "program"


def read(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_text())
    return value


def counted(report: dict[str, Any], call: str) -> tuple[int, int, int]:
    """Of one call: by the host, by the library kernel, refused."""
    for one in report["calls"]:
        if one["call"] == call:
            return one["host"], one["library"], one["refused"]
    return 0, 0, 0


@pytest.mark.parametrize("via", ["preload", "loader"])
def test_what_ran_where(user: User, program: Path, via: str) -> None:
    file = user.directory / "r.json"
    done = user.do("ukl-run", "--via", via, "--report", file, program)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    # It is there at once: the program's end has waited for it.
    report = read(file)
    assert report["command"] == [str(program)]
    assert counted(report, "getsockopt") == (0, 30, 0)
    assert counted(report, "getppid") == (21, 0, 0)
    assert counted(report, "socket") == (0, 1, 0)
    assert counted(report, "recvfrom") == (0, 2, 0)
    assert counted(report, "io_uring_setup") == (0, 0, 1)
    assert counted(report, "execve") == (1, 0, 0)
    assert counted(report, "exit_group") == (2, 0, 0)
    assert sum(counted(report, "clone") + counted(report, "clone3")) == 1
    assert report["refused"] == [
        {"call": "io_uring_setup", "error": "ENOSYS", "count": 1}
    ]
    failed = [tuple(one.values()) for one in report["failed"]]
    assert ("openat", "ENOENT", "host", 3) in failed
    assert ("recvfrom", "EAGAIN", "library", 2) in failed
    total = report["total"]
    assert total["calls"] == total["host"] + total["library"] + total["refused"]
    assert report["lost"] == {"failed": 0, "trapped": 0}


def test_every_call_traps_where_nothing_is_rewritten(user: User, program: Path) -> None:
    file = user.directory / "r.json"
    user.do("ukl-run", "--trap-only", "--report", file, program)
    report = read(file)
    assert report["total"]["trapped"] == report["total"]["calls"]
    libc = [one for one in report["trapped"] if "/libc" in (one["file"] or "")]
    most = next(one for one in libc if one["call"] == "getsockopt")
    assert most["count"] == 30
    # The site is one, in the file, at that offset.
    code = Path(most["file"]).read_bytes()
    assert code[most["offset"] :][:2] == b"\x0f\x05"


def test_what_is_rewritten_does_not_trap(user: User) -> None:
    file = user.directory / "r.json"
    user.run("--report", file, "dd", "if=/dev/zero", "of=/dev/null", "count=5000")
    report = read(file)
    assert counted(report, "write")[0] >= 5000
    assert 400 <= report["total"]["trapped"] < 1500


def test_the_text_is_for_people(user: User, program: Path) -> None:
    file = user.directory / "report.txt"
    user.do("ukl-run", "--report", file, program)
    lines = file.read_text().splitlines()
    assert lines[0] == f"ukl: {program}"
    rows = [line.split() for line in lines]
    assert ["getsockopt", "30"] in rows
    assert ["refused", "by", "ukl:", "1"] in rows
    assert ["1", "io_uring_setup", "ENOSYS"] in rows
    assert ["3", "openat", "ENOENT", "[host]"] in rows
    assert any("libc.so.6+0x" in line for line in lines)


def test_a_program_that_is_killed(user: User, program: Path) -> None:
    file = user.directory / "r.json"
    done = user.do("ukl-run", "--report", file, program, signal.SIGKILL.value)
    assert done.returncode == -signal.SIGKILL
    assert eventually(lambda: file.stat().st_size > 0)
    report = read(file)
    assert counted(report, "getsockopt") == (0, 30, 0)


def test_one_that_outlives_the_first(user: User) -> None:
    file = user.directory / "r.json"
    script = "exec 3<&0; (read line <&3; exec mkdir . 2>&-) & exit 0"
    ours, theirs = os.pipe()
    with os.fdopen(ours) as stdin, os.fdopen(theirs, "w") as words:
        line = [*user.words("ukl-run"), "--report", str(file), "sh", "-c", script]
        subprocess.run(
            line, env=user.environment(), stdin=stdin, check=True, timeout=60
        )
        report = read(file)
        assert counted(report, "mkdir") == (0, 0, 0)
        words.write("go on\n")
    assert eventually(lambda: counted(read(file), "mkdir") == (1, 0, 0))


@pytest.mark.parametrize("via", ["preload", "loader"])
def test_one_that_joins_has_its_own(user: User, program: Path, via: str) -> None:
    files = [user.directory / name for name in ("first.json", "own.json", "own.txt")]
    script = 'echo ready; read line; mkdir . 2>&-; "$0"'
    line = ["--name", "box", "--report", files[0], "sh", "-c", script, program]
    ours, theirs = os.pipe()
    with os.fdopen(ours) as stdin, os.fdopen(theirs, "w") as words:
        first = user.start(*line, stdin=stdin)
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        joins = ("exec", "--via", via, "--report")
        for file in files[1:]:
            done = user.do("ukl", *joins, file, "box", program)
            assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
        done = user.do("ukl", *joins, "/dev/full", "box", program)
        assert done.returncode == 125
        assert done.stderr == "ukl: --report: /dev/full is not a regular file\n"
        # Nothing is there of the first one's, which runs on.
        assert files[0].stat().st_size == 0
        words.write("go on\n")
    assert first.wait(30) == 3
    report = read(files[1])
    assert report["command"] == [str(program)]
    assert counted(report, "getsockopt") == (0, 30, 0)
    assert counted(report, "getppid") == (21, 0, 0)
    assert counted(report, "io_uring_setup") == (0, 0, 1)
    assert counted(report, "mkdir") == (0, 0, 0)
    rows = [line.split() for line in files[2].read_text().splitlines()]
    assert ["getsockopt", "30"] in rows
    # Nor has the first one counted what joined.
    report = read(files[0])
    assert counted(report, "getsockopt") == (0, 30, 0)
    assert sum(counted(report, "mkdir")) == 1


def test_one_that_is_killed_after_joining(user: User, program: Path) -> None:
    file = user.directory / "r.json"
    user.run("--keep", "--name", "box", "true")
    line = ("exec", "--report", file, "box", program, signal.SIGKILL.value)
    assert user.do("ukl", *line).returncode == -signal.SIGKILL
    assert eventually(lambda: file.stat().st_size > 0)
    assert counted(read(file), "getsockopt") == (0, 30, 0)


def test_it_says_at_once_what_cannot_be_written(user: User) -> None:
    done = user.do("ukl-run", "--report", "/nowhere/r.json", "true")
    assert done.returncode == 125
    assert done.stderr == (
        "ukl: --report: cannot write /nowhere/r.json: No such file or directory\n"
    )
    done = user.do("ukl-run", "--report", "/dev/full", "true")
    assert done.returncode == 125
    assert done.stderr == "ukl: --report: /dev/full is not a regular file\n"


def test_the_program_sees_nothing_of_it(user: User) -> None:
    file = user.directory / "r.json"
    script = "env | grep UKL; ls /proc/self/fd | awk '$1 < 1000' | wc -l"
    script += "; ps -o comm= --ppid $$ > children; grep -v ps children; true"
    # No word, no descriptor, no child.
    assert user.run("--report", file, "bash", "-c", script) == "4\n"
