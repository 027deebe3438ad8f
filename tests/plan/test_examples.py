"""The examples: each is right, and does what its first line says."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tinytree import ROOT

from hijack import plan, profile
from hijack.instance import Attachment, Instance
from hijack.plan import format as fmt

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
NAMES = {path.name for path in EXAMPLES}


def test_they_are_there() -> None:
    assert {
        "bbr.yaml",
        "curl.yaml",
        "dhcp.yaml",
        "netem.yaml",
        "nginx.yaml",
        "tap.yaml",
        "two-nodes-a.yaml",
        "two-nodes-b.yaml",
        "wireguard.yaml",
    } == NAMES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_right(path: Path) -> None:
    text = path.read_text()
    assert f"examples/{path.name}" in text
    made = plan.build(profile.load([path]))
    assert len(fmt.decode(made.data)) > 3
    assert len(made.devices) == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_its_plan_is_taken(path: Path, look: Any) -> None:
    """Everything but the way out: the library kernel takes the whole plan."""
    overrides = ["network.ethernets.eth0.backend=none", "ports=[]"]
    if path.stem == "dhcp":
        # Its server is in tests/launcher/test_dhcp_whole.py.
        overrides.append("network.ethernets.eth0.dhcp4=false")
    if path.stem == "curl":
        overrides.append("extra_hosts.'host.internal'=10.0.2.2")
    view = look(path, *overrides)
    assert "eth0" in view.read("/proc/net/dev")
    if path.stem == "bbr":
        assert view.sysctl("net/ipv4/tcp_congestion_control") == "bbr"
        assert view.sysctl("net/core/rmem_max") == "67108864"
    if path.stem == "nginx":
        assert view.sysctl("net/core/somaxconn") == "16384"
    if path.stem == "wireguard":
        assert "wg0" in view.read("/proc/net/dev")
    if path.stem == "tap":
        assert "0101" not in view.read("/proc/net/arp")
        assert "eth0\t00000000\t01004D0A" in view.read("/proc/net/route")


def attempts(seconds: float) -> Iterator[float]:
    """Times until the patience ends."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        yield now


def test_two_nodes(runtime: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The two find each other on their wire, by the way of the delay of both.

    One process can be attached to one of them only, so the other answers pings,
    which its kernel does by itself.
    """
    monkeypatch.chdir(tmp_path)
    nodes = [
        Instance.boot(
            plan=plan.build(profile.load([ROOT / "examples" / f"two-nodes-{x}.yaml"])),
            directory=tmp_path / x,
            keep=True,
        )
        for x in "ab"
    ]
    try:
        with nodes[0].attach() as attached:
            times = [ping(attached, "10.88.0.2", number) for number in range(1, 9)]
    finally:
        for node in nodes:
            node.stop()
    answered = [one for one in times if one is not None]
    # A hundredth is lost on each way; the first waits for ARP both ways, too.
    assert len(answered) >= 5, times
    assert 0.049 <= min(answered) < 0.075, times
    assert list((runtime / "ukl" / ".wires").iterdir()) == []


def ping(attached: Attachment, to: str, number: int) -> float | None:
    """The round trip of one echo request, in seconds; None if it is lost."""
    call = attached.syscall
    end = call(41, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    patience = struct.pack("=qq", 1, 0)
    call(54, end, socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience, len(patience))
    body = struct.pack("!BBHHH", 8, 0, 0, 7, number)
    total = sum(struct.unpack("!4H", body))
    body = body[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + body[4:]
    address = struct.pack("=H", socket.AF_INET) + bytes(2) + socket.inet_aton(to)
    address += bytes(8)
    sent = time.monotonic()
    try:
        call(44, end, body, len(body), 0, address, len(address))
        for now in attempts(2):
            buffer = bytearray(256)
            count = call(45, end, buffer, len(buffer), 0, 0, 0)
            reply = buffer[20:count]
            if reply[:1] == b"\0" and reply[4:8] == body[4:8]:
                return time.monotonic() - sent
            assert now
    except BlockingIOError:
        return None
    finally:
        call(3, end)
    return None


IN_A_NAMESPACE = """\
import subprocess, sys
from hijack import plan, profile
from hijack.instance import Instance

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for line in sys.argv[2:]:
    subprocess.run(line.split(), check=True)
made = plan.build(profile.load([sys.argv[1]]))
with Instance.boot(plan=made, keep=True):
    ping = ["ping", "-q", "-c", "20", "-i", "0.01", "-W", "1", "10.77.0.2"]
    print(subprocess.run(ping, capture_output=True, text=True).stdout)
"""


def test_tap_as_its_words_say(runtime: Path, tmp_path: Path) -> None:
    """The commands in the example make the device, and the host reaches it."""
    path = ROOT / "examples" / "tap.yaml"
    commands = [
        line.removeprefix("#").strip().replace("$USER", "root")
        for line in path.read_text().splitlines()
        if line.startswith("#     ip ")
    ]
    assert len(commands) == 3
    script = tmp_path / "script.py"
    script.write_text(IN_A_NAMESPACE)
    done = subprocess.run(
        ["unshare", "-n", sys.executable, script, path, *commands],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "20 received" in done.stdout, done.stdout + done.stderr
