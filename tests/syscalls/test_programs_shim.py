"""Unmodified programs in an instance, with traffic between them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from inside import Inside, need

from hijack.instance import Instance

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(params=["preload", "loader"])
def inside(inside: Inside, request: pytest.FixtureRequest) -> Inside:
    """An instance whose programs come by one of the doors."""
    return Inside(inside.instance, inside.shim, loader=request.param == "loader")


@pytest.fixture
def start(inside: Inside, tmp_path: Path) -> Generator[Start, None, None]:
    """Starts servers in the instance; what still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def run(*line: object) -> subprocess.Popen[bytes]:
        process = inside.start(*line, log=tmp_path / f"log{len(running)}")
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def until(what: Callable[[], bool], seconds: float = 10) -> None:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def listens(inside: Inside, port: int) -> Callable[[], bool]:
    """Whether the instance has a listener on a TCP port: so says ss."""
    return lambda: f":{port} " in inside.run("ss", "-Hltn").stdout


def test_the_host_sees_none_of_it(inside: Inside, start: Start) -> None:
    need("ss", "python3", "curl")
    start("/usr/bin/python3", "-m", "http.server", "18999")
    until(listens(inside, 18999))
    host = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True)
    assert ":18999 " not in host.stdout


def test_ls_and_find_are_as_on_the_host(inside: Inside) -> None:
    for line in (["ls", "-laR", "/usr/share/doc"], ["find", "/usr/include"]):
        plain = subprocess.run(line, capture_output=True, text=True, check=True)
        assert inside.run(*line).stdout == plain.stdout


def test_shell_pipelines(inside: Inside) -> None:
    script = (
        "echo a b c | tr ' ' '\\n' | sort -r | head -2; x=$(echo in); echo $x;"
        "(exit 3); echo $?; sleep 0.05 & wait; echo $?; cat <<E | wc -l\n1\n2\nE\n"
        "trap 'echo usr1' USR1; kill -USR1 $$; kill -9 $(sleep 9 >&- & echo $!);"
        "echo end; diff <(echo 1) <(echo 2)"
    )
    expected = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False
    )
    got = inside.run("bash", "-c", script)
    assert got.stdout == expected.stdout
    assert got.returncode == expected.returncode


def test_python_serves_and_curl_gets(
    inside: Inside, start: Start, tmp_path: Path
) -> None:
    need("curl")
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    start("/usr/bin/python3", "-m", "http.server", "8000", "-d", tmp_path)
    until(listens(inside, 8000))
    for host in ("127.0.0.1", "localhost"):
        out = tmp_path / "out"
        url = f"http://{host}:8000/data"
        got = inside.run("curl", "-sS", "-4", "-o", out, url)
        assert got.returncode == 0, got.stderr
        assert out.read_bytes() == data


NGINX = """
worker_processes 2; daemon off; pid {dir}/pid; error_log {dir}/error.log notice;
events {{ worker_connections 512; }}
http {{ access_log off; sendfile on; root {dir}/www;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
  uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  server {{ listen 80; listen [::]:80; }} }}
"""


def children(pid: int) -> set[int]:
    """Child processes of ``pid``."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(word) for word in text.split()}


def test_nginx_with_two_workers(inside: Inside, start: Start, tmp_path: Path) -> None:
    need("nginx", "curl")
    directory = Path(os.path.realpath(tmp_path))
    for parent in (directory, *directory.parents[:2]):
        parent.chmod(0o755)
    www = directory / "www"
    www.mkdir()
    data = os.urandom(2_000_000)
    (www / "big").write_bytes(data)
    (www / "index.html").write_text("it works\n")
    conf = directory / "nginx.conf"
    conf.write_text(NGINX.format(dir=directory))
    master = start("nginx", "-c", conf)
    until(listens(inside, 80))
    until(lambda: len(children(master.pid)) == 2)

    def get(path: str, host: str = "127.0.0.1") -> bytes:
        out = directory / "out"
        url = f"http://{host}/{path}"
        got = inside.run("curl", "-sS", "-g", "--fail", "-o", out, url)
        assert got.returncode == 0, got.stderr
        return out.read_bytes()

    assert get("") == b"it works\n"
    assert hashlib.sha256(get("big")).digest() == hashlib.sha256(data).digest()
    assert get("", "[::1]") == b"it works\n"

    # A worker that is killed is replaced, and the service goes on.
    before = children(master.pid)
    killed = inside.run("bash", "-c", f"kill -9 {min(before)}")
    assert killed.returncode == 0, killed.stderr
    until(lambda: len(children(master.pid) - {min(before)}) == 2)
    assert get("") == b"it works\n"

    # New workers for a new configuration.
    old = children(master.pid)
    assert inside.run("nginx", "-c", conf, "-s", "reload").returncode == 0
    until(lambda: len(children(master.pid)) == 2 and not children(master.pid) & old)
    assert get("") == b"it works\n"

    assert inside.run("nginx", "-c", conf, "-s", "quit").returncode == 0
    assert master.wait(10) == 0
    assert inside.instance.running


def test_redis_with_bgsave(inside: Inside, start: Start, tmp_path: Path) -> None:
    need("redis-server", "redis-cli", "redis-benchmark")
    start("redis-server", "--dir", tmp_path, "--save", "")
    until(listens(inside, 6379))

    def cli(*words: str) -> str:
        return inside.run("redis-cli", *words).stdout.strip()

    assert cli("set", "key", "value") == "OK"
    saved = cli("lastsave")
    assert "started" in cli("bgsave")
    load = inside.run("redis-benchmark", "-n", 20000, "-q", "-t", "set,get")
    assert len(re.findall(r"requests per second", load.stdout)) == 2, load.stdout
    until(lambda: "rdb_bgsave_in_progress:0" in cli("info", "persistence"))
    assert "rdb_last_bgsave_status:ok" in cli("info", "persistence")
    assert cli("get", "key") == "value"
    assert int(saved) > 0
    assert (tmp_path / "dump.rdb").stat().st_size > 50


SSHD = """
Port 22
HostKey {dir}/key
AuthorizedKeysFile {dir}/authorized_keys
StrictModes no
PidFile none
UsePAM no
Subsystem sftp internal-sftp
"""


def test_sshd(inside: Inside, start: Start, tmp_path: Path) -> None:
    """It confines itself with seccomp, changes users, and has terminals."""
    need("sshd", "ssh", "sftp", "ssh-keygen")
    if os.geteuid():
        pytest.skip("only root can change into sshd's user")
    Path("/run/sshd").mkdir(exist_ok=True)
    key = tmp_path / "key"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True)
    key.with_suffix(".pub").rename(tmp_path / "authorized_keys")
    conf = tmp_path / "sshd_config"
    conf.write_text(SSHD.format(dir=tmp_path))
    start(shutil.which("sshd"), "-D", "-e", "-f", conf)
    until(listens(inside, 22))
    inside.run("ip", "link", "add", "inside0", "type", "dummy")
    options = ["-i", str(key), "-o", "StrictHostKeyChecking=no"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    target = "root@127.0.0.1"
    got = inside.run("ssh", *options, target, "ip -o link show inside0; exit 3")
    assert ": inside0:" in got.stdout, got.stderr
    assert got.returncode == 3
    got = inside.run("ssh", "-tt", *options, target, "tty; echo $SSH_CLIENT")
    assert got.stdout.startswith("/dev/pts/"), got.stderr
    assert "127.0.0.1" in got.stdout
    data = tmp_path / "data"
    data.write_bytes(os.urandom(1_000_000))
    line = ["sftp", "-q", "-b", "-", *options, target]
    got = inside.run(*line, given=f"get {data} {tmp_path}/got\n")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "got").read_bytes() == data.read_bytes()


def test_iperf3(inside: Inside, start: Start) -> None:
    need("iperf3")
    start("iperf3", "-s")
    until(listens(inside, 5201))
    for extra in ([], ["-R", "-P", "4"], ["-u", "-b", "100M"]):
        got = inside.run("iperf3", "-c", "127.0.0.1", "-t", "1", *extra)
        assert got.returncode == 0, got.stdout + got.stderr


def test_the_administrators_tools(inside: Inside, start: Start) -> None:
    need("ip", "ss", "tc", "nft", "ethtool", "sysctl", "tcpdump", "ping")

    def good(*line: str) -> str:
        got = inside.run(*line)
        assert got.returncode == 0, f"{line}: {got.stdout}{got.stderr}"
        return got.stdout

    good("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    good("ip", "addr", "add", "192.0.2.1/24", "dev", "veth0")
    good("ip", "link", "set", "veth0", "up")
    assert "192.0.2.1/24" in good("ip", "-4", "addr", "show", "dev", "veth0")
    assert "192.0.2.0/24" in good("ip", "route")
    good("sysctl", "-w", "net.ipv4.ip_forward=1")
    assert good("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
    good("nft", "add", "table", "inet", "filter")
    assert "table inet filter" in good("nft", "list", "ruleset")
    good("tc", "qdisc", "add", "dev", "veth0", "root", "netem", "delay", "1ms")
    assert "netem" in good("tc", "qdisc", "show", "dev", "veth0")
    assert "driver: veth" in good("ethtool", "-i", "veth0")
    capture = start("tcpdump", "-lc", "2", "-ni", "lo", "icmp")
    time.sleep(0.5)
    assert " 0% packet loss" in good("ping", "-c", "2", "-i", "0.2", "127.0.0.1")
    assert capture.wait(10) == 0


def test_a_network_namespace_of_its_own(inside: Inside) -> None:
    need("unshare", "ip")
    script = "ip link add d0 type dummy; unshare -n ip -o link; ip -o link show d0"
    got = inside.run("sh", "-c", script)
    names = re.findall(r"^\d+: (\w+)", got.stdout, re.M)
    assert names == ["lo", "d0"], got.stdout + got.stderr


def test_exec_by_another_user(inside: Inside) -> None:
    """Whether or not that user may read the shim's path, it stays in the instance."""
    need("setpriv", "ip")
    if os.geteuid():
        pytest.skip("only root can become another user")
    line = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    inside.run("ip", "link", "add", "d0", "type", "dummy")
    got = inside.run(*line, "sh", "-c", "id -u; ip -o link show d0; ip link del d0")
    assert got.stdout.startswith("65534\n"), got.stderr
    assert ": d0:" in got.stdout, got.stderr
    assert "d0" not in inside.run("ip", "link").stdout


def test_the_end_of_the_instance_ends_its_programs(
    inside: Inside, tmp_path: Path, shim: Path
) -> None:
    directory = tmp_path / "other"
    with Instance.boot(directory=directory, name="other", keep=True) as other:
        log = tmp_path / "log"
        waits = "import socket; socket.create_server(('', 80)).accept()"
        process = Inside(other, shim).start("/usr/bin/python3", "-c", waits, log=log)
        until(listens(Inside(other, shim), 80))
        other.stop()
        # The kernel host asks, or the next call finds nobody there.
        assert process.wait(10) in (125, -signal.SIGTERM, -signal.SIGKILL)


def test_without_an_instance_nothing_runs(inside: Inside, tmp_path: Path) -> None:
    got = inside.run("echo", "no", extra={"UKL_INSTANCE": str(tmp_path / "none")})
    assert (got.returncode, got.stdout) == (125, "")
    where = tmp_path / "none"
    assert got.stderr == (
        f"ukl: cannot attach to the instance in {where}: nobody is there\n"
    )
