"""A TAP device with the host's own TCP at its other end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from desk import wait_for
from tinytree import ROOT

PATIENCE = 60.0
MEGABYTE = 1 << 20
CONNECTIONS = 5
ATTEMPTS = 5

# In a network namespace of its own: sends to a reader behind the device.
SENDER = """\
import socket, subprocess, sys
size, connections, *command = sys.argv[1:]
for line in (
    "ip link set lo up",
    "ip tuntap add ukl0 mode tap",
    "ip addr add 10.77.0.1/24 dev ukl0",
    "ip link set ukl0 up",
):
    subprocess.run(line.split(), check=True)
piece = bytes(int(size))
with subprocess.Popen([*command, connections], stdout=subprocess.PIPE) as reader:
    assert reader.stdout.readline() == b"ready\\n"
    for _ in range(int(connections)):
        with socket.create_connection(("10.77.0.2", 7000), timeout=20) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range((32 << 20) // len(piece)):
                server.sendall(piece)
        print(reader.stdout.readline().decode(), end="", flush=True)
sys.exit(reader.returncode)
"""

# Says how large its receive buffer mostly was, once it had found its size.
READER = """\
import socket, statistics, sys
with socket.create_server(("10.77.0.2", 7000)) as listener:
    print("ready", flush=True)
    for _ in range(int(sys.argv[1])):
        client, _ = listener.accept()
        with client:
            sizes = []
            while client.recv(1 << 17):
                sizes.append(client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
        print(int(statistics.median(sizes[len(sizes) // 2:])), flush=True)
"""


def buffers(size: int, *options: str) -> list[int]:
    """The receive buffers of some connections, ``size`` bytes written at a time."""
    where = Path(tempfile.mkdtemp(prefix="ukl-t-"))
    try:
        done = subprocess.run(
            [
                *("unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n"),
                *(sys.executable, "-c", SENDER, str(size), str(CONNECTIONS)),
                *(ROOT / "ukl-run", "--profile", ROOT / "examples" / "tap.yaml"),
                *(*options, "--", "python3", "-c", READER),
            ],
            env=os.environ | {"XDG_RUNTIME_DIR": str(where)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        ukl = where / "ukl"
        wait_for(lambda: not ukl.is_dir() or not any(ukl.iterdir()), "it stays")
    finally:
        shutil.rmtree(where)
    assert (done.returncode, done.stderr) == (0, "")
    found = [int(line) for line in done.stdout.splitlines()]
    assert len(found) == CONNECTIONS
    return found


def near(size: int) -> list[int]:
    """The buffers of near connections, the third of five and those below.

    A handshake of 100 us is somebody far away, and on a busy machine there is one
    now and then.
    """
    for _ in range(ATTEMPTS):
        found = sorted(buffers(size))[: CONNECTIONS // 2 + 1]
        if found[-1] <= MEGABYTE:
            break
    return found


def test_a_neighbours_buffer_is_small(kernel_image: Path) -> None:
    """Long frames get 1 MB and no more, short ones less."""
    long = near(MEGABYTE)
    assert MEGABYTE // 2 < long[-1] <= MEGABYTE
    assert near(1500)[-1] < long[-1]


def test_who_is_far_away_gets_more(kernel_image: Path) -> None:
    """What the distance needs, as ever."""
    delayed = "network.ethernets.eth0.qdisc=netem delay 5ms"
    assert min(buffers(MEGABYTE, "--set", delayed)) > MEGABYTE
