"""The administrators' tools, in an instance that runs, by `ukl exec`."""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from person import User, eventually
from tinytree import ROOT

GATEWAY = {4: "10.0.2.2", 6: "fd00:7e57:10::2"}


class Greeter(socketserver.BaseRequestHandler):
    """Says a word to whoever connects."""

    def handle(self) -> None:
        """Send it."""
        self.request.sendall(b"from the host")


@pytest.fixture
def box(user: User) -> User:
    """A user whose instance ``box`` runs, with the default network."""
    user.start("-n", "box", "sleep", "1000")
    assert eventually(lambda: "box" in user.ukl("ps"), 30)
    return user


def test_ping_the_gateway_by_both_families(user: User) -> None:
    for version, address in GATEWAY.items():
        said = user.run("ping", f"-{version}", "-c", "3", "-i", "0.2", address)
        assert "3 packets transmitted, 3 received, 0% packet loss" in said


# -- iperf3 ------------------------------------------------------------------------


@pytest.fixture
def iperf(free_port: int) -> Generator[int, None, None]:
    """An iperf3 server on the host's loopback; its port."""
    process = subprocess.Popen(
        ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(free_port), "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any("listening" in process.stdout.readline() for _ in range(3))
    yield free_port
    process.terminate()
    process.communicate()


@pytest.mark.parametrize(
    "extra",
    [[], ["-R"], ["-P", "8"], ["-P", "8", "-R"]],
    ids=["out", "in", "out-8", "in-8"],
)
def test_iperf3(user: User, iperf: int, extra: list[str]) -> None:
    """TCP in both directions: what one side sent, the other has."""
    end = json.loads(
        user.run("iperf3", "-c", GATEWAY[4], "-p", iperf, "-t", "2", "-J", *extra)
    )["end"]
    sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
    assert len(end["streams"]) == (8 if "-P" in extra else 1)
    # What is under way at the end is not counted by the receiver.
    assert 10_000_000 < received <= sent * 1.05
    assert received > sent * 0.8


@pytest.mark.parametrize("extra", [[], ["-R"]], ids=["out", "in"])
def test_iperf3_by_udp_loses_nothing(user: User, iperf: int, extra: list[str]) -> None:
    line = ["-c", GATEWAY[4], "-p", iperf, "-t", "2", "-u", "-b", "5M", "-l", "1000"]
    end = json.loads(user.run("iperf3", *line, "-J", *extra))["end"]
    assert end["sum"]["packets"] > 1000
    assert end["sum"]["lost_packets"] == 0


def test_iperf3_from_the_host(user: User, free_port: int) -> None:
    """A server in the instance, published for TCP and UDP."""
    ports = [f"-P127.0.0.1:{free_port}:5201{kind}" for kind in ("/tcp", "/udp")]
    user.start(*ports, "iperf3", "-s")

    def once(*extra: str) -> Any:
        done = subprocess.run(
            ["iperf3", "-c", "127.0.0.1", "-p", str(free_port), "-t1", "-J", *extra],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return json.loads(done.stdout)

    def client(*extra: str) -> Any:
        # The server is busy with the end of the last client's test for a moment.
        end = time.monotonic() + 30
        while "error" in (said := once(*extra)):
            assert time.monotonic() < end, said["error"]
            time.sleep(0.1)
        return said

    for extra in ([], ["-R"], ["-P", "8"]):
        assert client(*extra)["end"]["sum_received"]["bytes"] > 5_000_000
    summed = client("-u", "-b", "5M", "-l", "1000")["end"]["sum"]
    assert summed["packets"] > 500
    assert summed["lost_packets"] == 0


# -- looking and setting -------------------------------------------------------------


def test_ethtool(box: User) -> None:
    said = box.ukl("exec", "box", "ethtool", "-i", "eth0")
    fields = dict(line.split(":", 1) for line in said.splitlines())
    assert fields["driver"].strip() == "ukl"
    assert fields["version"].strip().startswith("6.12")
    assert fields["bus-info"].strip() == "user-0"
    said = box.ukl("exec", "box", "ethtool", "eth0")
    for line in ("Speed: 10000Mb/s", "Duplex: Full", "Link detected: yes"):
        assert line in said
    said = box.ukl("exec", "box", "ethtool", "-k", "eth0")
    for name in ("tx-checksumming", "scatter-gather", "tcp-segmentation-offload"):
        assert f"{name}: on" in said
    # A switch that is turned is off, and the traffic goes on.
    box.ukl("exec", "box", "ethtool", "-K", "eth0", "tso", "off")
    said = box.ukl("exec", "box", "ethtool", "-k", "eth0")
    assert "tcp-segmentation-offload: off" in said

    def counts() -> dict[str, int]:
        said = box.ukl("exec", "box", "ethtool", "-S", "eth0")
        found = re.findall(r"^ +(\w+): (\d+)$", said, re.M)
        return {name: int(value) for name, value in found}

    before = counts()
    assert set(before) == {
        "rx_polls",
        "rx_large_frames",
        "tx_large_frames",
        "tx_held",
        "tx_queued",
    }
    box.ukl("exec", "box", "ping", "-c", "2", "-i", "0.2", GATEWAY[4])
    assert counts()["rx_polls"] >= before["rx_polls"] + 2


def test_ip(box: User) -> None:
    box.ukl("exec", "box", "ping", "-c", "1", GATEWAY[4])
    said = box.ukl("exec", "box", "ip", "-s", "-j", "link", "show", "eth0")
    (link,) = json.loads(said)
    assert link["operstate"] in ("UP", "UNKNOWN")
    assert link["stats64"]["rx"]["packets"] > 0
    assert link["stats64"]["tx"]["packets"] > 0
    said = box.ukl("exec", "box", "ip", "route", "get", "192.0.2.1")
    assert said.startswith("192.0.2.1 via 10.0.2.2 dev eth0 src 10.0.2.15")
    said = box.ukl("exec", "box", "ip", "-6", "route", "get", "2001:db8::1")
    assert "via fd00:7e57:10::2 dev eth0" in said
    said = box.ukl("exec", "box", "ip", "neigh")
    assert re.search(r"^10\.0\.2\.2 dev eth0 lladdr [0-9a-f:]{17} ", said, re.M)
    box.ukl("exec", "box", "ip", "link", "set", "eth0", "mtu", "1400")
    assert "mtu 1400" in box.ukl("exec", "box", "ip", "link", "show", "eth0")


def test_a_network_of_namespaces(box: User) -> None:
    """Made by some processes, used by others: a router, and a host behind it."""

    def ip(*words: str) -> str:
        return box.ukl("exec", "box", "ip", *words)

    before = {path.name for path in Path("/run").iterdir()}
    ip("netns", "add", "inner")
    ip("link", "add", "out", "type", "veth", "peer", "name", "in", "netns", "inner")
    ip("addr", "add", "192.0.2.1/24", "dev", "out")
    ip("link", "set", "out", "up")
    ip("-n", "inner", "addr", "add", "192.0.2.2/24", "dev", "in")
    ip("-n", "inner", "link", "set", "in", "up")
    ip("-n", "inner", "route", "add", "default", "via", "192.0.2.1")
    box.ukl("exec", "box", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    rules = "table ip n { chain c { type nat hook postrouting priority 100;"
    rules += " oifname eth0 masquerade; }; }"
    box.ukl("exec", "box", "nft", rules)
    assert ip("netns", "list").split() == ["inner", "(id:", "0)"]
    inner = ("exec", "box", "ip", "netns", "exec", "inner")
    assert " 0% packet loss" in box.ukl(*inner, "ping", "-c", "2", GATEWAY[4])
    with socketserver.TCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert box.ukl(*inner, "nc", "-d", GATEWAY[4], str(port)) == "from the host"
        server.shutdown()
    # Nobody else has it: not another instance, not the host.
    assert box.run("ip", "netns", "list") == ""
    assert {path.name for path in Path("/run").iterdir()} == before
    process = box.start_ukl(*inner, "sleep", "100")
    assert eventually(lambda: ip("netns", "pids", "inner") != "")
    pid = ip("netns", "pids", "inner").strip()
    assert ip("netns", "identify", pid) == "inner\n"
    said = box.ukl("exec", "box", "nsenter", "-n", "-t", pid, "ip", "-br", "addr")
    assert "192.0.2.2/24" in said
    process.terminate()
    process.wait()
    ip("netns", "delete", "inner")
    assert eventually(lambda: "out" not in ip("-br", "link"))


def test_sysctl(box: User) -> None:
    """All of net is the instance's; a file that cannot be read is no error."""
    done = box.do("ukl", "exec", "box", "sysctl", "-a")
    names = {line.partition(" = ")[0] for line in done.stdout.splitlines()}
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.eth0.mtu", "kernel.ostype"):
        assert name in names, done.stderr
    assert not [name for name in names if name.startswith("net.ipv4.conf.ens")]
    box.ukl("exec", "box", "sysctl", "-qw", "net.ipv4.ip_local_port_range=5000 6000")
    said = box.ukl("exec", "box", "sysctl", "-n", "net.ipv4.ip_local_port_range")
    assert said.split() == ["5000", "6000"]
    done = box.do("ukl", "exec", "box", "sysctl", "-w", "net.ipv4.no_such=1")
    assert done.returncode != 0


def test_tc(box: User) -> None:
    """Added, shown, used, and deleted: a discipline, its classes and a filter."""

    def tc(*words: str) -> str:
        return box.ukl("exec", "box", "tc", *words)

    eth0 = ("dev", "eth0")
    tc("qdisc", "add", *eth0, "root", "handle", "1:", "htb", "default", "10")
    for minor, rate in (("10", "800mbit"), ("20", "1mbit")):
        words = ("parent", "1:", "classid", f"1:{minor}", "htb", "rate", rate)
        tc("class", "add", *eth0, *words)
    to = ("match", "ip", "dst", "10.0.2.3/32", "flowid", "1:20")
    ours = ("parent", "1:", "protocol", "ip", "prio", "1")
    tc("filter", "add", *eth0, *ours, "u32", *to)
    assert "qdisc htb 1: root" in tc("qdisc", "show", *eth0)
    shown = tc("class", "show", *eth0)
    assert "class htb 1:10" in shown
    assert "rate 1Mbit" in shown
    assert "flowid 1:20" in tc("filter", "show", *eth0)
    box.ukl("exec", "box", "ping", "-c", "1", GATEWAY[4])
    box.do("ukl", "exec", "box", "ping", "-c", "1", "-W", "1", "10.0.2.3")
    counted = tc("-s", "class", "show", *eth0)
    found = re.findall(r"class htb (1:\d+) .*\n Sent \d+ bytes (\d+) pkt", counted)
    packets = {name: int(number) for name, number in found}
    assert packets["1:10"] > 0
    assert packets["1:20"] > 0
    tc("filter", "del", *eth0, "parent", "1:", "prio", "1")
    assert tc("filter", "show", *eth0) == ""
    tc("class", "del", *eth0, "classid", "1:20")
    assert "1:20" not in tc("class", "show", *eth0)
    tc("qdisc", "del", *eth0, "root")
    assert "htb" not in tc("qdisc", "show", *eth0)


RULESET = """\
table inet t {
  set friends { type ipv4_addr; elements = { 10.0.2.2 } }
  chain out {
    type filter hook output priority 0; policy accept;
    ip daddr @friends icmp type echo-request counter name pings
    ip daddr 10.0.2.3 counter reject with icmp type admin-prohibited
  }
  counter pings { }
}
"""


def test_nft(box: User, tmp_path: Path) -> None:
    rules = tmp_path / "rules.nft"
    rules.write_text(RULESET)
    box.ukl("exec", "box", "nft", "-f", rules)
    box.ukl("exec", "box", "ping", "-c", "3", "-i", "0.2", GATEWAY[4])
    refused = box.do("ukl", "exec", "box", "ping", "-c", "1", "-W", "1", "10.0.2.3")
    assert refused.returncode != 0
    listed = json.loads(box.ukl("exec", "box", "nft", "-j", "list", "counters"))
    (counter,) = [one["counter"] for one in listed["nftables"] if "counter" in one]
    assert (counter["name"], counter["packets"]) == ("pings", 3)
    assert "admin-prohibited" in box.ukl("exec", "box", "nft", "list", "ruleset")
    box.ukl("exec", "box", "nft", "flush", "ruleset")
    assert box.ukl("exec", "box", "nft", "list", "ruleset") == ""


LONG_RULES = """\
table inet t {
  chain in {
    type filter hook input priority 0
    ct state invalid counter name wrong drop
  }
  chain out {
    type filter hook output priority 0
    meta length > 100000 counter name long
  }
  counter wrong { }
  counter long { }
}
"""
TO_ITSELF = """
import hashlib, os, socket, threading
data = os.urandom(1 << 20) * 32
for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    listener = socket.create_server((address, 0), family=family)
    heard = hashlib.sha256()
    def read():
        with listener.accept()[0] as peer:
            while piece := peer.recv(1 << 18):
                heard.update(piece)
    reader = threading.Thread(target=read)
    reader.start()
    with socket.create_connection(listener.getsockname()[:2]) as s:
        s.sendall(data)
    reader.join()
    assert heard.digest() == hashlib.sha256(data).digest(), address
"""


@pytest.mark.parametrize(
    "qdisc", [None, "netem delay 1ms", "fq", "tbf rate 4gbit burst 1m latency 50ms"]
)
def test_long_packets(box: User, tmp_path: Path, qdisc: str | None) -> None:
    """On a loopback interface they are four times Linux's; all else takes them."""
    rules = tmp_path / "rules.nft"
    rules.write_text(LONG_RULES)
    box.ukl("exec", "box", "nft", "-f", rules)
    if qdisc:
        words = qdisc.split()
        box.ukl("exec", "box", "tc", "qdisc", "add", "dev", "lo", "root", *words)
    box.ukl("exec", "box", "python3", "-c", TO_ITSELF)
    listed = json.loads(box.ukl("exec", "box", "nft", "-j", "list", "counters"))
    counters = [one["counter"] for one in listed["nftables"] if "counter" in one]
    packets = {one["name"]: one["packets"] for one in counters}
    assert packets["wrong"] == 0
    assert packets["long"] > 50


def test_tcpdump(box: User) -> None:
    """It sees what another program of the instance sends, and both directions."""
    environment = box.environment()
    line = ["exec", "box", "tcpdump", "-nlc", "4", "-i", "eth0", "icmp"]
    with subprocess.Popen(
        [ROOT / "ukl", *line],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as dump:
        assert dump.stderr is not None
        said = ""
        while "listening on" not in said:
            said += dump.stderr.readline()
            assert dump.poll() is None, said
        box.ukl("exec", "box", "ping", "-c", "2", "-i", "0.2", GATEWAY[4])
        out, rest = dump.communicate(timeout=20)
    assert dump.returncode == 0
    assert out.count("> 10.0.2.2: ICMP echo request") == 2
    assert out.count("10.0.2.2 > 10.0.2.15: ICMP echo reply") == 2
    assert "0 packets dropped by kernel" in rest


def test_ss_shows_bbr(user: User) -> None:
    """bbr.yaml's words hold for connections through the user backend, too."""
    script = (
        "exec 3<>/dev/tcp/10.0.2.2/$0; ss -tin dst 10.0.2.2;"
        "sysctl -n net.core.rmem_max; tc qdisc show dev eth0"
    )
    with subprocess.Popen(
        ["python3", "-c", "import socket as s; l = s.create_server(('127.0.0.1', 0));"
         "print(l.getsockname()[1], flush=True); l.accept(); l.accept()"],
        stdout=subprocess.PIPE,
        text=True,
    ) as listener:  # fmt: skip
        assert listener.stdout is not None
        port = listener.stdout.readline().strip()
        profile = ROOT / "examples" / "bbr.yaml"
        said = user.run("-p", profile, "bash", "-c", script, port)
        listener.kill()
    assert " bbr " in said
    assert "67108864" in said
    assert "qdisc fq " in said
