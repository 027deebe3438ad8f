"""Builds of all kinds: static ones, musl's, AddressSanitizer's, busybox."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import BOTH, LOADER, Machine, here, need

HERE = Path(__file__).resolve().parent
# musl's own come first.
LINUX_HEADERS = ["-idirafter", "/usr/include"]
LINUX_HEADERS += ["-idirafter", "/usr/include/x86_64-linux-gnu"]
BUILDS = {
    "musl": ["musl-gcc", *LINUX_HEADERS],
    "musl-static": ["musl-gcc", "-static", *LINUX_HEADERS],
    "static-pie": ["gcc", "-static-pie", "-w"],
    "asan": ["gcc", "-g", "-fsanitize=address,undefined"],
}
Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compiles ``talks.c`` in one of ``BUILDS``, once a session."""
    where = tmp_path_factory.mktemp("builds")
    where.chmod(0o755)

    def make(how: str) -> Path:
        need(BUILDS[how][0])
        program = where / f"talks-{how}"
        if not program.exists():
            line = [*BUILDS[how], "-O1", "-pthread", "-o", program, HERE / "talks.c"]
            subprocess.run(line, check=True)
        return program

    return make


def talks(machine: Machine, program: Path, port: int) -> None:
    """Its server in the instance; its client there, and on the host."""
    line = [program, "serve", "7"]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:7"])
    machine.listens(7)
    good = "0 left, 0 wrong\n"
    assert machine.run(program, "ask", "127.0.0.1", "7", "50") == good
    assert here(program, "ask", "127.0.0.1", port, "10") == good
    assert machine.run(program, "ask", "127.0.0.1", "8", "1", status=1) == "errno 111\n"
    machine.end(server, 5)


@BOTH
def test_musl(machine: Machine, build: Build, port: int) -> None:
    talks(machine, build("musl"), port)


@LOADER
def test_musl_static(machine: Machine, build: Build, port: int) -> None:
    talks(machine, build("musl-static"), port)


@LOADER
def test_glibc_static_pie(machine: Machine, build: Build, port: int) -> None:
    talks(machine, build("static-pie"), port)


@LOADER
def test_address_sanitizer(machine: Machine, build: Build, port: int) -> None:
    """Traffic, threads and no leak; then an error that it finds as on the host."""
    program = build("asan")
    talks(machine, program, port)
    machine.nothing_is_left()
    host, got = machine.on_host(program, "wrong"), machine.do(program, "wrong")
    for one in (host, got):
        assert "heap-buffer-overflow" in one.stderr
        assert re.search(r"main .*/talks\.c:\d+", one.stderr), one.stderr
    assert got.returncode == host.returncode != 0


BUSYBOX = """
busybox wget -q -O out http://localhost:8080/big; cmp out big
busybox wget -q -O - http://127.0.0.1:8080/cgi-bin/say?word
busybox wget -q -O - http://127.0.0.1:8080/none || echo $?
busybox nc 127.0.0.1 9 || echo $?
busybox nc -l -p 5000 -e busybox tr a-z A-Z &
until busybox netstat -ltn | grep -q :5000; do sleep 0.05; done
echo a line | busybox nc 127.0.0.1 5000
busybox sh -c 'seq 5 | busybox sort -rn | busybox head -2; ifconfig lo | grep -c UP'
busybox ip -o link show lo | grep -c LOOPBACK
busybox ping -c 1 -W 2 127.0.0.1 | grep -o '1 packets received'
"""


@LOADER
def test_busybox(machine: Machine, big: bytes, port: int) -> None:
    """Static: httpd with a script, wget, nc, a shell, and tools of the network."""
    need("busybox", "curl")
    busybox = shutil.which("busybox")
    (machine.directory / "big").write_bytes(big)
    script = machine.directory / "cgi-bin" / "say"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/busybox sh\necho Content-Type: text/plain; echo; echo $QUERY_STRING\n"
    )
    script.chmod(0o755)
    line = [busybox, "httpd", "-f", "-p", "[::]:8080", "-h", machine.directory]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:8080"])
    machine.listens(8080)
    assert machine.sh(BUSYBOX).splitlines() == [
        *("word", "1", "1", "A LINE", "5", "4", "1", "1", "1 packets received"),
    ]
    here("curl", "-sSf", "-o", machine.directory / "h", f"http://127.0.0.1:{port}/big")
    assert (machine.directory / "h").read_bytes() == big
    machine.end(server, -signal.SIGTERM)
