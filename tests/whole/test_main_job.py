"""The main job: stock programs on a kernel of their own, from the clone's scripts."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest
from person import User, eventually
from tinytree import ROOT

EXAMPLES = ROOT / "examples"
HELLO = "Hello from a kernel of its own\n"


def get(port: int) -> str:
    """What the published port serves; empty if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


@pytest.fixture
def web(user: User, free_port: int) -> int:
    """nginx as it comes, daemonised, in the instance ``web``; its published port."""
    profile = EXAMPLES / "nginx.yaml"
    # The profile's own port may be somebody else's.
    publish = ["-s", "ports=[]", "-P", f"127.0.0.1:{free_port}:80"]
    user.nginx("-n", "web", "-p", profile, *publish, *user.nginx_words())
    assert eventually(lambda: get(free_port) == HELLO)
    # The first worker serves before nginx has made the second; none may die.
    early = workers(user)
    assert eventually(lambda: len(workers(user)) == 2)
    assert set(early) <= set(workers(user))
    return free_port


def workers(user: User) -> list[int]:
    """The processes of nginx's workers."""
    master = int((user.directory / "nginx.pid").read_text())
    text = Path(f"/proc/{master}/task/{master}/children").read_text()
    return [int(word) for word in text.split()]


def instances(user: User) -> list[dict[str, object]]:
    """What ``ukl ps`` knows."""
    listed = json.loads(user.ukl("ps", "--json"))
    assert isinstance(listed, list)
    return listed


def test_nginx_serves_and_ends(user: User, web: int) -> None:
    (one,) = instances(user)
    assert one["name"] == "web"
    sockets = user.ukl("exec", "web", "ss", "-Htln")
    assert "0.0.0.0:80" in sockets
    # Its socket is the library kernel's: the host has none on that port.
    master = int((user.directory / "nginx.pid").read_text())
    assert master in host_processes()
    user.ukl("stop", "web")
    assert instances(user) == []
    assert get(web) == ""
    assert master not in host_processes()
    assert list(user.runtime.glob("ukl/*")) == []


def host_processes() -> set[int]:
    """All processes of the host that have not ended."""
    found = set()
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                state = (one / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state not in "ZX":
                found.add(int(one.name))
    return found


def test_a_killed_worker_is_replaced(user: User, web: int) -> None:
    before = workers(user)
    # Inside the kernel a kill from outside ends the instance (doc/limits.md); a
    # worker that waits is not there.
    time.sleep(0.3)
    os.kill(before[0], signal.SIGKILL)
    assert eventually(
        lambda: len(workers(user)) == 2 and before[0] not in workers(user)
    )
    assert get(web) == HELLO


def test_reload_and_quit(user: User, web: int) -> None:
    before = workers(user)
    user.ukl("exec", "web", *user.nginx_words(), "-s", "reload")
    assert eventually(
        lambda: len(workers(user)) == 2 and not set(before) & set(workers(user))
    )
    assert get(web) == HELLO
    user.ukl("exec", "web", *user.nginx_words(), "-s", "quit")
    assert eventually(lambda: instances(user) == [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_signals_end_nginx_with_its_own_status(
    user: User, free_port: int, number: signal.Signals
) -> None:
    (user.directory / "logs").mkdir()
    words = [*user.nginx_words(), "-g", "daemon off;"]
    publish = f"127.0.0.1:{free_port}:80"
    process = user.start("-n", "fore", "-P", publish, *words)
    assert eventually(lambda: get(free_port) == HELLO)
    process.send_signal(number)
    assert process.wait(20) == 0
    assert eventually(lambda: instances(user) == [])
    assert list(user.runtime.glob("ukl/*")) == []


def test_many_requests(user: User, web: int) -> None:
    """Keep-alive from inside the instance, and a connection each from the host."""
    said = user.ukl(
        *("exec", "web", "wrk", "-t", "2", "-c", "64", "-d", "3", "http://127.0.0.1/")
    )
    assert "Socket errors" not in said, said
    assert "Non-2xx" not in said, said
    found = re.search(r"(\d+) requests in", said)
    assert found is not None
    assert int(found[1]) > 5000
    for _ in range(200):
        assert get(web) == HELLO


def test_a_missing_command_is_installed(user: User, tmp_path: Path) -> None:
    """The profile says by which package; apt-get is the test's own."""
    tools = tmp_path / "tools"
    tools.mkdir()
    apt = tools / "apt-get"
    apt.write_text(
        f'#!/bin/sh\necho "$@" >{tmp_path}/said\nln -s /bin/echo {tools}/mine\n'
    )
    apt.chmod(0o755)
    # For those who are not root.
    (tools / "sudo").write_text('#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n')
    (tools / "sudo").chmod(0o755)
    user.extra["PATH"] = f"{tools}:{os.environ['PATH']}"
    done = user.do("ukl-run", "-s", "packages={mine: mine-tools}", "mine", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    said = (tmp_path / "said").read_text()
    assert said == "install -y --no-install-recommends mine-tools\n"
    assert done.stderr == f"ukl: running apt-get {said}"


# -- out of the instance ---------------------------------------------------------


@pytest.fixture
def tls_server(tmp_path: Path) -> Generator[tuple[int, Path, Path], None, None]:
    """An HTTPS server on the host's loopback: port, certificate, what it serves."""
    content = tmp_path / "content"
    content.mkdir()
    (content / "big").write_bytes(os.urandom(1 << 20) * 64)
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-subj", "/CN=host.internal", "-days", "2"),
            *("-addext", "subjectAltName=DNS:host.internal"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(content))  # type: ignore[arg-type]

        def do_PUT(self) -> None:
            digest = hashlib.sha256()
            left = int(self.headers["Content-Length"])
            while left:
                part = self.rfile.read(min(left, 1 << 20))
                if not part:
                    break
                digest.update(part)
                left -= len(part)
            answer = digest.hexdigest().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, certificate, content
    server.shutdown()
    thread.join()
    server.server_close()


def test_curl_over_tls(user: User, tls_server: tuple[int, Path, Path]) -> None:
    """By name, through the profile's hosts: 64 MiB in and out, with checksums."""
    port, certificate, content = tls_server
    url = f"https://host.internal:{port}"
    curl = ["-p", EXAMPLES / "curl.yaml", "curl", "-sS", "--cacert", certificate]
    user.run(*curl, "-o", user.directory / "copy", f"{url}/big")
    wanted = hashlib.sha256((content / "big").read_bytes()).hexdigest()
    assert hashlib.sha256((user.directory / "copy").read_bytes()).hexdigest() == wanted
    assert user.run(*curl, "-T", user.directory / "copy", f"{url}/big") == wanted


def test_a_port_that_nobody_has_is_refused(user: User, free_port: int) -> None:
    done = user.do("ukl-run", "curl", "-sS", f"http://10.0.2.2:{free_port}/")
    assert done.returncode == 7, done.stderr


def test_ping_the_gateway(user: User) -> None:
    said = user.run("ping", "-c", "2", "-i", "0.2", "10.0.2.2")
    assert " 0% packet loss" in said


# -- what the host does not give -------------------------------------------------


def test_bbr(user: User) -> None:
    script = (
        'python3 -c \'import socket; s = socket.create_server(("127.0.0.1", 7)); '
        'c = socket.create_connection(("127.0.0.1", 7)); import subprocess; '
        'print(subprocess.check_output(["ss", "-tin"], text=True))\''
    )
    said = user.run("-p", EXAMPLES / "bbr.yaml", "sh", "-c", script)
    assert " bbr " in said


def test_two_nodes(user: User) -> None:
    """A wire with 50 ms and 1 % loss, from the profiles."""
    server = user.start(
        *("-n", "a", "-p", EXAMPLES / "two-nodes-a.yaml"),
        *("python3", "-m", "http.server", "80", "--directory", EXAMPLES),
    )
    assert eventually(lambda: [one["name"] for one in instances(user)] == ["a"])
    b = ["-p", EXAMPLES / "two-nodes-b.yaml"]
    said = user.run(*b, "ping", "-c", "10", "-i", "0.2", "node-a")
    found = re.search(r"= ([\d.]+)/([\d.]+)/", said)
    assert found is not None, said
    # The first may wait for the address to be resolved.
    assert 50 <= float(found[1]) < 60
    page = user.run(
        *b,
        *["curl", "-sS", "--retry", "3", "--retry-all-errors", "-m", "20"],
        "http://10.88.0.1/bbr.yaml",
    )
    assert page == (EXAMPLES / "bbr.yaml").read_text()
    server.terminate()
    assert server.wait(20) == -signal.SIGTERM
