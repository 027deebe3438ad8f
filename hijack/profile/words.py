"""The kinds of values in a profile: how each is read, and what is said if it is not.

Every reader takes what the YAML said (a text, mostly) and returns the value, or
raises :func:`wrong` with one sentence that says what to write instead.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from hijack.profile.problems import quoted, suggestion

IFNAME_MAX = 15
"""Characters of an interface's name (IFNAMSIZ less the final zero)."""

_KINDS: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "nothing"}


def wrong(message: str) -> PydanticCustomError:
    """The error for a value that cannot be used."""
    # Braces would be read as places of a template.
    return PydanticCustomError("ukl", "{message}", {"message": message})


def shown(value: object) -> str:
    """A value as messages name it."""
    for kind, words in _KINDS.items():
        if isinstance(value, kind):
            return words
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(str(value))


def text(value: object) -> str:
    """Any text that is not empty."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str) or not value:
        raise wrong(
            f"give a text, not {shown(value) if value != '' else 'an empty one'}"
        )
    if "\0" in value:
        raise wrong("a text cannot have a NUL character in it")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise wrong("a text cannot have half a character (a surrogate) in it")
    return value


def one_line(value: object) -> str:
    """A text of one line."""
    result = text(value)
    if "\n" in result or "\r" in result:
        raise wrong("give a text of one line")
    return result


def truth(value: object) -> bool:
    """true or false, as YAML 1.1 and 1.2 write them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value.lower() in ("true", "yes", "on"):
            return True
        if value.lower() in ("false", "no", "off"):
            return False
    raise wrong(f"give true or false, not {shown(value)}")


def number_of(value: object) -> int | None:
    """A whole number in decimal, 0x or 0o; None if it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"[-+]?[0-9]{1,20}", value):
        return int(value)
    if re.fullmatch(r"0x[0-9A-Fa-f]{1,16}|0o[0-7]{1,22}", value):
        return int(value, 0)
    return None


def between(low: int, high: int, unit: str = "") -> Callable[[object], int]:
    """A reader of whole numbers from ``low`` to ``high``."""
    words = f"give a number from {low} to {high}{unit}"
    if low == high:
        words = f"give {low}"

    def read(value: object) -> int:
        number = number_of(value)
        if number is None or not low <= number <= high:
            raise wrong(f"{words}, not {shown(value)}")
        return number

    return read


def one_of(words: Iterable[str], what: str = "word") -> Callable[[object], str]:
    """A reader of one of a few words."""
    known = tuple(words)

    def read(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        if not isinstance(value, str):
            raise wrong(f"give one of {', '.join(known)}, not {shown(value)}")
        near = suggestion(value, known) or f" (one of {', '.join(known)})"
        raise wrong(f"unknown {what} {quoted(value)}{near}")

    return read


def interface_name(value: object) -> str:
    """A name that the kernel gives an interface (dev_valid_name())."""
    name = text(value)
    if len(name.encode()) > IFNAME_MAX:
        raise wrong(
            f"an interface's name has at most {IFNAME_MAX} characters, not "
            f"{len(name.encode())}"
        )
    if name in (".", "..") or re.search(r"[\s/:,%]", name) or not name.isascii():
        raise wrong(f"{quoted(name)} cannot name an interface")
    return name


def device_name(value: object) -> str:
    """The name of an interface of the profile's own: not lo."""
    name = interface_name(value)
    if name == "lo":
        raise wrong("lo is the loopback; it is there and up already")
    return name


def label(value: object) -> str:
    """The label of an IPv4 address: as long as an interface's name."""
    given = text(value)
    if len(given) > IFNAME_MAX or not re.fullmatch(r"[!-~]+", given):
        raise wrong(f"a label has at most {IFNAME_MAX} characters and no spaces")
    return given


def address(value: object) -> str:
    """An IP address."""
    try:
        return str(ipaddress.ip_address(text(value).partition("%")[0]))
    except ValueError:
        raise wrong(f"{shown(value)} is not an IP address") from None


def address_with_port(value: object) -> str:
    """ADDRESS:PORT, an IPv6 address in brackets."""
    given = text(value)
    host, colon, port = given.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise wrong(f"write an IPv6 endpoint as [ADDRESS]:PORT, not {quoted(given)}")
    number = number_of(port)
    if not colon or number is None or not 1 <= number <= 65535:
        raise wrong(f"{quoted(given)} is not ADDRESS:PORT")
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        raise wrong(
            f"{quoted(host)} is not an IP address (a boot plan cannot ask a name "
            "server)"
        ) from None
    return f"[{parsed}]:{number}" if parsed.version == 6 else f"{parsed}:{number}"


def interface_address(value: object) -> str:
    """ADDRESS/LENGTH of an interface."""
    given = text(value)
    host, slash, length = given.partition("/")
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        raise wrong(f"{quoted(given)} is not an IP address with /LENGTH") from None
    most = parsed.max_prefixlen
    number = number_of(length)
    if not slash:
        raise wrong(
            f"{quoted(given)} has no prefix length ({parsed}/"
            f"{24 if parsed.version == 4 else 64}?)"
        )
    if number is None or not 0 <= number <= most or not length.isdigit():
        raise wrong(f"{quoted(given)}: the prefix length is a number from 0 to {most}")
    return f"{parsed}/{number}"


def network(value: object) -> str:
    """NETWORK/LENGTH; an address alone is itself; no bits beyond the length."""
    given = text(value)
    try:
        return str(ipaddress.ip_network(given))
    except ValueError:
        pass
    try:
        loose = ipaddress.ip_network(given, strict=False)
    except ValueError:
        raise wrong(f"{quoted(given)} is not a network such as 10.0.0.0/8") from None
    raise wrong(
        f"{quoted(given)} has bits set beyond its length (did you mean {loose}?)"
    )


def destination(value: object) -> str:
    """``default``, or a network."""
    if value == "default":
        return "default"
    if isinstance(value, str) and value in ("0.0.0.0/0", "::/0"):
        return value
    return network(value)


def mac(value: object) -> str:
    """The address of one Ethernet interface."""
    given = text(value).lower()
    if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", given):
        raise wrong(f"{shown(value)} is not an Ethernet address (52:54:00:12:34:56)")
    if int(given[:2], 16) & 1:
        raise wrong(f"{quoted(given)} is a group's address, not one interface's")
    if given == "00:00:00:00:00:00":
        raise wrong("an interface's address cannot be all zeros")
    return given


def name_of_wire(value: object) -> str:
    """The name of a wire."""
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", name):
        raise wrong(
            f"{quoted(name)} cannot name a wire (at most 32 letters, digits, "
            "'.', '_' and '-')"
        )
    return name


def name_of_netns(value: object) -> str:
    """The name of a network namespace: a file of /run/netns."""
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._@:+-]{0,63}", name):
        raise wrong(
            f"{quoted(name)} cannot name a network namespace (at most 64 letters, "
            "digits, '.', '_', '@', ':', '+' and '-')"
        )
    return name


def host_name(value: object) -> str:
    """A host's name, with or without a domain (RFC 1123; 64 as uname(2) has)."""
    name = text(value)
    label = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
    if len(name) > 64 or not re.fullmatch(rf"{label}(\.{label})*\.?", name):
        raise wrong(f"{quoted(name)} is not a host name")
    return name


def command_name(value: object) -> str:
    """A command as it is looked for on PATH."""
    name = text(value)
    if not re.fullmatch(r"[\w.+@-]+", name) or name.startswith("-"):
        raise wrong(f"{quoted(name)} is not a command's name (a word without slashes)")
    return name


def package_name(value: object) -> str:
    """A Debian package's name (Debian Policy 5.6.7)."""
    name = text(value)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name):
        raise wrong(f"{quoted(name)} is not a Debian package's name")
    return name


def wireguard_key(value: object) -> str:
    """32 bytes in base64."""
    given = text(value)
    try:
        raw = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        # Not shown: it may be a private one.
        raise wrong("is not a WireGuard key: 32 bytes in base64 (wg genkey makes one)")
    return given


def private_key(value: object) -> str:
    """A key, or the path of a file that holds one."""
    given = text(value)
    return given if "/" in given[:1] else wireguard_key(given)


def size(value: object) -> str:
    """Bytes with K, M or G."""
    given = text(value)
    match = re.fullmatch(r"(\d{1,9})([KMG])(i?B)?", given, re.IGNORECASE)
    if not match:
        raise wrong(f"{quoted(given)} is not a size such as 64M")
    number, unit = int(match[1]), match[2].upper()
    mib = number * {"K": 1 / 1024, "M": 1, "G": 1024}[unit]
    if not 32 <= mib <= 1024 * 1024:
        raise wrong(f"give a size from 32M to 1024G, not {given}")
    return f"{number}{unit}"


def absolute(value: object) -> str:
    """A path from the root."""
    path = one_line(value)
    if not path.startswith("/"):
        raise wrong(f"{quoted(path)} is not an absolute path")
    return path


def sysctl_name(value: object) -> str:
    """A sysctl with dots or with slashes, as sysctl(8) takes both.

    The first separator says which: ``net/ipv4/conf/eth0.5/forwarding``.
    """
    name = text(value)
    if not re.fullmatch(r"[A-Za-z0-9_@+:-]+([./][A-Za-z0-9_@+:.-]+)+", name) or (
        ".." in name or name.endswith(".")
    ):
        raise wrong(f"{quoted(name)} is not a sysctl such as net.core.somaxconn")
    return name


def sysctl_path(name: str) -> str:
    """The file below /proc/sys of a sysctl's name."""
    if name.find("/") == -1 or -1 < name.find(".") < name.find("/"):
        # In a name with dots, slashes stand for an interface's dots.
        return name.translate(str.maketrans("./", "/."))
    return name


def sysctl_value(value: object) -> str:
    """What is written to a sysctl: a word, a number, or some with spaces."""
    if isinstance(value, list):
        return " ".join(one_line(item) for item in value)
    return one_line(value)


@dataclass(frozen=True, eq=False)
class Read:
    """An annotation: the reader of a type, and its JSON Schema."""

    read: Callable[[object], Any]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.schema)


def number(low: int, high: int, unit: str = "") -> Read:
    """Whole numbers within bounds."""
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Read(between(low, high, unit), schema)


def choice(words: Iterable[str], what: str = "word") -> Read:
    """One of a few words."""
    known = tuple(words)
    return Read(one_of(known, what), {"enum": list(known)})


Text = Annotated[str, Read(text)]
Line = Annotated[str, Read(one_line)]
Truth = Annotated[bool, Read(truth, {"type": "boolean"})]
Address = Annotated[str, Read(address)]
Network = Annotated[str, Read(network)]
InterfaceName = Annotated[str, Read(interface_name)]
DeviceName = Annotated[str, Read(device_name)]
