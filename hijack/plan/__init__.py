"""Boot plans: a profile compiled to what the kernel host replays.

::

    plan = cached(["web.yaml"], ["hostname=web"])
    Instance.boot(plan=plan)

Importing this package and a hit of :func:`cached` are cheap: neither pydantic
nor ruamel nor pyroute2 is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hijack import paths
from hijack.errors import UklError
from hijack.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hijack.profile import Profile

__all__ = ["Dhcp", "Plan", "Publish", "build", "cached"]

RUNTIME = "{runtime}"
"""In a device's words: the directory of this user's instances."""

FORMAT = 2
KEPT = 64
"""Plans kept in the cache; those not used for longest go."""

_MAGIC = b"ukl plan cache\n"


class Publish(Record):
    """A port of the instance that the host publishes."""

    protocol: str
    """``tcp`` or ``udp``."""
    address: str
    """Of the host, that listens."""
    host_port: int
    port: int
    """In the instance."""

    def word(self) -> str:
        """``tcp:127.0.0.1:8080:80``, IPv6 in brackets: a word of ukl-host's."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol}:{address}:{self.host_port}:{self.port}"


class Dhcp(Record):
    """An interface that gets its address from a DHCP server."""

    interface: str
    place: str
    """Where it was asked for."""
    wait: bool
    """Whether the target waits for the first lease."""
    take: str
    """What is taken of a lease beside address and routes: words of ``mtu``,
    ``nameserver`` and ``search``, which the profile does not say itself."""
    static: str
    """The IPv4 addresses that it has anyway."""


class Plan(Record):
    """What a profile asks of the kernel host, and of the launcher."""

    data: bytes
    """The boot plan, for ``ukl-host --plan``; see <ukl/plan.h>."""
    devices: list[str]
    """The interfaces, for ``ukl-host --device``; may hold ``{runtime}`` until
    :meth:`expand`."""
    memory: str
    """The size of the instance's memory: ``64M``."""
    cmdline: str
    """The library kernel's command line."""
    capture: str | None
    """A pcapng file for the frames of all interfaces."""
    environment: dict[str, str | None]
    """Variables for the target; None is the caller's."""
    hosts: str
    """The text of /etc/hosts."""
    resolv_conf: str
    """The text of /etc/resolv.conf; empty without a name server."""
    hostname: str
    """Empty: the host's."""
    publish: list[Publish]
    """Already in the words of the device they belong to."""
    ulimits: dict[str, tuple[int, int]]
    packages: dict[str, str]
    """Commands, and the Debian packages that have them."""
    """Soft and hard limits by setrlimit(2)'s names in small letters; -1 is
    unlimited."""
    nftables: str
    """A ruleset that ``nft -f -`` loads in the instance before the target starts."""
    nftables_place: str
    """Where it was written."""
    mounts: list[str]
    """The directories that belong to the instance."""
    dhcp: list[Dhcp]
    """The interfaces that :mod:`hijack.dhcp` gets leases for."""

    def expand(self) -> list[str]:
        """The devices with the runtime directory filled in, and made.

        Raises UklError if it cannot be made.
        """
        if not any(RUNTIME in spec for spec in self.devices):
            return list(self.devices)
        from hijack.runtime import base_directory

        runtime = base_directory()
        wires = runtime / ".wires"
        try:
            wires.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise UklError(f"cannot make {wires}: {error.strerror}") from None
        return [spec.replace(RUNTIME, os.fspath(runtime)) for spec in self.devices]


def build(profile: Profile) -> Plan:
    """Compile a checked profile."""
    from hijack.plan.compiling import compiled

    return compiled(profile)


def cached(
    sources: Sequence[str | os.PathLike[str]],
    overrides: Sequence[str] = (),
    publish: Sequence[str] = (),
) -> Plan:
    """Load and compile profiles, or take the same from the cache.

    The key is the bytes of all sources, the other arguments, and our own version; the
    files that a profile names are compared as well.  A cache that cannot be
    written is done without.

    Raises ProfileErrors as :func:`hijack.profile.load` does.
    """
    key = _key(sources, overrides, publish)
    place = paths.cache_root() / "plan" / key if key is not None else None
    if place is not None and (hit := _read(place)) is not None:
        return hit
    from hijack.profile import load

    profile = load(sources, overrides, publish)
    made = build(profile)
    if place is not None:
        _write(place, made, profile.files)
    return made


def _key(
    sources: Sequence[str | os.PathLike[str]],
    overrides: Sequence[str],
    publish: Sequence[str],
) -> str | None:
    """The name of a plan in the cache; None if a source cannot be read."""
    digest = hashlib.sha256(_MAGIC)

    def add(data: bytes) -> None:
        digest.update(b"%d:" % len(data))
        digest.update(data)

    add(f"{FORMAT}".encode())
    add(os.fsencode(Path.cwd()))
    # Our own files: in a clone they change without a version.
    here = Path(__file__).parent
    for room in (here, here.parent / "profile"):
        for entry in sorted(os.scandir(room), key=lambda entry: entry.name):
            if entry.name.endswith(".py"):
                stat = entry.stat()
                add(f"{entry.path} {stat.st_size} {stat.st_mtime_ns}".encode())
    try:
        for source in sources:
            add(os.fsencode(source))
            add(Path(source).read_bytes())
    except (OSError, ValueError):
        return None
    for kind, texts in ((b"-s", overrides), (b"-P", publish)):
        for text in texts:
            add(kind)
            add(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(place: Path) -> Plan | None:
    """A plan of the cache; None if it is not there, damaged, or too old."""
    try:
        content = place.read_bytes()
        head, _, rest = content.removeprefix(_MAGIC).partition(b"\n")
        if not content.startswith(_MAGIC) or head.decode() != _sha256(rest):
            return None
        line, _, data = rest.partition(b"\n")
        stored: dict[str, Any] = json.loads(line)
        for name, digest in stored["files"].items():
            if _sha256(Path(name).read_bytes()) != digest:
                return None
        fields: dict[str, Any] = stored["plan"]
        fields["publish"] = [Publish(**one) for one in fields["publish"]]
        fields["dhcp"] = [Dhcp(**one) for one in fields["dhcp"]]
        fields["ulimits"] = {
            name: (soft, hard) for name, (soft, hard) in fields["ulimits"].items()
        }
        plan = Plan(data=data, **fields)
        os.utime(place)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return plan


def _write(place: Path, plan: Plan, files: dict[str, bytes]) -> None:
    fields = plan.as_dict()
    fields["publish"] = [one.as_dict() for one in plan.publish]
    fields["dhcp"] = [one.as_dict() for one in plan.dhcp]
    data: bytes = fields.pop("data")
    stored = {
        "files": {name: _sha256(content) for name, content in files.items()},
        "plan": fields,
    }
    rest = json.dumps(stored).encode() + b"\n" + data
    content = _MAGIC + _sha256(rest).encode() + b"\n" + rest
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(OSError):
        # Private keys may be in it.
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            temporary.rename(place)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        entries = sorted(
            os.scandir(place.parent), key=lambda entry: entry.stat().st_mtime_ns
        )
        for entry in entries[:-KEPT]:
            Path(entry.path).unlink(missing_ok=True)
