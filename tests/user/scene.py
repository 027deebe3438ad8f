"""A network namespace for a test's servers."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_CLONE_NEWNET = 0x40000000
SERVER = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
NAMESERVER = "192.0.2.53"

NAMESPACE = f"""
ip link set lo up
ip link add d0 type veth peer name d1
ip addr add 192.0.2.1/24 dev d0
ip addr add {NAMESERVER}/24 dev d0
ip -6 addr add 2001:db8::1/64 dev d0 nodad
ip link set d0 up
ip link set d1 up
# The link's state reaches IPv6 by and by.
until ip -6 route get 2001:db8::1 >/dev/null 2>&1; do sleep 0.05; done
mount --bind "$1" /etc/resolv.conf
echo ready
exec sleep 600
"""


@dataclass
class Scene:
    """The namespace; ``unprivileged`` kernel hosts run as nobody in it."""

    holder: int
    where: Path
    unprivileged: bool
    sockets: list[socket.socket] = field(default_factory=list)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread's new sockets belong to the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            Path("/proc/thread-self/ns/net").open() as before,
            Path(f"/proc/{self.holder}/ns/net").open() as there,
        ):
            assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert libc.setns(before.fileno(), _CLONE_NEWNET) == 0

    def socket(self, family: int, kind: int) -> socket.socket:
        """A host socket in the namespace, with a time-out; closed at the end."""
        with self.inside():
            made = socket.socket(family, kind)
        made.settimeout(20)
        self.sockets.append(made)
        return made

    def listen(self, address: str, port: int = 0, backlog: int = 1024) -> socket.socket:
        """A TCP server socket."""
        made = self.socket(
            socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM
        )
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(backlog)
        return made

    def serve(self, address: str, handle: Callable[[socket.socket], None]) -> int:
        """Calls ``handle`` with each connection, in a thread; returns the port."""
        listener = self.listen(address)

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                handle(connection)

        def loop() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.settimeout(60)
                    threading.Thread(
                        target=one, args=(connection,), daemon=True
                    ).start()

        listener.settimeout(None)
        threading.Thread(target=loop, daemon=True).start()
        return int(listener.getsockname()[1])

    def run(self, *line: str) -> str:
        """A command in the namespace."""
        return subprocess.run(
            [
                "nsenter",
                "--target",
                str(self.holder),
                "--net",
                "--mount",
                "--root",
                "--",
                *line,
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout


def eventually(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Asserts that a condition becomes true soon."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
