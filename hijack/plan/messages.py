"""Netlink messages, encoded without a socket.

Interfaces are named by a stand-in for their index, which :func:`finish` finds
again in the bytes and turns into a fix: the kernel host knows the real one.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, nlmsg  # type: ignore[import-untyped]
from pyroute2.netlink.generic.wireguard import (  # type: ignore[import-untyped]
    WG_CMD_SET_DEVICE,
    WG_GENL_VERSION,
    wgmsg,
)
from pyroute2.netlink.rtnl import (  # type: ignore[import-untyped]
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTM_NEWRULE,
)
from pyroute2.netlink.rtnl.fibmsg import FR_ACT_TO_TBL, fibmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.tcmsg import tcmsg  # type: ignore[import-untyped]

from hijack.plan.format import FIX_GENERIC, FIX_INDEX, Fix, netlink
from hijack.plan.qdisc import options
from hijack.profile.qdisc import Qdisc
from hijack.profile.schema import Route, Rule, Tunnel

ROUTE = 0
"""NETLINK_ROUTE."""
GENERIC = 16
"""NETLINK_GENERIC."""

IFF_UP = 1
IFA_F_NODAD = 2
RTNH_F_ONLINK = 4
TC_H_ROOT = 0xFFFFFFFF
WG_REPLACE_PEERS = 1
WG_REPLACE_ALLOWED_IPS = 2
MAIN_TABLE = 254
FAMILY = {4: 2, 6: 10}
SCOPES = {"global": 0, "link": 253, "host": 254}
ROUTE_TYPES = {
    "unicast": 1,
    "local": 2,
    "broadcast": 3,
    "anycast": 4,
    "multicast": 5,
    "blackhole": 6,
    "unreachable": 7,
    "prohibit": 8,
    "throw": 9,
}
RTPROT_STATIC = 4

Attributes = list[tuple[str, Any]]


class RawTcmsg(tcmsg):  # type: ignore[misc]
    """A tc message whose options are bytes."""

    nla_map = (
        ("TCA_UNSPEC", "none"),
        ("TCA_KIND", "asciiz"),
        ("TCA_OPTIONS", "cdata"),
    )


class Names:
    """Stand-ins for the indices of the interfaces one message names."""

    BASE = 0x7EDC_BA00

    def __init__(self) -> None:
        self.names: list[str] = []

    def index(self, name: str) -> int:
        """The stand-in for ``name``."""
        if name not in self.names:
            self.names.append(name)
        return self.BASE + self.names.index(name)

    def fixes(self, data: bytes) -> list[Fix]:
        """Where the stand-ins are in a message."""
        found = []
        for name in self.names:
            word = struct.pack("=I", self.index(name))
            at = data.find(word)
            assert at >= 0
            while at >= 0:
                found.append(Fix(at, FIX_INDEX, name))
                at = data.find(word, at + 4)
        return found


def finish(
    message: nlmsg, kind: int, flags: int, attributes: Attributes, names: Names
) -> bytes:
    """The payload of a record for a message of NETLINK_ROUTE."""
    _check(message, attributes)
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message["attrs"] = attributes
    message.encode()
    data = bytes(message.data)
    return netlink(ROUTE, data, names.fixes(data))


def _check(message: nlmsg, attributes: Attributes) -> None:
    """pyroute2 drops attributes that it does not know: none may be."""
    known = {entry[-2] for entry in message.nla_map}
    for name, _ in attributes:
        assert name in known, name


def link_up(name: str) -> bytes:
    """Bring an interface up."""
    names, message = Names(), ifinfmsg()
    message["index"] = names.index(name)
    message["flags"] = message["change"] = IFF_UP
    return finish(message, RTM_NEWLINK, 0, [], names)


def link_set(
    name: str,
    *,
    mtu: int | None = None,
    mac: str | None = None,
    master: str | None = None,
) -> bytes:
    """Change an interface."""
    names, message = Names(), ifinfmsg()
    message["index"] = names.index(name)
    attributes: Attributes = []
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    if mac is not None:
        attributes.append(("IFLA_ADDRESS", mac))
    if master is not None:
        attributes.append(("IFLA_MASTER", names.index(master)))
    return finish(message, RTM_NEWLINK, 0, attributes, names)


def link_add(
    name: str,
    kind: str,
    data: Attributes | None = None,
    *,
    mtu: int | None = None,
    mac: str | None = None,
    link: str | None = None,
    names: Names | None = None,
) -> bytes:
    """Make an interface."""
    names = names or Names()
    attributes: Attributes = [("IFLA_IFNAME", name)]
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    if mac is not None:
        attributes.append(("IFLA_ADDRESS", mac))
    if link is not None:
        attributes.append(("IFLA_LINK", names.index(link)))
    info: Attributes = [("IFLA_INFO_KIND", kind)]
    if data:
        _check(ifinfmsg.ifinfo.data_map[kind], data)
        info.append(("IFLA_INFO_DATA", {"attrs": data}))
    attributes.append(("IFLA_LINKINFO", {"attrs": info}))
    flags = NLM_F_CREATE | NLM_F_EXCL
    return finish(ifinfmsg(), RTM_NEWLINK, flags, attributes, names)


def veth_add(name: str, peer: str, mac: str | None, peer_mac: str | None) -> bytes:
    """Make both ends of a pair."""
    inner: Attributes = [("IFLA_IFNAME", peer)]
    if peer_mac is not None:
        inner.append(("IFLA_ADDRESS", peer_mac))
    data: Attributes = [("VETH_INFO_PEER", {"attrs": inner})]
    return link_add(name, "veth", data, mac=mac)


def bridge_data(parameters: dict[str, int]) -> Attributes:
    """The parameters of a bridge; times in seconds."""
    kinds = {
        "forward_delay": "IFLA_BR_FORWARD_DELAY",
        "hello_time": "IFLA_BR_HELLO_TIME",
        "max_age": "IFLA_BR_MAX_AGE",
        "ageing_time": "IFLA_BR_AGEING_TIME",
    }
    # In hundredths of a second (USER_HZ).
    data: Attributes = [
        (kind, parameters[word] * 100)
        for word, kind in kinds.items()
        if word in parameters
    ]
    if parameters.get("stp"):
        data.append(("IFLA_BR_STP_STATE", 1))
    if "priority" in parameters:
        data.append(("IFLA_BR_PRIORITY", parameters["priority"]))
    return data


def tunnel_add(name: str, tunnel: Tunnel) -> bytes:
    """Make a tunnel, of any mode."""
    kind = {"ip6ip6": "ip6tnl", "ipip6": "ip6tnl"}.get(tunnel.mode, tunnel.mode)
    names = Names()
    data: Attributes
    if kind == "wireguard":
        data = []
    elif kind == "vxlan":
        data = _vxlan(tunnel, names)
    elif "gre" in kind:
        data = _gre(tunnel, names)
    else:
        data = _iptunnel(kind, tunnel, names)
    return link_add(
        name, kind, data, mtu=tunnel.mtu, mac=tunnel.macaddress, names=names
    )


def _vxlan(tunnel: Tunnel, names: Names) -> Attributes:
    data: Attributes = [("IFLA_VXLAN_ID", tunnel.id)]
    for word, text in (("LOCAL", tunnel.local), ("GROUP", tunnel.remote)):
        if text is not None:
            six = "6" if ":" in text else ""
            data.append((f"IFLA_VXLAN_{word}{six}", text))
    if tunnel.link is not None:
        data.append(("IFLA_VXLAN_LINK", names.index(tunnel.link)))
    if tunnel.ttl is not None:
        data.append(("IFLA_VXLAN_TTL", tunnel.ttl))
    data.append(("IFLA_VXLAN_PORT", tunnel.port or 4789))
    data.append(("IFLA_VXLAN_LEARNING", int(tunnel.mac_learning)))
    return data


GRE_KEY = 0x2000


def _gre(tunnel: Tunnel, names: Names) -> Attributes:
    six = "ip6" in tunnel.mode
    prefix = "IFLA_IP6GRE" if six else "IFLA_GRE"
    # pyroute2 knows that the flags are big-endian in one of the two only.
    key_flag = socket.htons(GRE_KEY) if six else GRE_KEY
    data: Attributes = []
    if tunnel.link is not None:
        data.append((f"{prefix}_LINK", names.index(tunnel.link)))
    keys = tunnel.any_keys
    for word, key in (
        ("I", keys.input if keys else None),
        ("O", keys.output if keys else None),
    ):
        if key is not None:
            data.append((f"{prefix}_{word}FLAGS", key_flag))
            data.append((f"{prefix}_{word}KEY", key))
    if tunnel.local is not None:
        data.append((f"{prefix}_LOCAL", tunnel.local))
    if tunnel.remote is not None:
        data.append((f"{prefix}_REMOTE", tunnel.remote))
    if tunnel.ttl is not None or six:
        data.append((f"{prefix}_TTL", tunnel.ttl or 64))
    if not six:
        data.append((f"{prefix}_PMTUDISC", 1))
    return data


def _iptunnel(kind: str, tunnel: Tunnel, names: Names) -> Attributes:
    word = {"ipip": "IPIP", "sit": "SIT", "ip6tnl": "IP6TNL"}[kind]
    prefix = f"IFLA_{word}"
    data: Attributes = []
    if tunnel.link is not None:
        data.append((f"{prefix}_LINK", names.index(tunnel.link)))
    if tunnel.local is not None:
        data.append((f"{prefix}_LOCAL", tunnel.local))
    if tunnel.remote is not None:
        data.append((f"{prefix}_REMOTE", tunnel.remote))
    if tunnel.ttl is not None:
        data.append((f"{prefix}_TTL", tunnel.ttl))
    if kind == "ip6tnl":
        data.append((f"{prefix}_PROTO", 41 if tunnel.mode == "ip6ip6" else 4))
        if tunnel.ttl is None:
            data.append((f"{prefix}_TTL", 64))
    else:
        data.append((f"{prefix}_PMTUDISC", 1))
    return data


def wireguard_set(
    name: str, tunnel: Tunnel, private: str, shared: list[str | None]
) -> bytes:
    """Give a WireGuard interface its key and peers."""
    message = wgmsg()
    message["cmd"] = WG_CMD_SET_DEVICE
    message["version"] = WG_GENL_VERSION
    attributes: Attributes = [
        ("WGDEVICE_A_IFNAME", name),
        ("WGDEVICE_A_PRIVATE_KEY", private),
        ("WGDEVICE_A_FLAGS", WG_REPLACE_PEERS),
    ]
    if tunnel.port is not None:
        attributes.append(("WGDEVICE_A_LISTEN_PORT", tunnel.port))
    if tunnel.mark is not None:
        attributes.append(("WGDEVICE_A_FWMARK", tunnel.mark))
    peers: list[dict[str, Attributes]] = []
    for peer, psk in zip(tunnel.peers, shared, strict=True):
        inner: Attributes = [
            ("WGPEER_A_PUBLIC_KEY", peer.keys.public),
            ("WGPEER_A_FLAGS", WG_REPLACE_ALLOWED_IPS),
        ]
        if psk is not None:
            inner.append(("WGPEER_A_PRESHARED_KEY", psk))
        if peer.endpoint is not None:
            host, _, port = peer.endpoint.rpartition(":")
            endpoint = {"addr": host.strip("[]"), "port": int(port)}
            inner.append(("WGPEER_A_ENDPOINT", endpoint))
        if peer.keepalive is not None:
            inner.append(("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL", peer.keepalive))
        if peer.allowed_ips:
            inner.append(
                (
                    "WGPEER_A_ALLOWEDIPS",
                    [{"attrs": _allowed(text)} for text in peer.allowed_ips],
                )
            )
        peers.append({"attrs": inner})
    if peers:
        attributes.append(("WGDEVICE_A_PEERS", peers))
    message["header"]["type"] = 0
    message["attrs"] = attributes
    message.encode()
    fix = Fix(4, FIX_GENERIC, "wireguard")
    return netlink(GENERIC, bytes(message.data), [fix])


def _allowed(text: str) -> Attributes:
    parsed = ipaddress.ip_network(text)
    return [
        ("WGALLOWEDIP_A_FAMILY", FAMILY[parsed.version]),
        ("WGALLOWEDIP_A_IPADDR", parsed.network_address.packed),
        ("WGALLOWEDIP_A_CIDR_MASK", parsed.prefixlen),
    ]


def address_add(name: str, address: str, label: str | None) -> bytes:
    """Give an interface an address; usable at once."""
    names, message = Names(), ifaddrmsg()
    interface = ipaddress.ip_interface(address)
    message["family"] = FAMILY[interface.version]
    message["prefixlen"] = interface.network.prefixlen
    message["index"] = names.index(name)
    host = str(interface.ip)
    attributes: Attributes = [("IFA_ADDRESS", host), ("IFA_LOCAL", host)]
    if interface.version == 6:
        message["flags"] = IFA_F_NODAD
        attributes = [("IFA_ADDRESS", host)]
    elif interface.network.prefixlen < 31:
        broadcast = str(interface.network.broadcast_address)
        attributes.append(("IFA_BROADCAST", broadcast))
    if label is not None:
        attributes.append(("IFA_LABEL", label))
    return finish(message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, attributes, names)


def route_add(name: str, route: Route, family: int) -> bytes:
    """Add a route through an interface."""
    names, message = Names(), rtmsg()
    message["family"] = FAMILY[family]
    message["proto"] = RTPROT_STATIC
    message["type"] = ROUTE_TYPES[route.type]
    message["table"] = route.table if route.table < 256 else 0
    scope = "global"
    if route.scope is not None:
        scope = route.scope
    elif family == 4 and route.type == "local":
        scope = "host"
    elif family == 4 and route.type == "unicast" and route.via is None:
        scope = "link"
    message["scope"] = SCOPES[scope]
    attributes: Attributes = [("RTA_TABLE", route.table)]
    if route.to not in ("default", "0.0.0.0/0", "::/0"):
        network = ipaddress.ip_network(route.to)
        message["dst_len"] = network.prefixlen
        attributes.append(("RTA_DST", str(network.network_address)))
    if route.via is not None:
        attributes.append(("RTA_GATEWAY", route.via))
    if route.from_ is not None:
        attributes.append(("RTA_PREFSRC", route.from_))
    if route.type in ("unicast", "local", "broadcast", "anycast", "multicast"):
        attributes.append(("RTA_OIF", names.index(name)))
    if route.on_link:
        message["flags"] = RTNH_F_ONLINK
    if route.metric is not None:
        attributes.append(("RTA_PRIORITY", route.metric))
    metrics: Attributes = [
        (word, value)
        for word, value in (
            ("RTAX_MTU", route.mtu),
            ("RTAX_INITCWND", route.congestion_window),
            ("RTAX_INITRWND", route.advertised_receive_window),
        )
        if value is not None
    ]
    if metrics:
        attributes.append(("RTA_METRICS", {"attrs": metrics}))
    return finish(message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, attributes, names)


def rule_add(rule: Rule, family: int) -> bytes:
    """Add a rule of policy routing."""
    message = fibmsg()
    message["family"] = FAMILY[family]
    message["action"] = FR_ACT_TO_TBL
    message["table"] = rule.table if rule.table < 256 else 0
    message["tos"] = rule.type_of_service or 0
    attributes: Attributes = [("FRA_TABLE", rule.table)]
    for text, length, kind in (
        (rule.from_, "src_len", "FRA_SRC"),
        (rule.to, "dst_len", "FRA_DST"),
    ):
        if text is not None:
            network = ipaddress.ip_network(text)
            message[length] = network.prefixlen
            attributes.append((kind, str(network.network_address)))
    if rule.priority is not None:
        attributes.append(("FRA_PRIORITY", rule.priority))
    if rule.mark is not None:
        attributes.append(("FRA_FWMARK", rule.mark))
    flags = NLM_F_CREATE | NLM_F_EXCL
    return finish(message, RTM_NEWRULE, flags, attributes, Names())


def qdisc_add(name: str, qdisc: Qdisc) -> bytes:
    """Make a discipline an interface's root."""
    names, message = Names(), RawTcmsg()
    message["index"] = names.index(name)
    message["parent"] = TC_H_ROOT
    attributes: Attributes = [("TCA_KIND", qdisc.kind)]
    data = options(qdisc)
    if data:
        attributes.append(("TCA_OPTIONS", data))
    # Without NLM_F_EXCL it replaces the one that the kernel chose.
    return finish(message, RTM_NEWQDISC, NLM_F_CREATE | 0x100, attributes, names)
