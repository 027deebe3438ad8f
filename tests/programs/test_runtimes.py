"""Languages' own servers and clients: Python, Node, Java, Go; curl and wget beside."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import BOTH, LOADER, PYTHON, Machine, here, need

HERE = Path(__file__).resolve().parent
STATUSES = """
curl -sS -o out http://localhost:8000/big; cmp out big
curl -sSf 'http://[::1]:8000/none' || echo $?
curl -sS http://127.0.0.1:9/ || echo $?
curl -sS -m 0.3 http://127.0.0.1:8001/ || echo $?
curl -sS http://name.invalid/ || echo $?
"""
WGET = """
wget -q -O out http://localhost:8000/big; cmp out big
head -c 1000 big >part; wget -q -c -O part http://127.0.0.1:8000/big || echo $?
wget -q -r -np -nH -R 'index.html*' -P tree http://[::1]:8000/
diff -r tree/sub sub && echo same
wget -q http://127.0.0.1:8000/none || echo $?
wget -q -t 1 http://127.0.0.1:9/ || echo $?
"""


def files(machine: Machine, big: bytes) -> None:
    """What is served, in the directory of the machine."""
    (machine.directory / "big").write_bytes(big)
    sub = machine.directory / "sub"
    sub.mkdir()
    for number in range(20):
        (sub / f"file{number}").write_text(f"number {number}\n")


@BOTH
def test_curl_and_python_http_server(machine: Machine, big: bytes, port: int) -> None:
    """A listener that answers never, one that is not there, a name that is not."""
    need("curl")
    files(machine, big)
    line = [PYTHON, "-m", "http.server", "8000", "--bind", "::"]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:8000"])
    machine.listens(8000)
    silent = machine.serve(
        *(PYTHON, "-c", "import socket, time; s = socket.create_server(('', 8001));"
          "time.sleep(1000)")
    )  # fmt: skip
    machine.listens(8001)
    done = machine.do("bash", "-c", STATUSES)
    assert done.stdout.split() == ["22", "7", "28", "6"], done.stderr
    many = "seq 0 19 | xargs -P 8 -I{} curl -sSf http://localhost:8000/sub/file{}"
    said = machine.sh(many).splitlines()
    assert sorted(said) == sorted(f"number {number}" for number in range(20))
    here("curl", "-sSf", "-o", machine.directory / "h", f"http://127.0.0.1:{port}/big")
    assert (machine.directory / "h").read_bytes() == big
    machine.end(silent, -signal.SIGTERM)
    machine.end(server, 0, signal.SIGINT)


@BOTH
def test_wget(machine: Machine, big: bytes) -> None:
    """A file, the rest of a file, a tree; what is missing, who is not there."""
    need("wget")
    files(machine, big)
    server = machine.serve(PYTHON, "-m", "http.server", "8000", "--bind", "::")
    machine.listens(8000)
    assert machine.sh(WGET).split() == ["same", "8", "4"]
    machine.end(server, 0, signal.SIGINT)


HOST: dict[tuple[str, ...], str] = {}
"""What programs print on the host, once a session."""


def same_as_on_the_host(machine: Machine, status: int, *line: object) -> str:
    """What a program prints that is server and client in one, and how it ends."""
    words = tuple(str(word) for word in line)
    if words not in HOST:
        host = machine.on_host(*words)
        assert (host.returncode, host.stderr) == (status, ""), host.stdout + host.stderr
        HOST[words] = host.stdout
    got = machine.do(*words)
    assert (got.stdout, got.stderr, got.returncode) == (HOST[words], "", status)
    return got.stdout


@BOTH
def test_asyncio(machine: Machine) -> None:
    """Streams, datagrams, child processes, signals and TLS in one loop."""
    need("openssl", "nc")
    here(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj"),
        *("/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        *("-keyout", machine.directory / "key", "-out", machine.directory / "cert"),
    )
    said = same_as_on_the_host(machine, 5, PYTHON, HERE / "loops.py")
    assert said.splitlines()[-1] == "all done"


@BOTH
def test_requests(machine: Machine, big: bytes) -> None:
    """Sessions and threads, files in both directions, what does not answer."""
    assert here(PYTHON, "-c", "import requests; print(1)") == "1\n"
    (machine.directory / "big").write_bytes(big)
    said = same_as_on_the_host(machine, 0, PYTHON, HERE / "asks.py")
    assert said.splitlines()[-1] == "all done"


@BOTH
def test_node(machine: Machine) -> None:
    """http, fetch, a child process; then workers that share a listener."""
    need("node", "curl")
    # Older ones call fetch() an experiment.
    node = ["env", "NODE_NO_WARNINGS=1"]
    said = same_as_on_the_host(machine, 3, *node, "node", HERE / "serves.js")
    assert said.splitlines()[-1] == "all done"
    for policy in ("rr", "none"):
        line = [*node, f"NODE_CLUSTER_SCHED_POLICY={policy}", "node"]
        said = same_as_on_the_host(machine, 0, *line, HERE / "workers.js")
        assert said == "two workers\nSIGTERM\nSIGTERM\n"


@BOTH
def test_java(machine: Machine) -> None:
    """The JDK's HTTP server and client, NIO, interfaces, a child process."""
    need("java", "curl")
    line = ["java", "-XX:TieredStopAtLevel=1", HERE / "Serves.java"]
    said = same_as_on_the_host(machine, 4, *line)
    assert said.splitlines()[-1] == "all done"


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """Builds ``serves.go``, once a session: with cgo it is dynamic."""
    where = tmp_path_factory.mktemp("go")

    def build(cgo: bool) -> Path:
        need("go", "gcc")
        program = where / f"serves{cgo}"
        if not program.exists():
            subprocess.run(
                ["go", "build", "-o", program, HERE / "serves.go"],
                env=os.environ
                | {"CGO_ENABLED": str(int(cgo)), "GO111MODULE": "off", "GOFLAGS": ""},
                check=True,
            )
        where.chmod(0o755)
        return program

    return build


def goes(machine: Machine, program: Path, port: int) -> None:
    """Its server, with its client and curl in the instance, and curl on the host."""
    line = [program, "serve", ":8000"]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:8000"])
    machine.listens(8000)
    said = machine.run(program, "ask", "http://localhost:8000")
    assert said == "300 answers, 3000000 bytes there and back\n"
    assert machine.run("curl", "-sS", "http://[::1]:8000/x") == "hello /x\n"
    assert here("curl", "-sS", f"http://127.0.0.1:{port}/y") == "hello /y\n"
    machine.run(program, "ask", "http://localhost:9", status=1)
    machine.end(server, 6)
    assert "asked 302 times" in machine.said()


@LOADER
def test_go_static(machine: Machine, go: Callable[[bool], Path], port: int) -> None:
    goes(machine, go(False), port)


@BOTH
def test_go_with_cgo(machine: Machine, go: Callable[[bool], Path], port: int) -> None:
    goes(machine, go(True), port)
