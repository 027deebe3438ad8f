"""Sockets of an instance, from Python, and an interface's configuration."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
from typing import Self

from hijack.instance import Attachment

_READ, _WRITE, _CLOSE, _POLL = 0, 1, 3, 7
_SOCKET, _CONNECT, _ACCEPT, _SENDTO, _RECVFROM = 41, 42, 43, 44, 45
_SHUTDOWN, _BIND, _LISTEN, _GETSOCKNAME, _SETSOCKOPT = 48, 49, 50, 51, 54
_IOCTL, _SIOCGIFINDEX = 16, 0x8933

Address = tuple[str, int]


def pack(address: Address) -> bytes:
    """A ``struct sockaddr`` for an address of either family and a port."""
    where = ipaddress.ip_address(address[0])
    port = struct.pack("!H", address[1])
    if where.version == 4:
        return struct.pack("=H", socket.AF_INET) + port + where.packed + bytes(8)
    return (
        struct.pack("=H", socket.AF_INET6) + port + bytes(4) + where.packed + bytes(4)
    )


def unpack(data: bytes) -> Address:
    """The inverse of :func:`pack`."""
    (family,) = struct.unpack_from("=H", data)
    (port,) = struct.unpack_from("!H", data, 2)
    raw = data[4:8] if family == socket.AF_INET else data[8:24]
    return str(ipaddress.ip_address(bytes(raw))), port


class Socket:
    """A socket in the library kernel; calls raise OSError with its errno."""

    def __init__(
        self,
        attached: Attachment,
        family: int,
        kind: int,
        number: int = -1,
        protocol: int = 0,
    ) -> None:
        self.attached = attached
        self.family = family
        self.fd = number
        if number < 0:
            self.fd = attached.syscall(_SOCKET, family, kind, protocol)

    def connect(self, address: Address) -> None:
        data = pack(address)
        self.attached.syscall(_CONNECT, self.fd, data, len(data))

    def bind(self, address: Address) -> None:
        one = struct.pack("=i", 1)
        self.attached.syscall(
            _SETSOCKOPT, self.fd, socket.SOL_SOCKET, socket.SO_REUSEADDR, one, 4
        )
        data = pack(address)
        self.attached.syscall(_BIND, self.fd, data, len(data))

    def option(self, level: int, name: int, value: int) -> None:
        self.attached.syscall(
            _SETSOCKOPT, self.fd, level, name, struct.pack("=i", value), 4
        )

    def listen(self, backlog: int = 128) -> None:
        self.attached.syscall(_LISTEN, self.fd, backlog)

    def accept(self) -> tuple[Socket, Address]:
        data, size = bytearray(28), bytearray(struct.pack("=i", 28))
        fd = self.attached.syscall(_ACCEPT, self.fd, data, size)
        return Socket(self.attached, self.family, 0, fd), unpack(data)

    def send(self, data: bytes | memoryview) -> int:
        return self.attached.syscall(_WRITE, self.fd, data, len(data))

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.send(view) :]

    def recv(self, count: int = 1 << 17) -> bytes:
        data = bytearray(count)
        return bytes(data[: self.attached.syscall(_READ, self.fd, data, count)])

    def recv_exactly(self, count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = self.recv(count - len(parts))
            assert part, f"the end after {len(parts)} bytes of {count}"
            parts += part
        return parts

    def sendto(self, data: bytes, address: Address) -> None:
        to = pack(address)
        self.attached.syscall(_SENDTO, self.fd, data, len(data), 0, to, len(to))

    def recvfrom(self) -> tuple[bytes, Address]:
        data, source = bytearray(1 << 16), bytearray(28)
        size = bytearray(struct.pack("=i", 28))
        n = self.attached.syscall(_RECVFROM, self.fd, data, len(data), 0, source, size)
        return bytes(data[:n]), unpack(source)

    def readable(self, seconds: float) -> bool:
        """Waits until there is something to read, or an error."""
        poll = bytearray(struct.pack("=ihh", self.fd, select.POLLIN, 0))
        return self.attached.syscall(_POLL, poll, 1, int(seconds * 1000)) == 1

    def shutdown(self) -> None:
        """No more will be sent."""
        self.attached.syscall(_SHUTDOWN, self.fd, socket.SHUT_WR)

    def close(self) -> None:
        self.attached.syscall(_CLOSE, self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()


def tcp(attached: Attachment, family: int = socket.AF_INET) -> Socket:
    return Socket(attached, family, socket.SOCK_STREAM)


def udp(attached: Attachment, family: int = socket.AF_INET) -> Socket:
    return Socket(attached, family, socket.SOCK_DGRAM)


# ----------------------------------------------------------------------
# rtnetlink (man 7 rtnetlink), as little as an interface needs.

_NEWLINK, _NEWADDR, _NEWROUTE = 16, 20, 24
_REQUEST, _ACK, _CREATE = 1, 4, 0x400
_NO_DAD = 2


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _ask(attached: Attachment, kind: int, body: bytes) -> None:
    with Socket(attached, socket.AF_NETLINK, socket.SOCK_RAW) as s:
        head = struct.pack(
            "=IHHII", 16 + len(body), kind, _REQUEST | _ACK | _CREATE, 1, 0
        )
        s.send(head + body)
        answer = s.recv(4096)
    (error,) = struct.unpack_from("=i", answer, 16)
    if error:
        raise OSError(-error, f"rtnetlink {kind}: {os.strerror(-error)}")


def _index(attached: Attachment, name: str) -> int:
    """The interface's number; others (sit0) may be before it."""
    request = bytearray(struct.pack("=16s24x", name.encode()))
    with udp(attached) as s:
        attached.syscall(_IOCTL, s.fd, _SIOCGIFINDEX, request)
    (index,) = struct.unpack_from("=i", request, 16)
    return int(index)


def configure(
    attached: Attachment,
    ipv4: str = "10.0.2.0/24",
    ipv6: str = "fd00::/64",
    name: str = "eth0",
) -> None:
    """What an instance behind the user backend must be given.

    Addresses (N+15 and N::15) and default routes by N+2 and N::2; the name
    servers are N+3 and N::3.
    """
    index = _index(attached, name)
    _ask(attached, _NEWLINK, struct.pack("=BxHiII", 0, 0, index, 1, 1))
    for text, number in ((ipv4, 15), (ipv6, 0x15)):
        if text == "off":
            continue
        given = ipaddress.ip_interface(text)
        network = given.network
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        address = given.ip.packed
        if given.ip == network.network_address:
            address = (network.network_address + number).packed
        body = struct.pack("=BBBBI", family, network.prefixlen, _NO_DAD, 0, index)
        body += _attribute(2, address) + _attribute(1, address)
        _ask(attached, _NEWADDR, body)
        # main table, static, universe, unicast
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 4, 0, 1, 0)
        body += _attribute(5, (network.network_address + 2).packed)
        body += _attribute(4, struct.pack("=I", index))
        _ask(attached, _NEWROUTE, body)
