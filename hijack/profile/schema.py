"""The keys of a profile: one record per setting.

A record has a type, a default, a description and an example.  Validation, the
JSON Schema, the man page and the words of errors all come from here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hijack.profile import qdisc as tc
from hijack.profile import words
from hijack.profile.problems import quoted, suggestion
from hijack.profile.words import (
    Address,
    DeviceName,
    InterfaceName,
    Line,
    Network,
    Read,
    Text,
    Truth,
    choice,
    number,
    shown,
    wrong,
)

BACKENDS = ("user", "tap", "wire", "fd", "none")
SCALAR = {"type": ["string", "number", "boolean"]}


def setting(default: Any, description: str, example: str) -> Any:
    """A setting with a default; ``example`` is its value in YAML."""
    return Field(default=default, description=description, examples=[example])


def needed(description: str, example: str) -> Any:
    """A setting that must be given."""
    return Field(description=description, examples=[example])


def several(factory: type, description: str, example: str) -> Any:
    """A setting that is a list or mapping, empty by default."""
    return Field(default_factory=factory, description=description, examples=[example])


class Record(BaseModel):
    """A mapping with known keys; null is the default of any of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    short: ClassVar[str] = ""
    """What else may be written instead of the mapping, for messages."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The mapping that a short form stands for."""
        return value

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        value = {} if value is None else cls.expand(value)
        if not isinstance(value, dict):
            other = f"{cls.short} or a mapping" if cls.short else "a mapping"
            raise wrong(f"give {other} (KEY: VALUE), not {shown(value)}")
        known = aliases(cls)
        return {k: v for k, v in value.items() if v is not None or k not in known}


def aliases(model: type[BaseModel]) -> dict[str, str]:
    """The keys of a record in a profile, and the names of their fields."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _hyphens(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


class Hyphenated(Record):
    """A mapping in netplan's manner: words with hyphens."""

    model_config = ConfigDict(alias_generator=_hyphens)


# ---------------------------------------------------------------------
# Network.

ROUTE_TYPES = (
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
)
SCOPES = ("global", "link", "host")


class Nameservers(Hyphenated):
    """Who is asked for names."""

    addresses: list[Address] = several(
        list, "Name servers, in the order they are asked.", "[10.0.2.3, 9.9.9.9]"
    )
    search: list[Line] = several(
        list, "Domains that are tried behind a name without one.", "[example.net]"
    )


class Route(Hyphenated):
    """A route."""

    to: Annotated[str, Read(words.destination)] = needed(
        "The destination: a network, an address, or `default` (of the family of "
        "`via`, IPv4 without one).",
        "10.8.0.0/16",
    )
    via: Address | None = setting(None, "The gateway.", "10.0.0.1")
    from_: Address | None = setting(
        None, "The source address of what this instance sends there.", "10.0.0.5"
    )
    on_link: Truth = setting(
        False, "The gateway is reached directly, whatever the addresses say.", "true"
    )
    metric: Annotated[int, number(0, 2**32 - 1)] | None = setting(
        None, "Of two routes to the same network the one with less is taken.", "100"
    )
    type: Annotated[str, choice(ROUTE_TYPES, "type of route")] = setting(
        "unicast", "What happens to packets: see ip-route(8).", "blackhole"
    )
    scope: Annotated[str, choice(SCOPES, "scope")] | None = setting(
        None,
        "How far away the destination is; by default `global` with a gateway, `link` "
        "without one, `host` for type local.",
        "link",
    )
    table: Annotated[int, number(1, 2**32 - 1)] = setting(
        254, "The routing table; 254 is the main one, 255 the local one.", "100"
    )
    mtu: Annotated[int, number(68, 65535, " bytes")] | None = setting(
        None, "The path's MTU.", "1400"
    )
    congestion_window: Annotated[int, number(1, 65535, " segments")] | None = setting(
        None, "The initial congestion window of connections (initcwnd).", "20"
    )
    advertised_receive_window: Annotated[int, number(1, 65535, " segments")] | None = (
        setting(None, "The initial receive window (initrwnd).", "40")
    )


class Rule(Hyphenated):
    """A rule of policy routing."""

    from_: Network | None = setting(None, "Where packets come from.", "10.0.0.0/24")
    to: Network | None = setting(None, "Where packets go to.", "192.0.2.0/24")
    table: Annotated[int, number(1, 2**32 - 1)] = needed(
        "The routing table that is looked at.", "100"
    )
    priority: Annotated[int, number(0, 2**32 - 1)] | None = setting(
        None,
        "Rules with less are looked at first; by default the kernel's choice.",
        "1000",
    )
    mark: Annotated[int, number(1, 2**32 - 1)] | None = setting(
        None, "The packets' firewall mark.", "0x10"
    )
    type_of_service: Annotated[int, number(0, 255)] | None = setting(
        None,
        "The packets' type of service; its lowest two bits are not part of it.",
        "16",
    )


class InterfaceAddress(Record):
    """An address of an interface."""

    short: ClassVar[str] = "ADDRESS/LENGTH"

    address: Annotated[str, Read(words.interface_address)] = needed(
        "The address with its prefix length.", "192.0.2.7/24"
    )
    label: Annotated[str, Read(words.label)] | None = setting(
        None, "A name for an IPv4 address, as ip-address(8) shows it.", "eth0:web"
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"address": value}
        if isinstance(value, dict) and "address" not in value and len(value) == 1:
            # netplan's own form: 192.0.2.7/24: {label: …}
            ((key, inner),) = value.items()
            if inner is None or isinstance(inner, dict):
                return {"address": key} | (inner or {})
        return value


def read_qdisc(value: object) -> tc.Qdisc:
    """A discipline in tc's words, or the same as a mapping."""
    try:
        if isinstance(value, dict):
            value = tc.from_mapping(value)
        if not isinstance(value, str):
            raise wrong(f"give a discipline in tc's words, not {shown(value)}")
        return tc.parse(value)
    except tc.QdiscError as error:
        raise wrong(str(error)) from None


def read_no(value: object) -> bool:
    """dhcp6: there is no client."""
    if words.truth(value):
        raise wrong(
            "Debian's busybox has no DHCPv6 client (accept-ra: true takes addresses "
            "that a router advertises, addresses: gives fixed ones)"
        )
    return False


No = Annotated[bool, Read(read_no, {"const": False})]


class Interface(Hyphenated):
    """What every interface has."""

    addresses: list[InterfaceAddress] = several(
        list,
        "Addresses with their prefix length.  They are usable at once: the kernel "
        "does not look for duplicates first.",
        "[192.0.2.7/24, 2001:db8::7/64]",
    )
    routes: list[Route] = several(
        list, "Routes through this interface.", "[{to: default, via: 192.0.2.1}]"
    )
    routing_policy: list[Rule] = several(
        list,
        "Rules of policy routing, as `ip rule` has them.",
        "[{from: 192.0.2.0/24, table: 100}]",
    )
    nameservers: Nameservers | None = setting(
        None,
        "Name servers; those of all interfaces are asked.",
        "{addresses: [192.0.2.53]}",
    )
    mtu: Annotated[int, number(68, 65535, " bytes")] | None = setting(
        None,
        "The largest packet, in bytes.  IPv6 needs 1280.  By default 65520 for the "
        "user backend, else the kernel's choice.",
        "9000",
    )
    macaddress: Annotated[str, Read(words.mac)] | None = setting(
        None, "The Ethernet address; by default a random one.", "52:54:00:12:34:56"
    )
    dhcp4: Truth = setting(
        False,
        "Whether a DHCP server gives an address, routes (of metric 100 for the first "
        "such interface, 101 for the next), the MTU, name servers and search domains; "
        "what the profile says itself wins.  The target starts when the lease is "
        "there; 30 seconds without one (or `$UKL_DHCP_SECONDS`) end the start, unless "
        "`optional` is set.  The client is busybox's udhcpc, which runs in the "
        "instance, renews the lease, and gives it back when the instance ends.",
        "true",
    )
    dhcp6: No = setting(
        False, "Only `false`: Debian's busybox has no DHCPv6 client.", "false"
    )
    accept_ra: Truth | None = setting(
        None,
        "Whether routers' advertisements are followed (IPv6 autoconfiguration), even "
        "while forwarding.  By default the kernel's rule: if it does not forward.",
        "true",
    )
    optional: Truth = setting(
        False,
        "Whether the target starts without waiting for the lease of `dhcp4`.",
        "true",
    )
    qdisc: (
        Annotated[tc.Qdisc, Read(read_qdisc, {"type": ["string", "object"]})] | None
    ) = setting(
        None,
        "The queueing discipline in tc's words (or a mapping of them): netem, fq, "
        "fq_codel, codel, tbf, pfifo, bfifo, pfifo_fast or noqueue.",
        "netem delay 50ms loss 1%",
    )


class UserBackend(Record):
    """The options of the user backend."""

    host_access: Truth = setting(
        True,
        "Whether the gateway's address reaches services on the host's own loopback.",
        "false",
    )
    dns: Truth = setting(
        True,
        "Whether the instance asks the third address of the network for names, where "
        "the backend answers by asking the host's name servers.",
        "false",
    )


def read_descriptor(value: object) -> int:
    """A descriptor's number."""
    return words.between(0, 1 << 20)(value)


class Backend(Record):
    """How an interface reaches the world; exactly one key but for netns."""

    short: ClassVar[str] = "a word (" + ", ".join(BACKENDS) + ")"

    user: UserBackend | None = setting(
        None,
        "NAT through the host's own sockets; needs no privilege.  Ports are "
        "published with `ports:`.",
        "{host_access: false}",
    )
    tap: InterfaceName | None = setting(
        None,
        "A TAP device of the host, attached to or made (which needs CAP_NET_ADMIN). "
        "`backend: tap` uses the interface's own name.",
        "tap0",
    )
    netns: Annotated[str, Read(words.name_of_netns)] | None = setting(
        None,
        "Beside `tap`: the host's network namespace that has the device (which needs "
        "CAP_SYS_ADMIN), by the name that ip-netns(8) gave it.",
        "lab",
    )
    wire: Annotated[str, Read(words.name_of_wire)] | None = setting(
        None,
        "A cable, or a switch, between this user's instances: all that name it are "
        "on it.",
        "lab",
    )
    fd: Annotated[int, Read(read_descriptor, {"type": "integer"})] | None = setting(
        None,
        "A datagram socket that the launcher inherits under this number, one "
        "Ethernet frame per datagram.",
        "5",
    )
    none: Annotated[bool, Read(words.truth, {"type": "boolean"})] | None = setting(
        None, "Nothing: what is sent disappears.", "true"
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if not isinstance(value, str):
            if isinstance(value, dict):
                known = [key for key in value if key in BACKENDS]
                if len(known) != 1 and len(value) == len(known):
                    raise wrong(
                        f"give one of {', '.join(BACKENDS)}"
                        + (f", not {' and '.join(known)}" if known else "")
                    )
                if value.get("user", ()) is None:
                    return value | {"user": {}}
            return value
        if value == "user":
            return {"user": {}}
        if value == "none":
            return {"none": True}
        if value == "wire":
            raise wrong("name the wire: backend: {wire: NAME}")
        if value == "fd":
            raise wrong("give the descriptor: backend: {fd: NUMBER}")
        near = suggestion(value, BACKENDS) or f" (one of {', '.join(BACKENDS)})"
        raise wrong(f"unknown backend {quoted(value)}{near}")

    @property
    def kind(self) -> str:
        """Which it is."""
        return next(
            (kind for kind in BACKENDS if getattr(self, kind) is not None), "user"
        )


class Ethernet(Interface):
    """An interface to the world outside."""

    backend: Backend = Field(
        default_factory=lambda: Backend(user=UserBackend()),
        description="How the interface reaches the world; a word, or a mapping with "
        "one key.",
        examples=["{wire: lab}"],
    )


class BridgeParameters(Hyphenated):
    """Settings of a bridge."""

    stp: Truth = setting(False, "Whether the spanning tree protocol is spoken.", "true")
    forward_delay: Annotated[int, number(0, 30, " seconds")] | None = setting(
        None, "Seconds in the listening and learning states (2 to 30 with STP).", "4"
    )
    hello_time: Annotated[int, number(1, 10, " seconds")] | None = setting(
        None, "Seconds between two hellos of STP.", "2"
    )
    max_age: Annotated[int, number(6, 40, " seconds")] | None = setting(
        None, "Seconds after which a hello of STP is too old.", "20"
    )
    ageing_time: Annotated[int, number(0, 86400, " seconds")] | None = setting(
        None, "Seconds for which a station is remembered.", "300"
    )
    priority: Annotated[int, number(0, 65535)] | None = setting(
        None, "The bridge's priority in STP.", "32768"
    )


class Bridge(Interface):
    """A bridge."""

    interfaces: list[DeviceName] = several(
        list, "The interfaces that are its ports.", "[eth0, eth1]"
    )
    parameters: BridgeParameters | None = setting(
        None, "Settings of the bridge itself.", "{stp: true}"
    )


class Vlan(Interface):
    """A VLAN."""

    id: Annotated[int, number(0, 4094)] = needed("Its number (IEEE 802.1Q).", "100")
    link: DeviceName = needed("The interface that carries it.", "eth0")


class Dummy(Interface):
    """A dummy interface."""


class VirtualEthernet(Interface):
    """One end of a veth pair; both ends are listed."""

    peer: DeviceName = needed("The other end, listed here too.", "veth1")


TUNNELS = (
    "wireguard",
    "vxlan",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ipip",
    "sit",
    "ip6ip6",
    "ipip6",
)
"""Modes: IPv4 underneath, except those with ip6 in front or 6 behind ipip."""


class WireguardKeys(Record):
    """The keys of a WireGuard peer."""

    public: Annotated[str, Read(words.wireguard_key)] = needed(
        "The peer's public key.", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
    )
    shared: Annotated[str, Read(words.private_key)] | None = setting(
        None, "A key that both know, or the path of a file with it.", "/etc/wg/shared"
    )


class WireguardPeer(Hyphenated):
    """A peer of a WireGuard tunnel."""

    keys: WireguardKeys = needed(
        "The peer's keys.", "{public: xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=}"
    )
    endpoint: Annotated[str, Read(words.address_with_port)] | None = setting(
        None, "Where it is: ADDRESS:PORT.", "192.0.2.9:51820"
    )
    allowed_ips: list[Network] = several(
        list,
        "What it may send, and what is sent to it.  Routes are written separately.",
        "[10.9.0.2/32]",
    )
    keepalive: Annotated[int, number(0, 65535, " seconds")] | None = setting(
        None, "Seconds between keep-alives.", "25"
    )


class TunnelKeys(Record):
    """The keys of a tunnel."""

    short: ClassVar[str] = "a key"

    private: Annotated[str, Read(words.private_key)] | None = setting(
        None,
        "For wireguard: our private key, or the path of a file with it.",
        "/etc/wg/private",
    )
    input: Annotated[int, number(0, 2**32 - 1)] | None = setting(
        None, "For gre: the key of what comes in.", "1234"
    )
    output: Annotated[int, number(0, 2**32 - 1)] | None = setting(
        None, "For gre: the key of what goes out.", "1234"
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, str):
            if words.number_of(value) is not None:
                return {"input": value, "output": value}
            return {"private": value}
        return value


class Tunnel(Interface):
    """A tunnel."""

    mode: Annotated[str, choice(TUNNELS, "mode")] = needed(
        "What kind: " + ", ".join(TUNNELS) + ".", "wireguard"
    )
    local: Address | None = setting(None, "Our address underneath.", "192.0.2.7")
    remote: Address | None = setting(
        None,
        "The other end's address underneath; for vxlan, or a group's.",
        "192.0.2.9",
    )
    ttl: Annotated[int, number(1, 255)] | None = setting(
        None,
        "The time to live of the packets underneath; by default the inner one's.",
        "64",
    )
    key: TunnelKeys | None = setting(
        None, "The same as `keys`; one of the two is given.", "1234"
    )
    keys: TunnelKeys | None = setting(
        None,
        "For gre: a number, or `input` and `output`.  For wireguard: `private`.",
        "{private: /etc/wg/private}",
    )
    id: Annotated[int, number(0, 2**24 - 1)] | None = setting(
        None, "For vxlan: the network's number (VNI).", "42"
    )
    link: DeviceName | None = setting(
        None, "For vxlan, gre and the like: the interface underneath.", "eth0"
    )
    port: Annotated[int, number(1, 65535)] | None = setting(
        None,
        "For wireguard: the UDP port listened to.  For vxlan: the other end's, by "
        "default 4789.",
        "51820",
    )
    mark: Annotated[int, number(0, 2**32 - 1)] | None = setting(
        None, "For wireguard: the firewall mark of the packets underneath.", "0x10"
    )
    peers: list[WireguardPeer] = several(
        list,
        "For wireguard: the other ends.",
        "[{keys: {public: xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=}}]",
    )
    mac_learning: Truth = setting(
        True, "For vxlan: whether stations are learned from what they send.", "false"
    )

    @property
    def any_keys(self) -> TunnelKeys | None:
        """``keys``, under either name."""
        return self.keys or self.key


class NetworkRecord(Hyphenated):
    """The network, in netplan's words."""

    version: Annotated[int, number(2, 2)] = setting(
        2, "The version of the words; 2.", "2"
    )
    ethernets: dict[DeviceName, Ethernet] = several(
        dict,
        "Interfaces to the world outside, by name: at most 8 with a backend.",
        "{eth0: {backend: user}}",
    )
    bridges: dict[DeviceName, Bridge] = several(
        dict, "Bridges, by name.", "{br0: {interfaces: [eth0, eth1]}}"
    )
    vlans: dict[DeviceName, Vlan] = several(
        dict, "VLANs, by name.", "{eth0.5: {id: 5, link: eth0}}"
    )
    tunnels: dict[DeviceName, Tunnel] = several(
        dict,
        "Tunnels, by name.",
        "{tun1: {mode: ipip, local: 192.0.2.7, remote: 192.0.2.9}}",
    )
    dummy_devices: dict[DeviceName, Dummy] = several(
        dict,
        "Interfaces that lead nowhere, by name.",
        "{dm0: {addresses: [10.0.0.1/32]}}",
    )
    virtual_ethernets: dict[DeviceName, VirtualEthernet] = several(
        dict,
        "Pairs of joined interfaces, by name.",
        "{va: {peer: vb}, vb: {peer: va}}",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        """``backend: tap`` is the TAP device of the interface's own name."""
        if not isinstance(value, dict) or not isinstance(value.get("ethernets"), dict):
            return value
        ethernets = {
            name: inner | {"backend": {"tap": name}}
            if isinstance(inner, dict)
            and inner.get("backend") in ("tap", {"tap": None})
            else inner
            for name, inner in value["ethernets"].items()
        }
        return value | {"ethernets": ethernets}


# ---------------------------------------------------------------------
# The process.

_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
PROTOCOLS = ("tcp", "udp")


def _range(value: str, what: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(value)
    if match:
        first, last = int(match[1]), int(match[2] or match[1])
        if 1 <= first <= last <= 65535:
            return first, last
    raise wrong(f"{quoted(value)} is not {what}: give 1 to 65535, or FIRST-LAST")


def ports_text(value: object) -> str:
    """A port or a range of ports."""
    given = words.text(value)
    _range(given, "a port")
    return given


class Port(Record):
    """A published port."""

    short: ClassVar[str] = "[ADDRESS:]HOST-PORT:PORT[/PROTOCOL]"

    target: Annotated[str, Read(ports_text, {"type": ["string", "integer"]})] = needed(
        "The port in the instance, or a range of ports.", "80"
    )
    published: Annotated[str, Read(ports_text, {"type": ["string", "integer"]})] = (
        needed("The port on the host, or as many as `target` has.", "8080")
    )
    host_ip: Address = setting(
        "0.0.0.0", "The address of the host that listens.", "127.0.0.1"
    )
    protocol: Annotated[str, choice(PROTOCOLS, "protocol")] = setting(
        "tcp", "`tcp` or `udp`.", "udp"
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        rest, slash, protocol = value.partition("/")
        result: dict[str, Any] = {"protocol": protocol} if slash else {}
        if rest.startswith("["):
            host, bracket, rest = rest[1:].partition("]")
            if not bracket or not rest.startswith(":"):
                raise wrong(f"{quoted(value)} is not {cls.short}")
            result["host_ip"], rest = host, rest[1:]
        parts = rest.split(":")
        if len(parts) == 3 and "host_ip" not in result:
            result["host_ip"] = parts.pop(0)
        if len(parts) == 1 and "host_ip" not in result and _PORTS.fullmatch(parts[0]):
            raise wrong(f"give the host's port too, as in 8080:{parts[0]}")
        if len(parts) != 2:
            raise wrong(
                f"{quoted(value)} is not {cls.short}"
                + (" (IPv6 in brackets)" if len(parts) > 3 else "")
            )
        # One sentence, for the whole of the text, says what is wrong with it.
        words.one_of(PROTOCOLS, "protocol")(result.get("protocol", "tcp"))
        words.address(result.get("host_ip", "0.0.0.0"))
        _range(parts[0], "a port")
        _range(parts[1], "a port")
        return result | {"published": parts[0], "target": parts[1]}

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        first, last = _range(self.published, "a port")
        low, high = _range(self.target, "a port")
        if last - first != high - low:
            raise wrong(
                f"{self.published} has {last - first + 1} ports and {self.target} has "
                f"{high - low + 1}"
            )
        return self

    def pairs(self) -> list[tuple[int, int]]:
        """Each port of the host with its port in the instance."""
        first, last = _range(self.published, "a port")
        low, _ = _range(self.target, "a port")
        return [(port, low + port - first) for port in range(first, last + 1)]


LIMITS = (
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)


def read_limit(value: object) -> int:
    """A limit; -1 is unlimited."""
    if value == "unlimited":
        return -1
    number = words.number_of(value)
    if number is None or not -1 <= number < 2**63:
        raise wrong(f"give a number, or unlimited, not {shown(value)}")
    return number


Limit = Annotated[int, Read(read_limit, {"type": ["integer", "string"]})]


class Ulimit(Record):
    """A limit of the process."""

    short: ClassVar[str] = "a number"

    soft: Limit = needed("The limit in force.", "1024")
    hard: Limit = needed("The limit up to which it may be raised.", "4096")

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"soft": value, "hard": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.hard != -1 and (self.soft == -1 or self.soft > self.hard):
            raise wrong("soft is more than hard")
        return self


FILE_SYSTEMS = ("tmpfs", "overlay", "proc", "sysfs", "ext4", "ext3", "ext2", "squashfs")
IMAGES = ("ext4", "ext3", "ext2", "squashfs")
MOUNT_FLAGS = ("ro", "nosuid", "nodev", "noexec", "sync", "noatime", "nodiratime")


class Mount(Record):
    """A file system in the instance."""

    type: Annotated[str, choice(FILE_SYSTEMS, "file system")] = needed(
        "The kind of file system: " + ", ".join(FILE_SYSTEMS) + ".", "tmpfs"
    )
    target: Annotated[str, Read(words.absolute)] = needed(
        "Where it is seen; made if missing.", "/srv"
    )
    source: Line | None = setting(
        None,
        "For an image: its file on the host, which is copied into the instance's "
        "memory; a relative path starts at the profile.",
        "site.squashfs",
    )
    options: list[Line] = several(
        list,
        "Options, as mount(8) has them: the general "
        + ", ".join(MOUNT_FLAGS)
        + ", and those of the file system.",
        "[ro, lowerdir=/a, upperdir=/b, workdir=/c]",
    )

    @classmethod
    def expand(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("options"), str):
            options = [word for word in value["options"].split(",") if word]
            return value | {"options": options}
        return value


class Nftables(Record):
    """A ruleset."""

    short: ClassVar[str] = "a ruleset"

    file: Line | None = setting(
        None,
        "The file that holds the ruleset; a relative path starts at the profile.",
        "rules.nft",
    )
    text: Text | None = setting(None, "The ruleset itself.", "table inet t { }")

    @classmethod
    def expand(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.text is None):
            raise wrong("give a ruleset, or {file: PATH}")
        return self


class Kernel(Record):
    """The library kernel itself."""

    memory: Annotated[str, Read(words.size)] = setting(
        "64M", "Its memory, everything included: 32M to 1024G.", "256M"
    )
    cmdline: Line = setting("", "Words for its command line.", "loglevel=7")


def environment_name(value: object) -> str:
    """The name of a variable."""
    name = words.one_line(value)
    if "=" in name:
        raise wrong(f"{quoted(name)} cannot name a variable")
    return name


def variable(value: object) -> str | None:
    """A variable's value; null takes the caller's."""
    if value is None or value == "":
        return None if value is None else ""
    return words.text(value)


def host_addresses(value: object) -> list[str]:
    """An address, several, or ``host-gateway``."""
    given = value if isinstance(value, list) else [value]
    result = []
    for item in given:
        word = item.strip("[]") if isinstance(item, str) else item
        result.append(word if word == "host-gateway" else words.address(word))
    if not result:
        raise wrong("give at least one address")
    return [str(item) for item in result]


class Profile(Record):
    """A whole profile."""

    network: NetworkRecord | None = setting(
        None,
        "The network, in netplan's words.  Without it: one ethernet eth0 with the "
        "user backend.",
        "{ethernets: {eth0: {backend: user}}}",
    )
    hostname: Annotated[str, Read(words.host_name)] | None = setting(
        None, "The host name; by default the host's.", "web"
    )
    extra_hosts: dict[
        Annotated[str, Read(words.host_name)],
        Annotated[list[str], Read(host_addresses, {"type": ["string", "array"]})],
    ] = several(
        dict,
        "Names for /etc/hosts, as a mapping or a list of NAME:ADDRESS.  "
        "`host-gateway` is the user backend's gateway.",
        "{db: 10.0.0.5}",
    )
    ports: list[Port] = several(
        list,
        "Ports of the instance that the host publishes: "
        "[ADDRESS:]HOST-PORT:PORT[/PROTOCOL] or a mapping.  They need an interface "
        "with `backend: user`.  `ukl-run --publish` adds to them.",
        '["127.0.0.1:8080:80/tcp"]',
    )
    environment: dict[
        Annotated[str, Read(environment_name)],
        Annotated[str | None, Read(variable, SCALAR)],
    ] = several(
        dict,
        "Variables for the target, as a mapping or a list of NAME=VALUE.  One "
        "without a value is taken from the caller.",
        "{TZ: UTC}",
    )
    ulimits: dict[Annotated[str, choice(LIMITS, "limit")], Ulimit] = several(
        dict,
        "Limits of the target: " + ", ".join(LIMITS) + ".  A number, or `soft` and "
        "`hard`.",
        "{nofile: {soft: 1024, hard: 4096}}",
    )
    packages: dict[
        Annotated[str, Read(words.command_name)],
        Annotated[str, Read(words.package_name)],
    ] = several(
        dict,
        "Commands that the target may be, and the Debian packages that have them.  A "
        "missing one is installed before the start, if that needs no password.",
        "{nginx: nginx-light}",
    )
    sysctls: dict[
        Annotated[str, Read(words.sysctl_name)],
        Annotated[str, Read(words.sysctl_value, SCALAR)],
    ] = several(
        dict,
        "Settings of the library kernel, as a mapping or a list of NAME=VALUE.  One "
        "that is unknown, refused or taken otherwise ends the start.",
        "{net.ipv4.tcp_congestion_control: bbr}",
    )
    mounts: list[Mount] = several(
        list,
        "File systems in the instance, in this order.",
        "[{type: tmpfs, target: /srv}]",
    )
    nftables: Nftables | None = setting(
        None,
        "A ruleset, as text or as a file; nft loads it in the instance before the "
        "target starts.",
        "{file: rules.nft}",
    )
    capture: Line | None = setting(
        None,
        "A pcapng file for the frames of all ethernets; a relative path starts at "
        "the current directory.",
        "web.pcapng",
    )
    kernel: Kernel = Field(
        default_factory=Kernel,
        description="The library kernel itself.",
        examples=["{memory: 256M}"],
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a profile, short forms included."""
    made = Profile.model_json_schema(by_alias=True)
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "ukl profile"
    for name, definition in made.get("$defs", {}).items():
        record = globals().get(name)
        if definition.get("type") == "object":
            types = ["object", "null"]
            if isinstance(record, type) and issubclass(record, Record) and record.short:
                types.insert(0, "string")
            if name == "Ulimit":
                types.insert(0, "integer")
            definition["type"] = types
    for name in ("environment", "sysctls", "extra_hosts"):
        made["properties"][name]["type"] = ["object", "array"]
    return made
