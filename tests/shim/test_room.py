"""The laws of the shim's room (libhijack_c/README.md), looked up in what was built."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from inside import Inside, need

MAY_BE_ASKED = {"environ", "gnu_get_libc_version"}
"""Weak: whichever libc there is, or none."""


def output(*line: object) -> str:
    return subprocess.run(
        [str(word) for word in line], capture_output=True, text=True, check=True
    ).stdout


def test_it_needs_no_library(shim: Path) -> None:
    need("readelf", "nm")
    assert "NEEDED" not in output("readelf", "-d", shim)
    undefined = output("nm", "-D", "--undefined-only", shim).split("\n")
    names = {line.split()[-1] for line in undefined if line.strip()}
    assert names <= MAY_BE_ASKED


def test_it_exports_nothing(shim: Path) -> None:
    assert output("nm", "-D", "--defined-only", shim) == ""


def test_no_thread_local_storage_and_no_vector_register(shim: Path) -> None:
    need("objdump")
    assert " TLS " not in output("readelf", "-lW", shim)
    code = output("objdump", "-d", "--no-show-raw-insn", shim)
    assert "%fs:" not in code
    assert not re.search(r"%[xyz]mm\d|%st|%mm\d|%k\d", code)


def test_system_calls_only_in_the_stub_page(shim: Path) -> None:
    symbols = {
        name: int(value, 16)
        for value, _, name in (
            line.split()
            for line in output("nm", shim).splitlines()
            if len(line.split()) == 3
        )
    }
    begin, end = symbols["stub_start"], symbols["stub_end"]
    trap = symbols["ukl_deliver_trap"] - 2
    code = output("objdump", "-d", "--no-show-raw-insn", shim)
    found = [
        int(match[1], 16)
        for match in re.finditer(r"^\s*([0-9a-f]+):\s+syscall", code, re.M)
    ]
    assert len(found) > 5
    assert [at for at in found if not begin <= at < end] == [trap]


def test_the_program_sees_nothing_of_it(inside: Inside) -> None:
    script = (
        "env | grep -E 'UKL_(INSTANCE|STATE|REWRITE|TRACE)|PRELOAD';"
        "ls /proc/self/fd | awk '$1 < 1000' | wc -l"
    )
    assert inside.run("bash", "-c", script).stdout == "4\n"
    mine = {"LD_PRELOAD": f"{inside.shim}:/usr/lib/x86_64-linux-gnu/libm.so.6"}
    got = inside.run(
        "sh", "-c", "echo $LD_PRELOAD; sh -c 'echo $LD_PRELOAD'", extra=mine
    )
    assert got.stdout == "/usr/lib/x86_64-linux-gnu/libm.so.6\n" * 2


def test_rewriting_really_rewrites(inside: Inside, tmp_path: Path) -> None:
    source = tmp_path / "s.c"
    source.write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        "int main(void) { for (int i = 0; i < 1000; i++) { getppid(); read(-1, 0, 0); }"
        'printf("%d %d", *(unsigned char *)getppid == 0xe9,'
        "*(unsigned char *)read == 0xe9); }\n"
    )
    subprocess.run(["gcc", "-o", tmp_path / "s", source], check=True)
    for how, sees in ("off", "0 0"), ("now", "1 1"), ("", "1 1"):
        got = inside.run(tmp_path / "s", extra={"UKL_REWRITE": how})
        assert got.stdout == sees


def test_trace(inside: Inside, tmp_path: Path) -> None:
    program = "import socket; socket.socket().close(); open('/etc/passwd').close()"
    got = inside.run("/usr/bin/python3", "-c", program, extra={"UKL_TRACE": "ukl"})
    lines = got.stderr.splitlines()
    assert all(re.match(r"\[ukl\]  \d+ \w+\(.*\) = ", line) for line in lines)
    assert any(" socket(2, " in line for line in lines)
    where = tmp_path / "trace"
    extra = {"UKL_TRACE": f"all,{where}"}
    assert inside.run("/usr/bin/python3", "-c", program, extra=extra).stderr == ""
    text = where.read_text()
    assert re.search(
        r'^\[host\] \d+ openat\(-100, "/etc/passwd", .*\) = \d+$', text, re.M
    )
    assert re.search(r"^\[host\] \d+ exit_group\(0\) = \?$", text, re.M)
    wrong = inside.run("true", extra={"UKL_TRACE": "nonsense"})
    assert wrong.returncode == 125
