"""An asyncio program that asks itself; ``test_asyncio`` runs it on both sides."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from typing import cast


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Give back what comes."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def ask(
    host: str, port: int, data: bytes, context: ssl.SSLContext | None = None
) -> bool:
    """Whether all comes back."""
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.write(data)
    got = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return got == data


class Datagrams(asyncio.DatagramProtocol):
    """A UDP echo: what comes to the server goes back, the client keeps it."""

    def __init__(self, heard: asyncio.Future[bytes] | None = None) -> None:
        self.heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.heard is None:
            self.transport.sendto(data, addr)
        else:
            self.heard.set_result(data)


async def main() -> None:
    """One thing after the other; each prints a line."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, ["127.0.0.1", "::1"], 8000)
    words = (b"x" * 100_000 * (number % 3 + 1) for number in range(60))
    asked = (
        ask(("127.0.0.1", "::1")[number % 2], 8000, data)
        for number, data in enumerate(words)
    )
    print(sum(await asyncio.gather(*asked)), "connections")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("cert", "key")
    await asyncio.start_server(echo, "127.0.0.1", 8443, ssl=context)
    trusted = ssl.create_default_context(cafile="cert")
    print("TLS", await ask("localhost", 8443, b"secret" * 50_000, trusted))

    await asyncio.start_unix_server(echo, f"socket{os.getpid()}")
    _, writer = await asyncio.open_unix_connection(f"socket{os.getpid()}")
    writer.close()

    there, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 8053))
    heard = loop.create_future()
    here, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(heard), remote_addr=("127.0.0.1", 8053)
    )
    here.sendto(b"datagram")
    print((await heard).decode())
    here.close()
    there.close()

    child = await asyncio.create_subprocess_exec(
        *("nc", "127.0.0.1", "8000"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"through a child\n")
    print((await child.stdout.readline()).decode(), end="")
    child.kill()
    print("child", await child.wait())

    try:
        await asyncio.open_connection("127.0.0.1", 9)
    except OSError as error:
        print(type(error).__name__, error.errno)
    caught = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, caught.set)
    await asyncio.to_thread(os.kill, os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(caught.wait(), 5)
    server.close()
    print("all done")


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(5)
