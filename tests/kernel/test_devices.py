"""Interfaces: TAP, wires, descriptors with frames, and captures."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from hijack.instance import Instance

MINE = "10.91.0.1"
THEIRS = "10.91.0.2"
MY_MAC = bytes.fromhex("020000000001")
THEIR_MAC = bytes.fromhex("020000000002")
BROADCAST = b"\xff" * 6


def ethernet(to: bytes, kind: int, payload: bytes) -> bytes:
    """An Ethernet frame from us, without its checksum (IEEE 802.3)."""
    return to + MY_MAC + struct.pack("!H", kind) + payload


def arp_request() -> bytes:
    """Who has THEIRS? (RFC 826)."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    body += MY_MAC + socket.inet_aton(MINE) + bytes(6) + socket.inet_aton(THEIRS)
    return ethernet(BROADCAST, 0x0806, body)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(to: bytes, payload: bytes) -> bytes:
    """An ICMP echo request in IPv4 (RFC 792)."""
    icmp = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + payload
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0)
    ip += socket.inet_aton(MINE) + socket.inet_aton(THEIRS)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return ethernet(to, 0x0800, ip + icmp)


class Datagrams:
    """Our end of an ``fd`` device: a frame per datagram."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, frame: bytes) -> None:
        self.end.send(frame)

    def receive(self) -> bytes:
        return self.end.recv(1 << 17)


class Stream:
    """Our end of a ``stream`` device: a length before each frame."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, frame: bytes) -> None:
        data = struct.pack("!I", len(frame)) + frame
        # In pieces: a length may arrive by halves.
        self.end.send(data[:2])
        self.end.send(data[2:9])
        self.end.send(data[9:])

    def receive(self) -> bytes:
        (length,) = struct.unpack("!I", self._exactly(4))
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = self.end.recv(count, socket.MSG_WAITALL)
        assert len(data) == count
        return data


def answer_to(link: Datagrams | Stream, kind: int) -> bytes:
    """The next frame of an EtherType that is for us."""
    while True:
        frame = link.receive()
        if frame[:6] == MY_MAC and frame[12:14] == struct.pack("!H", kind):
            return frame


def boot_on(
    boot: Callable[..., Instance], run: Any, kind: str, end: socket.socket
) -> Instance:
    """An instance with THEIRS, whose interface is a descriptor of ours."""
    spec = f"{kind},fd={end.fileno()},mac={THEIR_MAC.hex(':')}"
    instance = boot(devices=[spec])
    run("devices", instance, "address", "eth0", THEIRS).passes()
    return instance


@pytest.mark.parametrize(
    ("kind", "socket_kind", "link"),
    [
        ("fd", socket.SOCK_DGRAM, Datagrams),
        ("fd", socket.SOCK_SEQPACKET, Datagrams),
        ("stream", socket.SOCK_STREAM, Stream),
    ],
)
def test_frames_in_a_descriptor(
    boot: Callable[..., Instance],
    run: Any,
    kind: str,
    socket_kind: socket.SocketKind,
    link: type[Datagrams | Stream],
) -> None:
    """The instance answers ARP and pings that we write by hand."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket_kind)
    with ours, theirs:
        boot_on(boot, run, kind, theirs)
        ours.settimeout(5)
        end = link(ours)
        end.send(arp_request())
        reply = answer_to(end, 0x0806)
        assert reply[6:12] == THEIR_MAC
        for size in (1, 56, 1400):
            payload = os.urandom(size)
            end.send(echo_request(reply[6:12], payload))
            answer = answer_to(end, 0x0800)
            assert answer[34] == 0, "not an echo reply"
            assert answer[42 : 42 + size] == payload


def test_wrong_socket(boot: Callable[..., Instance]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with (
        ours,
        theirs,
        pytest.raises(Exception, match="is not a datagram socket"),
    ):
        boot(devices=[f"fd,fd={theirs.fileno()}"])


def on_wire(
    boot: Callable[..., Instance], run: Any, segment: Path, count: int
) -> list[Instance]:
    """Instances on one segment, with the addresses 10.92.0.1 and so on."""
    made = []
    for number in range(1, count + 1):
        instance = boot(devices=[f"wire,segment={segment}"])
        run("devices", instance, "address", "eth0", f"10.92.0.{number}").passes()
        made.append(instance)
    return made


def test_wire_of_three(boot: Callable[..., Instance], run: Any, tmp_path: Path) -> None:
    """Each of three instances talks to each other one, verified both ways."""
    instances = on_wire(boot, run, tmp_path / "segment", 3)
    for number, server in enumerate(instances, 1):
        answering = run("devices", server, "answer", 7000, 2)
        assert answering.line() == "ready"
        for client in instances:
            if client is not server:
                run(
                    "devices", client, "ask", f"10.92.0.{number}", 7000, 20_000_000
                ).passes()
        answering.passes()


@pytest.mark.parametrize("size", [1, 1472, 9000])
def test_wire_datagrams(
    boot: Callable[..., Instance], run: Any, tmp_path: Path, size: int
) -> None:
    server, client = on_wire(boot, run, tmp_path / "segment", 2)
    answering = run("devices", server, "answer_datagrams", 7001, 300)
    assert answering.line() == "ready"
    run("devices", client, "datagrams", "10.92.0.1", 7001, 300, size).passes()
    answering.passes()


def test_wire_end_leaves(
    boot: Callable[..., Instance], run: Any, tmp_path: Path
) -> None:
    """An end that has gone leaves no socket; the others go on."""
    segment = tmp_path / "segment"
    first, second, third = on_wire(boot, run, segment, 3)
    third.stop()
    assert len(list(segment.iterdir())) == 2
    answering = run("devices", first, "answer", 7000, 1)
    assert answering.line() == "ready"
    run("devices", second, "ask", "10.92.0.1", 7000, 1_000_000).passes()
    first.stop()
    second.stop()
    assert not segment.exists()


def blocks(path: Path) -> Generator[tuple[int, bytes], None, None]:
    """The blocks of a pcapng file: type and body."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        assert length % 4 == 0
        assert struct.unpack_from("<I", data, at + length - 4) == (length,)
        yield kind, data[at + 8 : at + length - 4]
        at += length
    assert at == len(data)


def test_capture(boot: Callable[..., Instance], run: Any, tmp_path: Path) -> None:
    """A pcapng file holds what was sent and received, whole."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = tmp_path / "frames.pcapng"
    with ours, theirs:
        ours.settimeout(5)
        instance = boot(devices=[f"fd,fd={theirs.fileno()}"], capture=path)
        run("devices", instance, "address", "eth0", THEIRS).passes()
        link = Datagrams(ours)
        link.send(arp_request())
        reply = answer_to(link, 0x0806)
        request = echo_request(reply[6:12], b"capture me" * 9)
        link.send(request)
        answer = answer_to(link, 0x0800)
        instance.stop()
    found = list(blocks(path))
    assert [kind for kind, _ in found[:2]] == [0x0A0D0D0A, 1]
    assert b"eth0" in found[1][1]
    frames = []
    for kind, body in found[2:]:
        assert kind == 6
        interface, _, _, captured, original = struct.unpack_from("<IIIII", body)
        assert interface == 0
        assert captured == original
        frames.append(body[20 : 20 + captured])
    for frame in (arp_request(), reply, request, answer):
        assert frame in frames


def test_many_frames_wait(boot: Callable[..., Instance], run: Any) -> None:
    """What has piled up is read in few polls, soon after a time of lone frames."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        instance = boot_on(boot, run, "fd", theirs)
        ours.settimeout(5)
        link = Datagrams(ours)
        link.send(arp_request())
        answer_to(link, 0x0806)

        def polls() -> int:
            said = run("devices", instance, "statistic", "eth0", "rx_polls").passes()
            return int(said.split()[0])

        def ask(count: int) -> None:
            for i in range(count):
                payload = struct.pack("!I", i)
                link.send(echo_request(THEIR_MAC, payload))

        def answers(count: int) -> list[int]:
            return [
                struct.unpack("!I", answer_to(link, 0x0800)[-4:])[0]
                for _ in range(count)
            ]

        before = polls()
        for _ in range(200):
            ask(1)
            assert answers(1) == [0]
        alone = polls()
        assert alone - before >= 200
        for most in (60, 60, 12):
            before = polls()
            os.kill(instance.pid, signal.SIGSTOP)
            try:
                ask(50)
            finally:
                os.kill(instance.pid, signal.SIGCONT)
            assert answers(50) == list(range(50))
            assert polls() - before <= most


@pytest.fixture
def namespace() -> Generator[str, None, None]:
    """A network namespace of our own with a TAP device, ``tap0``."""
    name = f"ukl-test-{os.getpid()}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        inside = ["ip", "netns", "exec", name]
        tap = ["ip", "tuntap", "add", "tap0", "mode", "tap", "vnet_hdr"]
        subprocess.run([*inside, *tap], check=True)
        ip("-n", name, "addr", "add", f"{MINE}/24", "dev", "tap0")
        ip("-n", name, "link", "set", "tap0", "up")
        yield name
    finally:
        ip("netns", "del", name)


@contextlib.contextmanager
def entered(namespace: str) -> Generator[None, None, None]:
    """This process in a network namespace, and back."""
    with (
        open("/proc/self/ns/net") as home,
        open(f"/run/netns/{namespace}") as away,
    ):
        setns(away.fileno())
        try:
            yield
        finally:
            setns(home.fileno())


def setns(fd: int) -> None:
    """setns(2), which Python 3.11 lacks."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0):
        raise OSError(ctypes.get_errno(), "setns")


def test_tap(boot: Callable[..., Instance], run: Any, namespace: str) -> None:
    """The host's kernel and ours over a TAP device, large frames included."""
    with entered(namespace):
        instance = boot(devices=["tap,host=tap0"])
        run("devices", instance, "address", "eth0", THEIRS).passes()
        ping = ["ping", "-q", "-c", "200", "-i", "0.002", "-W", "1", THEIRS]
        said = subprocess.run(ping, capture_output=True, text=True, check=False)
        assert "200 received" in said.stdout, said.stdout
        answering = run("devices", instance, "answer", 7000, 1)
        assert answering.line() == "ready"
        data = os.urandom(30_000_000)
        with socket.create_connection((THEIRS, 7000), timeout=10) as client:
            assert exchange(client, data) == data
        answering.passes()


POURED = 10_000_000
"""So many numbers of eight bytes each."""


@pytest.mark.parametrize("flaps", [0, 20])
def test_tap_frames_in_a_row(
    boot: Callable[..., Instance], run: Any, namespace: str, flaps: int
) -> None:
    """Long frames are written by a thread of their own; all of them, in order.

    Also while the interface goes down and comes up.
    """
    with entered(namespace):
        instance = boot(devices=["tap,host=tap0"])
        run("devices", instance, "address", "eth0", THEIRS).passes()
        pouring = run("devices", instance, "pour", 7000, POURED)
        assert pouring.line() == "ready"
        received = bytearray()
        with socket.create_connection((THEIRS, 7000), timeout=20) as client:
            flapping = run("devices", instance, "flap", "eth0", flaps)
            while piece := client.recv(1 << 20):
                received += piece
            flapping.passes()
        pouring.passes()
        assert received == array.array("Q", range(POURED)).tobytes()
        said = run("devices", instance, "statistic", "eth0", "tx_queued").passes()
        if len(os.sched_getaffinity(0)) > 1:
            assert int(said.split()[0]) > 100, said
        else:
            assert int(said.split()[0]) == 0, said


def test_tap_of_another_namespace(
    boot: Callable[..., Instance], run: Any, namespace: str
) -> None:
    """The device is the namespace's, the kernel host is not in it."""
    instance = boot(devices=[f"tap,host=tap0,netns=/run/netns/{namespace}"])
    run("devices", instance, "address", "eth0", THEIRS).passes()
    assert not Path("/sys/class/net/tap0").exists()
    with entered(namespace):
        ping = ["ping", "-q", "-c", "5", "-i", "0.01", "-W", "1", THEIRS]
        said = subprocess.run(ping, capture_output=True, text=True, check=False)
    assert "5 received" in said.stdout, said.stdout
    home = Path("/proc/self/ns/net").readlink()
    for thread in Path(f"/proc/{instance.pid}/task").iterdir():
        assert (thread / "ns/net").readlink() == home
    with pytest.raises(Exception, match="/run/netns/no-such-one: No such file"):
        boot(devices=["tap,host=tap0,netns=/run/netns/no-such-one"])


def exchange(client: socket.socket, data: bytes) -> bytes:
    """Sends ``data`` while it reads what comes back, to the end."""
    import threading

    def send() -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = bytearray()
    while piece := client.recv(1 << 20):
        received += piece
    sender.join()
    return bytes(received)


def test_tap_passed_in(
    boot: Callable[..., Instance], namespace: str, tmp_path: Path
) -> None:
    """A TAP device that somebody else opened: what a user without root has."""
    import fcntl

    with entered(namespace):
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x5002))
        instance = boot(devices=[f"tap,fd={fd}"])
        assert instance.running
        os.close(fd)
