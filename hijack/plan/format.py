"""The bytes of a boot plan: what ``kernel/include/ukl/plan.h`` declares.

Everything is in the machine's own byte order, as in C.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = 0x4E414C504C4B55
VERSION = 1

NETLINK = 1
SYSCTL = 2
MKDIR = 3
MOUNT = 4
IMAGE = 5
HOSTNAME = 6
DEFAULT = 7

FIX_INDEX = 1
FIX_GENERIC = 2

HEADER = struct.Struct("=QIIII")
RECORD = struct.Struct("=IIII")
NETLINK_HEAD = struct.Struct("=II")
FIX = struct.Struct("=II16s")
MOUNT_HEAD = struct.Struct("=Q")


@dataclass(frozen=True)
class Fix:
    """What the kernel host puts into a message, by name, at ``offset``."""

    offset: int
    kind: int
    name: str


@dataclass(frozen=True)
class Record:
    """One operation; ``place`` begins the message if it is refused."""

    op: int
    place: str
    payload: bytes


class PlanError(ValueError):
    """Bytes that are not a boot plan; ``args[0]`` says why."""


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def strings(*texts: str) -> bytes:
    """Texts with a zero behind each."""
    return b"".join(os.fsencode(text) + b"\0" for text in texts)


def netlink(family: int, message: bytes, fixes: Iterable[Fix]) -> bytes:
    """The payload of a netlink record."""
    listed = list(fixes)
    packed = b"".join(
        FIX.pack(fix.offset, fix.kind, fix.name.encode()) for fix in listed
    )
    return NETLINK_HEAD.pack(family, len(listed)) + packed + message


def split_netlink(payload: bytes) -> tuple[int, list[Fix], bytes]:
    """The family, fixes and message of a netlink record's payload."""
    family, count = NETLINK_HEAD.unpack_from(payload)
    fixes = []
    at = NETLINK_HEAD.size
    for _ in range(count):
        offset, kind, name = FIX.unpack_from(payload, at)
        fixes.append(Fix(offset, kind, name.rstrip(b"\0").decode()))
        at += FIX.size
    return family, fixes, payload[at:]


def encode(records: Iterable[Record]) -> bytes:
    """The whole plan."""
    body = b""
    count = 0
    for record in records:
        place = os.fsencode(record.place) + b"\0"
        body += RECORD.pack(record.op, len(place), len(record.payload), 0)
        body += _padded(place) + _padded(record.payload)
        count += 1
    size = HEADER.size + len(body)
    return HEADER.pack(MAGIC, VERSION, size, count, 0) + body


def decode(data: bytes) -> list[Record]:
    """The records of a plan; raises PlanError."""
    if len(data) < HEADER.size:
        raise PlanError("it is too short")
    magic, version, size, count, _ = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or size != len(data):
        raise PlanError("its header is not of this version")
    records = []
    at = HEADER.size
    for _ in range(count):
        if size - at < RECORD.size:
            raise PlanError("a record is cut off")
        op, place_size, length, _ = RECORD.unpack_from(data, at)
        at += RECORD.size
        end = at + place_size + -place_size % 8 + length + -length % 8
        if end > size or place_size == 0:
            raise PlanError("a record is cut off")
        place = os.fsdecode(data[at : at + place_size - 1])
        at += place_size + -place_size % 8
        records.append(Record(op, place, data[at : at + length]))
        at = end
    if at != size:
        raise PlanError("something follows the last record")
    return records
