"""What the tests of boot plans share: instances, and looking into them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from hijack import plan, profile
from hijack.instance import Attachment, Instance

OPEN, CLOSE, READ, SOCKET, SENDTO, RECVFROM = 2, 3, 0, 41, 44, 45
NLMSG_DONE = 3


class View:
    """An instance, looked into through its own kernel."""

    def __init__(self, attached: Attachment) -> None:
        self.call = attached.syscall

    def read(self, path: str) -> str:
        """A file of the instance."""
        descriptor = self.call(OPEN, path.encode() + b"\0", os.O_RDONLY, 0)
        buffer = bytearray(1 << 16)
        data = b""
        while count := self.call(READ, descriptor, buffer, len(buffer)):
            data += buffer[:count]
        self.call(CLOSE, descriptor)
        return data.decode()

    def sysctl(self, name: str) -> str:
        """A sysctl by the path of its file."""
        return " ".join(self.read(f"/proc/sys/{name}").split())

    def dump(self, message: Any, kind: int) -> list[Any]:
        """Everything of a kind that NETLINK_ROUTE knows."""
        return list(self._dump(message, kind))

    def _dump(self, message: Any, kind: int) -> Iterator[Any]:
        message["family"] = 0  # of all, which is not rtmsg's default
        message["header"]["type"] = kind
        message["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
        message["header"]["sequence_number"] = 1
        message.encode()
        end = self.call(SOCKET, 16, 3, 0)
        data = bytes(message.data)
        self.call(SENDTO, end, data, len(data), 0, 0, 0)
        buffer = bytearray(1 << 18)
        marshal = MarshalRtnl()
        # An answer is RTM_NEWX where the question is RTM_GETX, two more.
        marshal.msg_map = MarshalRtnl.msg_map | {kind - 2: type(message)}
        while True:
            count = self.call(RECVFROM, end, buffer, len(buffer), 0, 0, 0)
            for one in marshal.parse(bytes(buffer[:count])):
                if one["header"]["type"] == NLMSG_DONE:
                    self.call(CLOSE, end)
                    return
                yield one


Look = Callable[..., View]
"""look(TEXT, OVERRIDE...) boots an instance with a profile."""


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory of the test's own."""
    directory = tmp_path / "runtime"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    return directory


@pytest.fixture
def look(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Look, None, None]:
    """Boots one instance with a profile and attaches to it."""
    made: list[Instance | Attachment] = []
    monkeypatch.chdir(tmp_path)

    def boot(text: str | Path, *overrides: str, memory: str = "") -> View:
        if isinstance(text, str):
            path = tmp_path / "p.yaml"
            path.write_text(text)
            text = path
        compiled = plan.build(profile.load([os.path.relpath(text)], overrides))
        instance = Instance.boot(
            plan=compiled, directory=tmp_path / "i", memory=memory or None
        )
        made.append(instance)
        attached = instance.attach()
        made.append(attached)
        return View(attached)

    yield boot
    for one in reversed(made):
        if isinstance(one, Attachment):
            one.detach()
        else:
            one.stop()
