"""What a program has sent arrives, though it and its instance end at once."""

from __future__ import annotations

import socket
import threading

from person import User, eventually

TALK = """
import socket
s = socket.create_connection(("10.0.2.2", {port}))
s.sendall(b"x" * {size})
"""
SIZE = 2_000_000  # less than the buffers on the way, so nobody waits


def test_stream(user: User) -> None:
    """The reader begins when the program has long ended."""
    ended = threading.Event()
    sizes: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            ended.wait(60)
            size = 0
            while data := connection.recv(1 << 18):
                size += len(data)
            sizes.append(size)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    user.run("python3", "-c", TALK.format(port=port, size=SIZE))
    ended.set()
    thread.join(30)
    listener.close()
    assert sizes == [SIZE]
    assert eventually(lambda: list(user.runtime.glob("ukl/*")) == [])


def test_datagrams(user: User) -> None:
    """A syslog client's last line, say."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]
        for number in range(10):
            line = f"line {number}"
            user.run(
                *("python3", "-c"),
                "import socket; s = socket.socket(2, socket.SOCK_DGRAM); "
                f"s.sendto({line!r}.encode(), ('10.0.2.2', {port}))",
            )
            assert server.recv(100) == line.encode()
