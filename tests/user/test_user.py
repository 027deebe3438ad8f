"""The user backend: the host is reached by the kernel host's own sockets."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from attached import Socket, configure, tcp, udp
from scene import LOOPBACK, NAMESERVER, SERVER, Scene, eventually

from hijack.errors import UklError
from hijack.instance import Attachment, Instance

Boot = Callable[..., Instance]

FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"]
)
GATEWAY = {socket.AF_INET: "10.0.2.2", socket.AF_INET6: "fd00::2"}
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
BULK = 200 << 20


def echo(connection: socket.socket) -> None:
    """What comes goes back."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def brackets(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@FAMILIES
def test_tcp(scene: Scene, attached: Attachment, family: int) -> None:
    port = scene.serve(SERVER[family], echo)
    data = os.urandom(300_000)
    with tcp(attached, family) as s:
        s.connect((SERVER[family], port))
        for size in (1, 1460, 65535):
            s.sendall(data[:size])
            assert s.recv_exactly(size) == data[:size]
        s.shutdown()
        assert s.recv() == b""


@FAMILIES
@pytest.mark.parametrize("size", [1, 1472, 9000])
def test_udp(scene: Scene, attached: Attachment, family: int, size: int) -> None:
    server = scene.socket(family, socket.SOCK_DGRAM)
    server.bind((SERVER[family], 0))
    port = server.getsockname()[1]
    data = os.urandom(size)
    with udp(attached, family) as s:
        s.sendto(data, (SERVER[family], port))
        got, source = server.recvfrom(1 << 16)
        assert got == data
        server.sendto(got[::-1], source)
        assert s.readable(5)
        assert s.recvfrom() == (data[::-1], (SERVER[family], port))


@FAMILIES
@pytest.mark.parametrize("mtu", [65520, 1500])
def test_bulk(scene: Scene, boot: Boot, family: int, mtu: int) -> None:
    """200 MiB out, then 200 MiB in, with checksums."""
    seen: list[str] = []
    block = os.urandom(1 << 20)
    want = hashlib.sha1(block * (BULK >> 20)).hexdigest()

    def serve(connection: socket.socket) -> None:
        digest = hashlib.sha1()
        while data := connection.recv(1 << 18):
            digest.update(data)
        seen.append(digest.hexdigest())
        for _ in range(BULK >> 20):
            connection.sendall(block)

    port = scene.serve(SERVER[family], serve)
    with boot(f"mtu={mtu}").attach() as attached:
        configure(attached)
        with tcp(attached, family) as s:
            s.connect((SERVER[family], port))
            for _ in range(BULK >> 20):
                s.sendall(block)
            s.shutdown()
            digest = hashlib.sha1()
            while data := s.recv(1 << 18):
                digest.update(data)
    assert seen == [want]
    assert digest.hexdigest() == want


@FAMILIES
def test_small_writes(scene: Scene, attached: Attachment, family: int) -> None:
    """Pieces that are made to gather are whole, and so is what comes after them."""
    block = os.urandom(1 << 20)
    sizes = (1500, 64, 700)
    bulk = 32

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for size in sizes:
            for _ in range(4):
                for at in range(0, len(block), size):
                    connection.send(block[at : at + size])
        for _ in range(bulk):
            connection.sendall(block)
        while (data := connection.recv(1)) == b"?":
            connection.sendall(b"!")
        assert data == b"."
        for _ in range(bulk):
            connection.sendall(block)

    port = scene.serve(SERVER[family], serve)
    with tcp(attached, family) as s:
        s.connect((SERVER[family], port))
        for _ in range(4 * len(sizes) + bulk):
            assert s.recv_exactly(len(block)) == block
        begun = time.monotonic()
        for _ in range(50):
            s.sendall(b"?")
            assert s.recv_exactly(1) == b"!"
        # An answer does not wait for a window to fill.
        assert time.monotonic() - begun < 1
        s.sendall(b".")
        for _ in range(bulk):
            assert s.recv_exactly(len(block)) == block


def test_names(scene: Scene, attached: Attachment) -> None:
    """10.0.2.3 hands queries to the host's name server, and answers back."""
    server = scene.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((NAMESERVER, 53))
    query = struct.pack("!6H", 0x1234, 0x100, 1, 0, 0, 0)
    query += b"\x05hello\x04test\0" + struct.pack("!2H", 1, 1)
    with udp(attached) as s:
        s.sendto(query, ("10.0.2.3", 53))
        got, source = server.recvfrom(512)
        assert got == query
        server.sendto(got + b"the answer", source)
        assert s.readable(5)
        assert s.recvfrom() == (query + b"the answer", ("10.0.2.3", 53))


@FAMILIES
def test_refused(scene: Scene, attached: Attachment, family: int) -> None:
    listener = scene.listen(SERVER[family])
    port = listener.getsockname()[1]
    listener.close()
    with tcp(attached, family) as s, pytest.raises(ConnectionRefusedError):
        s.connect((SERVER[family], port))


NOWHERE = {socket.AF_INET: "198.51.100.1", socket.AF_INET6: "2001:db8:1::1"}


@FAMILIES
def test_unreachable(scene: Scene, attached: Attachment, family: int) -> None:
    """connect() ends as the host's does, which has no route there."""
    with pytest.raises(OSError, match="unreachable") as host:
        scene.socket(family, socket.SOCK_STREAM).connect((NOWHERE[family], 80))
    with (
        tcp(attached, family) as s,
        pytest.raises(OSError, match=r"unreachable|No route") as inside,
    ):
        s.connect((NOWHERE[family], 80))
    assert inside.value.errno == host.value.errno


@FAMILIES
def test_ends(scene: Scene, attached: Attachment, family: int) -> None:
    """Each direction of a connection ends by itself."""
    got: list[bytes] = []

    def first(connection: socket.socket) -> None:
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while len(data) < 100:
            data += connection.recv(100)
        got.append(data)

    port = scene.serve(SERVER[family], first)
    with tcp(attached, family) as s:
        s.connect((SERVER[family], port))
        assert s.recv_exactly(3) == b"bye"
        assert s.recv() == b""
        for _ in range(10):
            s.sendall(b"0123456789")
    eventually(lambda: got == [b"0123456789" * 10])


AT_ONCE = struct.pack("=ii", 1, 0)
_SETSOCKOPT = 54


@FAMILIES
def test_reset(scene: Scene, attached: Attachment, family: int) -> None:
    """An abort is an abort at the other end, after the data before it."""
    errors: list[BaseException] = []
    parted = threading.Event()

    def resets(connection: socket.socket) -> None:
        connection.sendall(b"last words")
        parted.wait(20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)

    def is_reset(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        try:
            connection.recv(1)
        except OSError as error:
            errors.append(error)

    with tcp(attached, family) as s:
        s.connect((SERVER[family], scene.serve(SERVER[family], resets)))
        assert s.recv_exactly(10) == b"last words"
        parted.set()
        with pytest.raises(ConnectionResetError):
            s.recv()
    with tcp(attached, family) as s:
        s.connect((SERVER[family], scene.serve(SERVER[family], is_reset)))
        assert s.recv_exactly(5) == b"hello"
        attached.syscall(
            _SETSOCKOPT, s.fd, socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE, 8
        )
    eventually(lambda: [type(error) for error in errors] == [ConnectionResetError])


@FAMILIES
def test_reset_at_once(scene: Scene, attached: Attachment, family: int) -> None:
    """Who says something and resets the connection has not refused it."""

    def resets(connection: socket.socket) -> None:
        connection.sendall(b"last words")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)

    port = scene.serve(SERVER[family], resets)
    heard = 0
    for _ in range(20):
        with tcp(attached, family) as s:
            # The reset may come before connect() looks.
            try:
                s.connect((SERVER[family], port))
            except ConnectionResetError:
                continue
            assert s.recv_exactly(10) == b"last words"
            with pytest.raises(ConnectionResetError):
                s.recv()
            heard += 1
    assert heard


@FAMILIES
@pytest.mark.parametrize("allowed", [False, True], ids=["off", "on"])
def test_host_loopback(scene: Scene, boot: Boot, family: int, allowed: bool) -> None:
    """The gateway's address is the host's loopback only where that is wanted."""
    port = scene.serve(LOOPBACK[family], echo)
    with boot("host=on" if allowed else "").attach() as attached:
        configure(attached)
        with tcp(attached, family) as s:
            if allowed:
                s.connect((GATEWAY[family], port))
                s.sendall(b"hello")
                assert s.recv_exactly(5) == b"hello"
            else:
                with pytest.raises(OSError, match=r"refused|unreachable|No route"):
                    s.connect((GATEWAY[family], port))


@FAMILIES
@pytest.mark.parametrize("where", [LOOPBACK, ANY, SERVER], ids=["lo", "any", "address"])
def test_published(
    scene: Scene, boot: Boot, family: int, where: dict[int, str]
) -> None:
    """TCP and UDP at a port of the host; the bind address is kept."""
    at = brackets(where[family])
    other = SERVER if where is LOOPBACK else LOOPBACK
    target = where[family] if where is not ANY else SERVER[family]
    instance = boot(f"publish=tcp:{at}:8080:80,publish=udp:{at}:8053:53")
    with instance.attach() as attached:
        configure(attached)
        with tcp(attached, family) as listener, udp(attached, family) as datagrams:
            listener.bind((ANY[family], 80))
            listener.listen()
            datagrams.bind((ANY[family], 53))
            client = scene.socket(family, socket.SOCK_STREAM)
            client.connect((target, 8080))
            client.sendall(b"hello")
            connection, peer = listener.accept()
            with connection:
                assert connection.recv_exactly(5) == b"hello"
                connection.sendall(b"world")
                assert client.recv(5, socket.MSG_WAITALL) == b"world"
            if target == SERVER[family]:
                assert peer[0] == SERVER[family], "the real client's address"
            client = scene.socket(family, socket.SOCK_DGRAM)
            client.sendto(b"question", (target, 8053))
            assert datagrams.readable(5)
            data, source = datagrams.recvfrom()
            assert data == b"question"
            datagrams.sendto(b"answer", source)
            assert client.recvfrom(100)[0] == b"answer"
        if where is not ANY:
            client = scene.socket(family, socket.SOCK_STREAM)
            with pytest.raises(ConnectionRefusedError):
                client.connect((other[family], 8080))


@dataclass
class Published:
    """A server in the instance, at port 8080 of the host."""

    scene: Scene
    listener: Socket
    where: tuple[str, int]

    def client(self) -> socket.socket:
        client = self.scene.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(self.where)
        return client

    def accept(self) -> Socket:
        return self.listener.accept()[0]


@pytest.fixture
def published(scene: Scene, boot: Boot) -> Iterator[Published]:
    address = SERVER[socket.AF_INET]
    with boot(f"publish=tcp:{address}:8080:80").attach() as attached:
        configure(attached)
        with tcp(attached) as listener:
            listener.bind(("0.0.0.0", 80))
            listener.listen()
            yield Published(scene, listener, (address, 8080))


def test_published_speaks_first(published: Published) -> None:
    """A client that says nothing is let in without delay."""
    for _ in range(5):
        begun = time.monotonic()
        client = published.client()
        with published.accept() as connection:
            connection.sendall(b"welcome")
            assert client.recv(7, socket.MSG_WAITALL) == b"welcome"
            assert time.monotonic() - begun < 0.1


def test_published_ends(published: Published) -> None:
    """A request and its end, an answer and its end: either in one piece or two."""
    for apart in (False, True):
        client = published.client()
        client.sendall(b"question")
        if apart:
            time.sleep(0.02)
        client.shutdown(socket.SHUT_WR)
        with published.accept() as connection:
            assert connection.recv_exactly(8) == b"question"
            assert connection.recv() == b""
            connection.sendall(b"answer")
            if apart:
                time.sleep(0.02)
        assert client.recv(6, socket.MSG_WAITALL) == b"answer"
        assert client.recv(1) == b""


def test_published_last_words(published: Published) -> None:
    """What is said before a reset is heard."""
    client = published.client()
    connection = published.accept()
    connection.sendall(b"last words")
    data = struct.pack("=ii", 1, 0)
    connection.attached.syscall(
        _SETSOCKOPT, connection.fd, socket.SOL_SOCKET, socket.SO_LINGER, data, 8
    )
    connection.close()
    assert client.recv(10, socket.MSG_WAITALL) == b"last words"
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_published_many_at_once(published: Published) -> None:
    """Clients that come together are each one's own, whatever they say."""
    words = [bytes([n % 251]) * (1 + n * n * 7) for n in range(60)]
    clients = [published.client() for _ in words]
    for client, word in zip(clients, words, strict=True):
        client.sendall(word)
        client.shutdown(socket.SHUT_WR)
    for _ in words:
        with published.accept() as connection:
            while data := connection.recv():
                connection.sendall(data)
    for client, word in zip(clients, words, strict=True):
        assert b"".join(iter(lambda c=client: c.recv(1 << 16), b"")) == word


@FAMILIES
def test_published_to_nobody(scene: Scene, boot: Boot, family: int) -> None:
    """Nobody listens inside: the client's connection is reset."""
    at = brackets(LOOPBACK[family])
    with boot(f"publish=tcp:{at}:8080:80").attach() as attached:
        configure(attached)
        client = scene.socket(family, socket.SOCK_STREAM)
        # The reset may come before connect() looks.
        with pytest.raises(ConnectionResetError):
            _ = client.connect((LOOPBACK[family], 8080)) or client.recv(1)


def test_one_client_port_at_two_published(scene: Scene, boot: Boot) -> None:
    """What distinguishes two connections may be the published port alone."""
    ports = "publish=tcp:192.0.2.1:8080:80,publish=tcp:192.0.2.1:8081:80"
    with boot(ports).attach() as attached:
        configure(attached)
        with tcp(attached) as listener:
            listener.bind(("0.0.0.0", 80))
            listener.listen()
            first = scene.socket(socket.AF_INET, socket.SOCK_STREAM)
            second = scene.socket(socket.AF_INET, socket.SOCK_STREAM)
            for client in (first, second):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind(("192.0.2.1", 4000))
            for client, port in ((first, 8080), (second, 8081)):
                client.connect(("192.0.2.1", port))
                client.sendall(b"hello")
                connection, peer = listener.accept()
                assert peer[0] == "192.0.2.1"
                assert connection.recv_exactly(5) == b"hello"


def test_published_both_families(scene: Scene, boot: Boot) -> None:
    """0.0.0.0 and [::] with one port are two things."""
    boot("publish=tcp:0.0.0.0:8080:80,publish=tcp:[::]:8080:80")
    with pytest.raises(OSError, match="in use"):
        scene.listen("0.0.0.0", 8080)
    with pytest.raises(OSError, match="in use"):
        scene.listen("::", 8080)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_address_in_use(scene: Scene, boot: Boot, protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    taken = scene.socket(socket.AF_INET, kind)
    taken.bind(("127.0.0.1", 8080))
    if protocol == "tcp":
        taken.listen()
    word = f"publish={protocol}:127.0.0.1:8080:80"
    with pytest.raises(UklError, match=f"{word}: Address already in use"):
        boot(f"publish=tcp:127.0.0.1:8081:81,{word}")
    scene.listen("127.0.0.1", 8081)


def test_many_connections(scene: Scene, attached: Attachment) -> None:
    """500 at once, all open, all answered."""
    port = scene.serve(SERVER[socket.AF_INET], echo)
    sockets = []
    for _ in range(500):
        s = tcp(attached)
        s.connect((SERVER[socket.AF_INET], port))
        sockets.append(s)
    for number, s in enumerate(sockets):
        s.sendall(struct.pack("!I", number))
    for number, s in enumerate(sockets):
        assert s.recv_exactly(4) == struct.pack("!I", number)
    for s in sockets:
        s.close()


def test_a_reader_that_does_not_read(scene: Scene, attached: Attachment) -> None:
    """Streams that nobody reads, in both directions, hold nobody up."""
    stop = threading.Event()

    def flood(connection: socket.socket) -> None:
        while not stop.is_set():
            connection.sendall(bytes(1 << 16))

    def ignore(connection: socket.socket) -> None:
        stop.wait(60)

    address = SERVER[socket.AF_INET]
    flooded, ignored, port = (scene.serve(address, f) for f in (flood, ignore, echo))
    stuck = []
    for _ in range(4):
        s = tcp(attached)
        s.connect((address, flooded))
        stuck.append(s)
        s = tcp(attached)
        s.connect((address, ignored))
        attached.syscall(72, s.fd, 4, os.O_NONBLOCK)  # fcntl F_SETFL
        with suppress(BlockingIOError):
            while True:
                s.send(bytes(1 << 16))
        stuck.append(s)
    with udp(attached) as s:
        for _ in range(2000):
            s.sendto(bytes(9000), (address, 9))
    with tcp(attached) as s:
        s.connect((address, port))
        for _ in range(100):
            s.sendall(b"x" * 1000)
            assert s.recv_exactly(1000) == b"x" * 1000
    stop.set()
    for s in stuck:
        s.close()


@dataclass
class Heard:
    """An ICMP message: its type and code, who sent it, and what it carries."""

    kind: int
    code: int
    sender: str
    ttl: int
    body: bytes


def ping(
    attached: Attachment,
    to: str,
    *,
    number: int = 77,
    ttl: int = 64,
    body: bytes = b"are you there?",
) -> Heard | None:
    """What comes of one echo request (RFC 792, RFC 4443); None: nothing."""
    v6 = ":" in to
    family, protocol = (socket.AF_INET6, 58) if v6 else (socket.AF_INET, 1)
    with Socket(attached, family, socket.SOCK_RAW, -1, protocol) as s:
        level, hops = (
            (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
            if v6
            else (socket.IPPROTO_IP, socket.IP_TTL)
        )
        s.option(level, hops, ttl)
        message = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, number, 1)
        message += body
        if not v6:  # IPv6's has the addresses in it: the kernel's
            total = sum(struct.unpack(f"!{len(message) // 2}H", message))
            total = (total & 0xFFFF) + (total >> 16)
            message = message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]
        s.sendto(message, (to, 0))
        end = time.monotonic() + 1
        while s.readable(max(0, end - time.monotonic())):
            data, (sender, _) = s.recvfrom()
            answered = data[8] if not v6 else 0
            icmp = data if v6 else data[20:]
            quoted = icmp[8 + (40 if v6 else 20) :]
            own = icmp[4:8] if icmp[0] in (0, 129) else quoted[4:8]
            if icmp[0] not in (8, 128) and own == struct.pack("!HH", number, 1):
                return Heard(icmp[0], icmp[1], sender, answered, icmp[8:])
    return None


def let_ping(scene: Scene, *, allowed: bool) -> None:
    who = "0 65534" if allowed else "1 0"
    scene.run("sh", "-c", f"echo {who} >/proc/sys/net/ipv4/ping_group_range")


@pytest.mark.parametrize("allowed", [False, True], ids=["forbidden", "allowed"])
def test_ping(scene: Scene, boot: Boot, allowed: bool) -> None:
    """Where the host lets its users ping, the instance pings."""
    let_ping(scene, allowed=allowed)
    with boot().attach() as attached:
        configure(attached)
        near = ping(attached, "10.0.2.2")
        assert near
        assert near.body == b"are you there?"
        for family, kind in ((socket.AF_INET, 0), (socket.AF_INET6, 129)):
            far = ping(attached, SERVER[family])
            if allowed or not scene.unprivileged:
                assert far
                assert (far.kind, far.code) == (kind, 0)
                assert far.sender == SERVER[family]
                assert far.body == b"are you there?"
                # As the host had it.
                assert far.ttl == (64 if kind == 0 else 0)
            else:
                # libslirp asks the UDP port for echoes instead.
                assert far is None or far.kind == 3


@FAMILIES
def test_pings_long_and_short(scene: Scene, boot: Boot, family: int) -> None:
    """More of them than there is room for at once, in their order."""
    let_ping(scene, allowed=True)
    with boot().attach() as attached:
        configure(attached)
        for i in range(600):
            body = os.urandom((0, 56, 128, 140, 700, 1400)[i % 6])
            said = ping(attached, SERVER[family], number=1000 + i % 8, body=body)
            assert said
            assert said.body == body


def times_run(instance: Instance) -> int:
    """How often the host has put the threads of the user backend on a CPU."""
    return sum(
        int((task / "schedstat").read_text().split()[2])
        for task in Path(f"/proc/{instance.pid}/task").iterdir()
        if (task / "comm").read_text().strip() in ("ukl-device", "ukl-tcp", "ukl-user")
    )


@FAMILIES
def test_near_pings_wake_nobody(scene: Scene, boot: Boot, family: int) -> None:
    """Who has answered at once is asked by the program's own process."""
    let_ping(scene, allowed=True)
    instance = boot()
    with instance.attach() as attached:
        configure(attached)
        assert ping(attached, SERVER[family], number=1)
        time.sleep(0.2)
        before = times_run(instance)
        for number in range(2, 50):
            body = os.urandom((16, 1400)[number % 2])
            said = ping(attached, SERVER[family], number=number, body=body)
            assert said
            assert (said.kind, said.code) == (answer_kind(family), 0)
            assert said.sender == SERVER[family]
            assert said.body == body
            assert said.ttl == (64 if family == socket.AF_INET else 0)
        assert times_run(instance) - before < 10
        # It is a hop still, which has to be woken to say that it was the last.
        before = times_run(instance)
        for _ in range(10):
            gone = ping(attached, SERVER[family], ttl=1)
            assert gone
            assert gone.kind == (11 if family == socket.AF_INET else 3)
            time.sleep(0.01)
        assert times_run(instance) - before >= 10


def answer_kind(family: int) -> int:
    """Of an echo reply."""
    return 0 if family == socket.AF_INET else 129


@contextmanager
def late_answers(scene: Scene, seconds: float) -> Iterator[list[bytes]]:
    """The scene's host answers IPv4's pings so late; their messages so far."""
    ignore = "/proc/sys/net/ipv4/icmp_echo_ignore_all"
    seen: list[bytes] = []
    ended = threading.Event()
    with scene.inside():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(0.05)

    def answer() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                packet, sender = raw.recvfrom(1 << 16)
                message = packet[20:]
                if message[0] == 8:
                    seen.append(message)
                    time.sleep(seconds)
                    # The type was a part of the sum.
                    total = struct.unpack("!H", message[2:4])[0] + 0x0800
                    total = (total & 0xFFFF) + (total >> 16)
                    head = b"\0\0" + struct.pack("!H", total)
                    raw.sendto(head + message[4:], sender)

    thread = threading.Thread(target=answer)
    scene.run("sh", "-c", f"echo 1 >{ignore}")
    thread.start()
    try:
        yield seen
    finally:
        scene.run("sh", "-c", f"echo 0 >{ignore}")
        ended.set()
        thread.join()
        raw.close()


def test_near_no_longer(scene: Scene, boot: Boot) -> None:
    """An answer that is late is one answer, and nobody else's."""
    server = SERVER[socket.AF_INET]
    let_ping(scene, allowed=True)
    with boot().attach() as attached:
        configure(attached)
        assert ping(attached, server, number=1)
        assert ping(attached, server, number=2)
        with late_answers(scene, 0.1) as seen:
            said = ping(attached, server, number=3, body=b"first?")
            assert said
            assert said.body == b"first?"
            # At once, in vain, and once more.
            assert len(seen) == 2
            said = ping(attached, server, number=4, body=b"second")
            assert said
            assert said.body == b"second"
            assert len(seen) == 3
        # The first answer to the first one is waiting to be thrown away.
        for number, body in ((5, b"third?"), (6, b"fourth"), (7, b"fifth?")):
            said = ping(attached, server, number=number, body=body)
            assert said
            assert said.body == body


def test_more_pings_than_are_remembered(scene: Scene, boot: Boot) -> None:
    let_ping(scene, allowed=True)
    with boot().attach() as attached:
        configure(attached)
        for number in [*range(100, 150), 100]:
            far = ping(attached, SERVER[socket.AF_INET], number=number)
            assert far
            assert far.body == b"are you there?"


@pytest.mark.parametrize(
    ("to", "ttl", "kind", "code", "sender"),
    [
        (SERVER[socket.AF_INET], 1, 11, 0, "10.0.2.2"),
        (SERVER[socket.AF_INET6], 1, 3, 0, "fd00::2"),
        ("203.0.113.9", 64, 3, 0, "10.0.2.2"),
        ("2001:db8:9::9", 64, 1, 0, "fd00::2"),
    ],
)
def test_pings_that_get_nowhere(
    scene: Scene, boot: Boot, to: str, ttl: int, kind: int, code: int, sender: str
) -> None:
    """The gateway says why, as a router does."""
    let_ping(scene, allowed=True)
    with boot().attach() as attached:
        configure(attached)
        said = ping(attached, to, ttl=ttl)
    assert said
    assert (said.kind, said.code, said.sender) == (kind, code, sender)


def test_other_networks(scene: Scene, boot: Boot) -> None:
    port = scene.serve(SERVER[socket.AF_INET], echo)
    with boot("ipv4=172.30.8.0/22,ipv6=off,name=out0").attach() as attached:
        configure(attached, "172.30.8.0/22", "off", "out0")
        with tcp(attached) as s:
            s.connect((SERVER[socket.AF_INET], port))
            s.sendall(b"hello")
            assert s.recv_exactly(5) == b"hello"


def test_own_address(scene: Scene, boot: Boot) -> None:
    """The instance's address may be given: published ports lead there."""
    spec = "ipv4=10.9.0.77/16,ipv6=fd77::77/64"
    ports = "publish=tcp:127.0.0.1:8080:80,publish=tcp:[::1]:8080:80"
    with boot(f"{spec},{ports}").attach() as attached:
        configure(attached, "10.9.0.77/16", "fd77::77/64")
        for family in (socket.AF_INET, socket.AF_INET6):
            with tcp(attached, family) as listener:
                listener.bind((ANY[family], 80))
                listener.listen()
                client = scene.socket(family, socket.SOCK_STREAM)
                client.connect((LOOPBACK[family], 8080))
                client.sendall(b"hello")
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv_exactly(5) == b"hello"


def test_needs_nothing(scene: Scene, boot: Boot) -> None:
    """No privilege, no TAP device, no other process."""
    instance = boot("publish=tcp:127.0.0.1:8080:80")
    proc = Path(f"/proc/{instance.pid}")

    def threads() -> set[str]:
        return {path.read_text().strip() for path in proc.glob("task/*/comm")}

    # They name themselves.
    eventually(lambda: {"ukl-user", "ukl-tcp"} <= threads())
    children = [path.read_text().strip() for path in proc.glob("task/*/children")]
    assert not any(children)
    links = set()
    for path in proc.glob("fd/*"):
        # The control socket's connection may be closed meanwhile.
        with suppress(FileNotFoundError):
            links.add(str(path.readlink()))
    assert not any("/dev/" in link and "null" not in link for link in links)
    if scene.unprivileged:
        status = (proc / "status").read_text()
        assert "\nCapEff:\t0000000000000000\n" in status
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in status


def test_killed(scene: Scene, boot: Boot) -> None:
    """A killed kernel host leaves no port behind."""
    instance = boot("publish=tcp:127.0.0.1:8080:80")
    with pytest.raises(OSError, match="in use"):
        scene.listen("127.0.0.1", 8080)
    os.kill(instance.pid, signal.SIGKILL)
    eventually(lambda: instance.process.poll() is not None)
    scene.listen("127.0.0.1", 8080)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("publish=tcp:127.0.0.1:80", "publish=tcp:127.0.0.1:80: write tcp or udp:"),
        ("publish=sctp:127.0.0.1:80:80", "publish=sctp:127.0.0.1:80:80: write tcp"),
        ("publish=tcp:::1:80:80", "publish=tcp:::1:80:80: write tcp or udp:"),
        ("publish=tcp:[127.0.0.1]:80:80", "publish=tcp:.127.0.0.1.:80:80: write"),
        ("publish=tcp:127.0.0.1:0:80", "publish=tcp:127.0.0.1:0:80: write tcp"),
        ("publish=tcp:127.0.0.1:80:65536", "80:65536: write tcp or udp"),
        ("publish=tcp:192.0.2.99:8080:80", "8080:80: Cannot assign requested address"),
        ("ipv6=off,publish=tcp:[::1]:8080:80", "the interface has no IPv6"),
        ("ipv4=off,publish=tcp:127.0.0.1:8080:80", "the interface has no IPv4"),
        ("ipv4=10.0.2.0", "ipv4=10.0.2.0: give a network as"),
        ("ipv4=10.0.2.2/24", "ipv4=10.0.2.2/24: give a network as"),
        ("ipv4=10.0.2.3/24", "ipv4=10.0.2.3/24: give a network as"),
        ("ipv6=fd00::2/64", "ipv6=fd00::2/64: give a network as"),
        ("ipv4=10.0.2.0/30", "ipv4=10.0.2.0/30: give a network as"),
        ("ipv6=fd00::/65", "ipv6=fd00::/65: give a network as"),
        ("host=maybe", "host=maybe: on or off"),
        ("mtu=65521", "mtu=65521: at most 65520"),
        ("colour=red", "unknown key colour"),
    ],
)
def test_bad_specs(boot: Boot, spec: str, message: str) -> None:
    with pytest.raises(UklError, match=message):
        boot(spec)
