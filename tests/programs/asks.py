"""A program that asks itself by the requests package; ``test_requests`` runs it."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests


class Handler(http.server.BaseHTTPRequestHandler):
    """``/big`` is the file; PUT says what came; ``/to`` is elsewhere."""

    protocol_version = "HTTP/1.1"

    def answer(self, data: bytes, status: int = 200, **words: str) -> None:
        """Send it."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for key, value in words.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """By path."""
        if self.path == "/big":
            self.answer(Path("big").read_bytes())
        elif self.path == "/to":
            self.answer(b"", 302, Location="/big")
        else:
            self.answer(f"hello {self.path}".encode())

    def do_PUT(self) -> None:
        """The digest of the body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """One thing after the other; each prints a line."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://localhost:8000"
    big = Path("big").read_bytes()

    def ask(number: int) -> bool:
        return requests.get(f"{url}/{number}", timeout=30).text == f"hello /{number}"

    with ThreadPoolExecutor(8) as pool:
        print(sum(pool.map(ask, range(100))), "answers")
    with requests.Session() as session:
        for _ in range(20):
            session.get(f"{url}/x", timeout=30).raise_for_status()
        got = session.get(f"{url}/to", timeout=30)
        print(got.content == big, [one.status_code for one in got.history])
        with session.get(f"{url}/big", stream=True, timeout=30) as parts:
            print(b"".join(parts.iter_content(10_000)) == big)
        with Path("big").open("rb") as file:
            text = session.put(f"{url}/x", data=file, timeout=30).text
        print(text == hashlib.sha256(big).hexdigest())
    silent = socket.create_server(("127.0.0.1", 8001))
    for port in (8001, 9):
        try:
            requests.get(f"http://127.0.0.1:{port}/", timeout=0.3)
        except requests.RequestException as error:
            print(type(error).__name__)
    silent.close()
    server.shutdown()
    print("all done")


if __name__ == "__main__":
    main()
