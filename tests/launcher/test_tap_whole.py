"""A TAP device with the host's own TCP at its other end."""

from __future__ import annotations

import sys
from pathlib import Path

from desk import in_a_namespace
from tinytree import ROOT

PATIENCE = 60.0
MEGABYTE = 1 << 20
CONNECTIONS = 5
ATTEMPTS = 5

# In a network namespace of its own: sends to a reader behind the device.
SENDER = """\
import socket, subprocess, sys
sizes, connections, *command = sys.argv[1:]
for line in (
    "ip link set lo up",
    "ip tuntap add ukl0 mode tap",
    "ip addr add 10.77.0.1/24 dev ukl0",
    "ip link set ukl0 up",
):
    subprocess.run(line.split(), check=True)
with subprocess.Popen([*command, connections], stdout=subprocess.PIPE) as reader:
    assert reader.stdout.readline() == b"ready\\n"
    for _ in range(int(connections)):
        with socket.create_connection(("10.77.0.2", 7000), timeout=20) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for size in map(int, sizes.split()):
                piece = bytes(size)
                for _ in range((32 << 20) // size):
                    server.sendall(piece)
        print(reader.stdout.readline().decode(), end="", flush=True)
sys.exit(reader.returncode)
"""

# Says how large its receive buffer mostly was at last.
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
        print(int(statistics.median(sizes[-100:])), flush=True)
"""


def buffers(sizes: list[int], *options: str) -> list[int]:
    """The receive buffers of some connections at their end.

    ``sizes``: so many bytes are written at a time, 32 MB of each.
    """
    done = in_a_namespace(
        *(sys.executable, "-c", SENDER, " ".join(map(str, sizes)), CONNECTIONS),
        *(ROOT / "ukl-run", "--profile", ROOT / "examples" / "tap.yaml"),
        *(*options, "--", "python3", "-c", READER),
        seconds=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = [int(line) for line in done.stdout.splitlines()]
    assert len(found) == CONNECTIONS
    return found


def near(*sizes: int) -> list[int]:
    """The buffers of near connections, the third of five and those below.

    A handshake of 100 us is somebody far away, and on a busy machine there is one
    now and then.
    """
    for _ in range(ATTEMPTS):
        found = sorted(buffers(list(sizes)))[: CONNECTIONS // 2 + 1]
        if found[-1] <= MEGABYTE:
            break
    return found


def test_a_neighbours_buffer_is_small(kernel_image: Path) -> None:
    """Long frames get 1 MB and no more, short ones less."""
    long = near(MEGABYTE)
    assert MEGABYTE // 2 < long[-1] <= MEGABYTE
    assert near(1500)[-1] < long[-1]
    # It grows again.
    assert near(1500, MEGABYTE)[-1] > MEGABYTE // 4


def test_who_is_far_away_gets_more(kernel_image: Path) -> None:
    """What the distance needs, as ever."""
    delayed = "network.ethernets.eth0.qdisc=netem delay 5ms"
    assert min(buffers([MEGABYTE], "--set", delayed)) > MEGABYTE
