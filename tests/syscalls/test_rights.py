"""Descriptors in messages: not to who is outside the instance."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from inside import Inside

from hijack.instance import Instance

OUTSIDE = """\
send_fds(0, &s, 1): EPERM
send_fds(0, &ep, 1): EPERM
send_fds(0, both, 2): EPERM
send_fds(0, &null, 1): 1
dup(0): 6
end of role_to_a_stranger
"""


@pytest.mark.parametrize("how", ["pair", "listener"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_stranger_gets_files_of_the_host_only(
    inside: Inside,
    compiled: Callable[..., Path],
    tmp_path: Path,
    how: str,
    kind: socket.SocketKind,
) -> None:
    if how == "pair":
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    else:
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind(str(tmp_path / "l"))
        listener.listen()
        theirs = socket.socket(socket.AF_UNIX, kind)
        theirs.connect(str(tmp_path / "l"))
        ours, _ = listener.accept()
        listener.close()
    with ours, theirs:
        done = subprocess.run(
            [compiled("rights"), "role_to_a_stranger"],
            env=inside.environment(),
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.stdout, done.stderr, done.returncode) == (OUTSIDE, "", 0)
        ours.settimeout(10)
        said, got, flags, _ = socket.recv_fds(ours, 16, 8)
        assert (said, flags, len(got)) == (b"x", 0, 1)
        assert str(Path(f"/proc/self/fd/{got[0]}").readlink()) == os.devnull
        os.close(got[0])


def test_files_under_way_are_let_go(
    inside: Inside, compiled: Callable[..., Path]
) -> None:
    """After messages that nobody has read, nothing is kept."""
    program = compiled("rights")
    assert inside.run(program, "messages_that_nobody_reads").returncode == 0
    # All that are kept would be looked at twice a second.
    kept = inside.run("cat", "/proc/net/sockstat").stdout
    assert "TCP: inuse 0" in kept, kept


def test_taking_from_a_stranger(
    inside: Inside, compiled: Callable[..., Path], tmp_path: Path
) -> None:
    """Any process of the instance may take; one of another instance finds nothing."""
    program = compiled("rights")
    with (
        Instance.boot(directory=tmp_path / "j", name="other", keep=True) as other,
        subprocess.Popen(
            [program, "role_holder"],
            env=inside.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as holder,
    ):
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.read(5)[4:] == b"x"
        for who, socket_is in (
            (inside, "4"),
            (Inside(inside.instance, inside.shim, loader=True), "4"),
            (Inside(other, inside.shim), "EPERM"),
        ):
            free = 4 if socket_is == "EPERM" else 5
            done = who.run(program, "role_take", holder.pid)
            assert (done.stdout, done.stderr, done.returncode) == (
                f"get_fd(pidfd, 20): {socket_is}\n"
                f"get_fd(pidfd, 0): {free}\n"
                f"dup(0): {free + 1}\n"
                "end of role_take\n",
                "",
                0,
            )
        holder.stdin.close()
        assert holder.wait(30) == 0
