"""A site of the tests' own: a name server, and HTTPS behind its name.

``somesite.py NAME CERTIFICATE KEY [--listen ADDRESS]... [--answer ADDRESS]...``
listens on UDP port 53 and TCP port 443 of each address, says ``ready``, and then a
line for each query.  Run it where those ports are free: in a namespace or instance.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import ipaddress
import random
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator

MIB = 1 << 20
_BASE = random.Random(3).randbytes(MIB)
_TYPES = {1: "A", 28: "AAAA"}


def blocks(count: int) -> Iterator[bytes]:
    """``count`` MiB, no two of which are equal."""
    for index in range(count):
        yield index.to_bytes(8, "big") + _BASE[8:]


def digest(count: int) -> str:
    """The SHA-256 of ``blocks(count)``."""
    found = hashlib.sha256()
    for block in blocks(count):
        found.update(block)
    return found.hexdigest()


def _answer(query: bytes, name: str, addresses: list[str]) -> tuple[str, bytes]:
    """What was asked, and the answer (RFC 1035, 4.1)."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind, _ = struct.unpack_from("!HH", query, at + 1)
    question = query[12 : at + 5]
    asked = ".".join(labels)
    known = asked.lower() == name
    found = [
        one.packed
        for one in map(ipaddress.ip_address, addresses)
        if known and (one.version == 4) == (kind == 1) and kind in _TYPES
    ]
    # An authoritative answer; RCODE 3: there is no such name.
    head = struct.pack(
        "!2sHHHHH", query[:2], 0x8580 | (0 if known else 3), 1, len(found), 0, 0
    )
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(one)) + one for one in found
    )
    return f"{asked} {_TYPES.get(kind, kind)}", head + question + records


def serve_names(listener: socket.socket, name: str, addresses: list[str]) -> None:
    """Answer queries for ever; each is a line of standard output."""
    while True:
        query, client = listener.recvfrom(4096)
        asked, answer = _answer(query, name, addresses)
        print("asked", asked, flush=True)
        listener.sendto(answer, client)


class Handler(http.server.BaseHTTPRequestHandler):
    """``/`` says from where; ``/N`` is N MiB; PUT answers length and SHA-256."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """``/`` or ``/N``."""
        count = int(self.path[1:] or 0)
        text = f"hello {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(count * MIB or len(text)))
        self.end_headers()
        if not count:
            self.wfile.write(text)
        for block in blocks(count):
            self.wfile.write(block)

    def _body(self) -> Iterator[bytes]:
        """The parts of a body in chunks (RFC 9112, 7.1)."""
        while size := int(self.rfile.readline(), 16):
            while size:
                part = self.rfile.read(min(size, MIB))
                if not part:
                    return
                size -= len(part)
                yield part
            self.rfile.readline()
        self.rfile.readline()

    def do_PUT(self) -> None:
        """Take whatever comes."""
        assert self.headers["Transfer-Encoding"] == "chunked"
        if self.headers["Expect"]:
            self.send_response_only(100)
            self.end_headers()
        found, length = hashlib.sha256(), 0
        for part in self._body():
            found.update(part)
            length += len(part)
        text = f"{length} {found.hexdigest()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing: standard output has the queries."""


class Server(http.server.ThreadingHTTPServer):
    """HTTPS of one address; the handshake is the connection's thread's."""

    daemon_threads = True

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self.address_family = _family(address)
        self.context = context
        super().__init__((address, 443), Handler)

    def server_bind(self) -> None:
        """Bind without a query for our own name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def finish_request(self, request: object, client_address: object) -> None:
        """One connection."""
        assert isinstance(request, socket.socket)
        with self.context.wrap_socket(request, server_side=True) as one:
            super().finish_request(one, client_address)  # type: ignore[arg-type]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def main() -> None:
    """Serve for ever."""
    parser = argparse.ArgumentParser()
    for word in ("name", "certificate", "key"):
        parser.add_argument(word)
    for word in ("--listen", "--answer"):
        parser.add_argument(word, action="append", default=[])
    given = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(given.certificate, given.key)
    threads = []
    for address in given.listen:
        listener = socket.socket(_family(address), socket.SOCK_DGRAM)
        listener.bind((address, 53))
        words = (listener, given.name, given.answer)
        threads.append(threading.Thread(target=serve_names, args=words))
        threads.append(threading.Thread(target=Server(address, context).serve_forever))
    for thread in threads:
        thread.start()
    print("ready", flush=True)


if __name__ == "__main__":
    main()
