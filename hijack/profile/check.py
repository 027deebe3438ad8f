"""What one key alone cannot tell: names that must exist, keys that need others."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from hijack.profile.problems import Path, quoted, suggestion
from hijack.profile.schema import (
    IMAGES,
    Dummy,
    Ethernet,
    Interface,
    Mount,
    NetworkRecord,
    Profile,
    Route,
    Rule,
    Tunnel,
)

MAX_DEVICES = 8
"""UKL_MAX_DEVS in <ukl/abi.h>."""

ETHERNET_TUNNELS = ("vxlan", "gretap", "ip6gretap")

SECTIONS = {
    "ethernets": "ethernets",
    "bridges": "bridges",
    "vlans": "vlans",
    "tunnels": "tunnels",
    "dummy-devices": "dummy_devices",
    "virtual-ethernets": "virtual_ethernets",
}
"""The sections of interfaces, and their fields."""

Found = Iterator[tuple[Path, str]]


def names(tree: Any) -> set[str]:
    """The names of all interfaces that a raw profile mentions."""
    network = tree.get("network") if isinstance(tree, dict) else None
    result: set[str] = set()
    for section in SECTIONS:
        inner = network.get(section) if isinstance(network, dict) else None
        if isinstance(inner, dict):
            result |= set(inner)
    return result


def interfaces(network: NetworkRecord) -> Iterator[tuple[Path, str, Interface]]:
    """Each interface with its path and name."""
    for section, field in SECTIONS.items():
        for name, interface in getattr(network, field).items():
            yield ("network", section, name), name, interface


def problems(profile: Profile, known: set[str]) -> list[tuple[Path, str]]:
    """Everything that is wrong with a profile whose values are all right."""
    result: list[tuple[Path, str]] = []
    network = profile.network
    if network is not None:
        result += _names(network)
        result += _links(network, known)
        result += _devices(network)
        for path, _, interface in interfaces(network):
            result += _interface(path, interface)
        for name, tunnel in network.tunnels.items():
            result += _tunnel(("network", "tunnels", name), tunnel)
    result += _ports(profile)
    for index, mount in enumerate(profile.mounts):
        result += _mount(("mounts", index), mount)
    if not has_user(profile):
        for name, addresses in profile.extra_hosts.items():
            if "host-gateway" in addresses:
                yield_path: Path = ("extra_hosts", name)
                result.append(
                    (yield_path, "host-gateway needs an interface with backend: user")
                )
    return result


def has_user(profile: Profile) -> bool:
    """Whether there is an interface with the user backend."""
    if profile.network is None:
        return True
    return any(e.backend.kind == "user" for e in profile.network.ethernets.values())


def files(profile: Profile) -> Iterator[tuple[Path, str]]:
    """The files that a profile names, by the path of the key that does."""
    if profile.nftables is not None and profile.nftables.file is not None:
        yield ("nftables", "file"), profile.nftables.file
    tunnels = profile.network.tunnels if profile.network else {}
    for name, tunnel in tunnels.items():
        path: Path = ("network", "tunnels", name)
        keys = tunnel.any_keys
        if keys is not None and keys.private is not None and keys.private[0] == "/":
            word = "keys" if tunnel.keys is not None else "key"
            yield (*path, word, "private"), keys.private
        for index, peer in enumerate(tunnel.peers):
            if peer.keys.shared is not None and peer.keys.shared[0] == "/":
                yield (*path, "peers", index, "keys", "shared"), peer.keys.shared


def _names(network: NetworkRecord) -> Found:
    first: dict[str, str] = {}
    for path, name, _ in interfaces(network):
        if name in first:
            yield path, f"there is an interface {name} in {first[name]} already"
        first.setdefault(name, str(path[1]))


def _missing(name: str, known: set[str]) -> str:
    return f"there is no interface {name}" + suggestion(name, sorted(known))


def _links(network: NetworkRecord, known: set[str]) -> Found:
    owner: dict[str, str] = {}
    path: Path
    for name, bridge in network.bridges.items():
        for index, port in enumerate(bridge.interfaces):
            path = ("network", "bridges", name, "interfaces", index)
            if port not in known:
                yield path, _missing(port, known)
            elif port == name or port in network.bridges:
                yield path, "a bridge cannot be the port of a bridge"
            elif port in owner:
                yield path, f"{port} is a port of {owner[port]} already"
            owner.setdefault(port, name)
    for name, vlan in network.vlans.items():
        path = ("network", "vlans", name, "link")
        if vlan.link not in known:
            yield path, _missing(vlan.link, known)
        elif _circle(network, name):
            yield path, f"{name} is carried by itself"
    for name, tunnel in network.tunnels.items():
        if tunnel.link is not None and tunnel.link not in known:
            yield ("network", "tunnels", name, "link"), _missing(tunnel.link, known)
    for name, veth in network.virtual_ethernets.items():
        path = ("network", "virtual-ethernets", name, "peer")
        other = network.virtual_ethernets.get(veth.peer)
        if veth.peer == name:
            yield path, "an end cannot be its own peer"
        elif veth.peer not in known:
            yield path, f"{veth.peer} is not in virtual-ethernets"
        elif other is not None and other.peer != name:
            yield path, f"the peer of {veth.peer} is {other.peer}"


def _circle(network: NetworkRecord, name: str) -> bool:
    seen = {name}
    here = network.vlans[name].link
    while here in network.vlans:
        if here in seen:
            return True
        seen.add(here)
        here = network.vlans[here].link
    return False


def _devices(network: NetworkRecord) -> Found:
    taken: dict[tuple[str, object], str] = {}
    count = 0
    for name, ethernet in network.ethernets.items():
        path: Path = ("network", "ethernets", name)
        backend = ethernet.backend
        count += backend.kind != "none"
        if count == MAX_DEVICES + 1 and backend.kind != "none":
            yield (
                path,
                f"an instance has at most {MAX_DEVICES} ethernets with a backend",
            )
        if backend.kind in ("tap", "fd"):
            value = getattr(backend, backend.kind)
            key = (backend.kind, (backend.netns, value))
            if key in taken:
                yield (
                    (*path, "backend"),
                    f"{backend.kind} {value} is the backend of {taken[key]} already",
                )
            taken.setdefault(key, name)
        if backend.netns is not None and backend.kind != "tap":
            yield (*path, "backend", "netns"), "only a tap is in a network namespace"
        if backend.none is False:
            yield (*path, "backend", "none"), "write none: true, or another backend"
        if backend.kind == "user":
            yield from _user(path, ethernet)


def _user(path: Path, ethernet: Ethernet) -> Found:
    seen: set[int] = set()
    for index, address in enumerate(ethernet.addresses):
        interface = ipaddress.ip_interface(address.address)
        network, host = interface.network, int(interface.ip)
        below: Path = (*path, "addresses", index)
        if network.prefixlen > network.max_prefixlen - 3:
            yield (
                below,
                "the user backend needs room for its gateway and name server in the "
                f"network (at most /{network.max_prefixlen - 3})",
            )
        elif host - int(network.network_address) in (2, 3):
            yield (
                below,
                "the second address of the network is the user backend's gateway and "
                "the third its name server",
            )
        if network.version in seen:
            yield below, f"the user backend has one IPv{network.version} address"
        seen.add(network.version)


def _why_no_dhcp(interface: Interface) -> str:
    """Why no DHCP server can be asked over an interface; empty if it can."""
    if isinstance(interface, Ethernet) and interface.backend.kind == "none":
        return "backend: none leads nowhere"
    if isinstance(interface, Dummy):
        return "a dummy interface leads nowhere"
    if isinstance(interface, Tunnel) and interface.mode not in ETHERNET_TUNNELS:
        return f"{interface.mode} carries no Ethernet"
    return ""


def _interface(path: Path, interface: Interface) -> Found:
    if interface.dhcp4 and (why := _why_no_dhcp(interface)):
        yield (*path, "dhcp4"), f"there is no DHCP server to be asked: {why}"
    seen: set[str] = set()
    for index, address in enumerate(interface.addresses):
        below: Path = (*path, "addresses", index)
        if address.address in seen:
            yield below, "is there twice"
        seen.add(address.address)
        six = ":" in address.address
        if six and address.label is not None:
            yield (*below, "label"), "only an IPv4 address has a label"
        elif address.label is not None and not address.label.startswith(str(path[-1])):
            yield (*below, "label"), f"a label begins with {path[-1]}"
        if six and interface.mtu is not None and interface.mtu < 1280:
            yield (*path, "mtu"), "IPv6 needs at least 1280 bytes"
    for index, route in enumerate(interface.routes):
        yield from _route((*path, "routes", index), route)
    for index, rule in enumerate(interface.routing_policy):
        yield from _rule((*path, "routing-policy", index), rule)


def family_of(route: Route) -> int:
    """4 or 6."""
    for text in (route.to, route.via, route.from_):
        if text is not None and text != "default":
            return 6 if ":" in text else 4
    return 4


def _route(path: Path, route: Route) -> Found:
    family = family_of(route)
    for key, text in (("via", route.via), ("from", route.from_)):
        if text is not None and (":" in text) != (family == 6):
            yield (*path, key), f"{text} is not an IPv{family} address like {route.to}"
    if route.on_link and route.via is None:
        yield (*path, "on-link"), "on-link is said of a gateway: via is missing"
    if route.type != "unicast" and route.via is not None:
        yield (*path, "via"), f"a {route.type} route has no gateway"


def _rule(path: Path, rule: Rule) -> Found:
    if (
        rule.from_ is not None
        and rule.to is not None
        and (":" in rule.from_) != (":" in rule.to)
    ):
        yield (*path, "to"), "from and to are of two families"


def _tunnel(path: Path, tunnel: Tunnel) -> Found:
    mode = tunnel.mode
    means = {
        "local": mode != "wireguard",
        "remote": mode != "wireguard",
        "ttl": mode != "wireguard",
        "id": mode == "vxlan",
        "link": mode != "wireguard",
        "port": mode in ("wireguard", "vxlan"),
        "mark": mode == "wireguard",
        "peers": mode == "wireguard",
        "mac-learning": mode == "vxlan",
    }
    for key, allowed in means.items():
        if key.replace("-", "_") in tunnel.model_fields_set and not allowed:
            yield (*path, key), f"means nothing for mode {mode}"
    if tunnel.key is not None and tunnel.keys is not None:
        yield (*path, "key"), "give key or keys, not both"
    keys = tunnel.any_keys
    word = "keys" if tunnel.keys is not None else "key"
    if mode == "wireguard":
        if keys is None or keys.private is None:
            yield path, "keys is missing: a wireguard tunnel needs its private key"
        elif keys.input is not None or keys.output is not None:
            yield (*path, word), "input and output are for gre"
    elif keys is not None:
        if keys.private is not None:
            yield (*path, word), "a private key is for wireguard"
        if "gre" not in mode:
            yield (*path, word), f"means nothing for mode {mode}"
    if mode == "vxlan" and tunnel.id is None:
        yield path, "id is missing: a vxlan tunnel needs its number"
    six = "ip6gre" in mode or mode in ("ip6ip6", "ipip6")
    for key, text in (("local", tunnel.local), ("remote", tunnel.remote)):
        if text is None or mode in ("wireguard", "vxlan"):
            continue
        if (":" in text) != six:
            yield (
                (*path, key),
                f"{mode} runs over IPv{6 if six else 4}, not over {text}",
            )
    if (
        mode == "vxlan"
        and tunnel.local is not None
        and tunnel.remote is not None
        and (":" in tunnel.local) != (":" in tunnel.remote)
    ):
        yield (*path, "remote"), "local and remote are of two families"
    seen: set[str] = set()
    for index, peer in enumerate(tunnel.peers):
        if peer.keys.public in seen:
            yield (*path, "peers", index, "keys", "public"), "is another peer's already"
        seen.add(peer.keys.public)


def _ports(profile: Profile) -> Found:
    if profile.ports and not has_user(profile):
        yield ("ports",), "published ports need an interface with backend: user"
    taken: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for index, port in enumerate(profile.ports):
        for published, _ in port.pairs():
            others = taken.setdefault((port.protocol, published), [])
            for host, first in others:
                if host == port.host_ip or "0.0.0.0" in (host, port.host_ip):
                    if (":" in host) != (":" in port.host_ip):
                        continue
                    yield (
                        ("ports", index),
                        f"{port.protocol} port {published} is published by "
                        f"ports[{first}] already",
                    )
                    break
            others.append((port.host_ip, index))


def _mount(path: Path, mount: Mount) -> Found:
    if mount.type in IMAGES and mount.source is None:
        yield path, f"source is missing: the {mount.type} image on the host"
    if mount.type not in IMAGES and mount.source is not None:
        yield (*path, "source"), f"means nothing for {mount.type}"
    words = {option.partition("=")[0] for option in mount.options}
    if mount.type == "overlay" and "lowerdir" not in words:
        yield path, "lowerdir= is missing from the options of an overlay"
    if mount.type == "overlay" and "upperdir" in words and "workdir" not in words:
        yield path, "an overlay with upperdir= needs workdir="
    if mount.type == "tmpfs":
        for index, option in enumerate(mount.options):
            if "=" in option and not option.startswith("mode="):
                yield (
                    (*path, "options", index),
                    f"{option}: a tmpfs of the library kernel is a ramfs, which knows "
                    "only mode= (kernel: memory bounds it)",
                )
    if mount.target == "/" or mount.target in ("/proc", "/sys"):
        yield (*path, "target"), f"{quoted(mount.target)} is taken"
