"""Boot plans replayed in instances; what came of them is asked of their kernels."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from hijack import plan, profile
from hijack.errors import UklError
from hijack.instance import Instance

KEY = "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE="
PEER = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="


def links(view: Any) -> dict[str, Any]:
    """The interfaces by name."""
    return {
        one.get_attr("IFLA_IFNAME"): one
        for one in view.dump(ifinfmsg(), rtnl.RTM_GETLINK)
    }


def kind(link: Any) -> str:
    return str(link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND"))


def data(link: Any, name: str) -> Any:
    """An attribute of what is particular to a link's kind."""
    return link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA").get_attr(name)


def addresses(view: Any) -> set[tuple[str, str, int]]:
    """Interface, address, flags."""
    names = {link["index"]: name for name, link in links(view).items()}
    return {
        (
            names[one["index"]],
            f"{one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}",
            one.get_attr("IFA_FLAGS"),
        )
        for one in view.dump(ifaddrmsg(), rtnl.RTM_GETADDR)
    }


def routes(view: Any, table: int = 254) -> set[tuple[str, str, int]]:
    """Destination, gateway, type of the routes in a table, not the kernel's own."""
    return {
        (
            f"{one.get_attr('RTA_DST')}/{one['dst_len']}"
            if one["dst_len"]
            else "default",
            str(one.get_attr("RTA_GATEWAY")),
            one["type"],
        )
        for one in view.dump(rtmsg(), rtnl.RTM_GETROUTE)
        if one.get_attr("RTA_TABLE") == table and one["proto"] == 4
    }


def test_nothing_asked_for(look: Any) -> None:
    """The loopback is up in any case."""
    view = look("network: {}\n")
    assert links(view)["lo"]["flags"] & 1
    assert ("lo", "127.0.0.1/8", 0x80) in addresses(view)


def test_addresses_and_routes(look: Any) -> None:
    view = look(
        """\
network:
  ethernets:
    eth0:
      backend: none
      macaddress: 52:54:00:12:34:56
      mtu: 9000
      accept-ra: false
      addresses:
      - 10.1.2.3/24
      - 10.1.2.4/24: {label: "eth0:b"}
      - 2001:db8::7/64
      routes:
      - {to: default, via: 10.1.2.1, metric: 100, mtu: 1400, congestion-window: 20}
      - {to: default, via: "2001:db8::1"}
      - {to: 10.9.0.0/16, type: blackhole}
      - {to: 10.8.0.0/16, table: 1000}
      - {to: 192.0.2.0/24, via: 172.16.0.1, on-link: true, from: 10.1.2.4}
      routing-policy:
      - {from: 10.1.2.0/24, table: 1000, priority: 50}
      - {mark: 0x10, to: "2001:db8:5::/48", table: 77, priority: 51}
"""
    )
    link = links(view)["eth0"]
    assert link.get_attr("IFLA_ADDRESS") == "52:54:00:12:34:56"
    assert link.get_attr("IFLA_MTU") == 9000
    assert link["flags"] & 1
    mine = {one for one in addresses(view) if one[0] == "eth0"}
    assert ("eth0", "10.1.2.3/24", 0x80) in mine
    assert ("eth0", "10.1.2.4/24", 0x81) in mine  # IFA_F_SECONDARY
    # Permanent, and not tentative: it is usable at once.
    assert ("eth0", "2001:db8::7/64", 0x82) in mine
    assert [flags for _, text, flags in mine if text.startswith("fe80")] == [0x80]
    (labelled,) = (
        one
        for one in view.dump(ifaddrmsg(), rtnl.RTM_GETADDR)
        if one.get_attr("IFA_LABEL") == "eth0:b"
    )
    assert labelled.get_attr("IFA_BROADCAST") == "10.1.2.255"
    assert routes(view) == {
        ("default", "10.1.2.1", 1),
        ("default", "2001:db8::1", 1),
        ("10.9.0.0/16", "None", 6),
        ("192.0.2.0/24", "172.16.0.1", 1),
    }
    assert routes(view, 1000) == {("10.8.0.0/16", "None", 1)}
    (first,) = (
        one
        for one in view.dump(rtmsg(), rtnl.RTM_GETROUTE)
        if one.get_attr("RTA_GATEWAY") == "10.1.2.1"
    )
    assert first.get_attr("RTA_PRIORITY") == 100
    assert first.get_attr("RTA_METRICS").get_attr("RTAX_MTU") == 1400
    assert first.get_attr("RTA_METRICS").get_attr("RTAX_INITCWND") == 20
    (source,) = (
        one
        for one in view.dump(rtmsg(), rtnl.RTM_GETROUTE)
        if one.get_attr("RTA_GATEWAY") == "172.16.0.1"
    )
    assert source.get_attr("RTA_PREFSRC") == "10.1.2.4"
    rules = {
        (one.get_attr("FRA_PRIORITY"), one["family"]): one
        for one in view.dump(fibmsg(), rtnl.RTM_GETRULE)
    }
    assert rules[50, 2].get_attr("FRA_SRC") == "10.1.2.0"
    assert rules[50, 2]["src_len"] == 24
    assert rules[50, 2].get_attr("FRA_TABLE") == 1000
    assert rules[51, 10].get_attr("FRA_DST") == "2001:db8:5::"
    assert rules[51, 10].get_attr("FRA_FWMARK") == 0x10
    assert view.sysctl("net/ipv6/conf/eth0/accept_ra") == "0"


def test_an_address_is_usable_at_once(look: Any) -> None:
    """bind() of a tentative address would be EADDRNOTAVAIL."""
    view = look(
        "network: {ethernets: {e: {backend: none, addresses: ['fd00::5/64']}}}\n"
    )
    end = view.call(41, socket.AF_INET6, socket.SOCK_STREAM, 0)
    address = struct.pack("=HHI", socket.AF_INET6, 0, 0)
    address += socket.inet_pton(socket.AF_INET6, "fd00::5") + bytes(4)
    assert view.call(49, end, address, len(address)) == 0


def test_sysctls(look: Any) -> None:
    view = look(
        """\
hostname: web.example
sysctls:
  net.ipv4.tcp_congestion_control: bbr
  net.core.rmem_max: 33554432
  net.ipv4.tcp_rmem: 4096 131072 33554432
  net/ipv4/conf/e.5/rp_filter: 2
  net.ipv4.conf.e.forwarding: 1
  net.ipv6.conf.e.accept_dad: 2
  net.ipv4.ip_local_port_range: [20000, 30000]
  kernel.domainname: example
network:
  ethernets: {e: {backend: none}}
  vlans: {e.5: {id: 5, link: e}}
"""
    )
    assert view.sysctl("net/ipv4/tcp_congestion_control") == "bbr"
    assert view.sysctl("net/core/rmem_max") == "33554432"
    assert view.sysctl("net/ipv4/tcp_rmem") == "4096 131072 33554432"
    assert view.sysctl("net/ipv4/conf/e.5/rp_filter") == "2"
    assert view.sysctl("net/ipv4/conf/e/forwarding") == "1"
    assert view.sysctl("net/ipv6/conf/e/accept_dad") == "2"
    assert view.sysctl("net/ipv4/ip_local_port_range") == "20000 30000"
    assert view.sysctl("kernel/hostname") == "web.example"
    assert view.sysctl("kernel/domainname") == "example"


def test_links(look: Any) -> None:
    view = look(
        """\
network:
  dummy-devices: {dummy0: {addresses: [10.50.0.1/32]}, d1: {}}
  virtual-ethernets:
    va: {peer: vb, macaddress: "02:00:00:00:00:0a"}
    vb: {peer: va, macaddress: "02:00:00:00:00:0b", mtu: 1400}
  bridges:
    br0:
      interfaces: [d1, vb]
      macaddress: "02:00:00:00:00:0c"
      parameters: {stp: true, forward-delay: 4, ageing-time: 50, priority: 100}
  vlans:
    va.5.6: {id: 6, link: va.5}
    va.5: {id: 5, link: va, mtu: 1300}
"""
    )
    found = links(view)
    for name in ("dummy0", "d1", "va", "vb", "br0", "va.5", "va.5.6"):
        assert found[name]["flags"] & 1, name
    assert kind(found["br0"]) == "bridge"
    for name in ("d1", "vb"):
        assert found[name].get_attr("IFLA_MASTER") == found["br0"]["index"]
    assert data(found["br0"], "IFLA_BR_STP_STATE") == 1
    assert data(found["br0"], "IFLA_BR_FORWARD_DELAY") == 400
    assert data(found["br0"], "IFLA_BR_AGEING_TIME") == 5000
    assert data(found["br0"], "IFLA_BR_PRIORITY") == 100
    assert found["va"].get_attr("IFLA_ADDRESS") == "02:00:00:00:00:0a"
    assert found["vb"].get_attr("IFLA_ADDRESS") == "02:00:00:00:00:0b"
    assert found["va"].get_attr("IFLA_LINK") == found["vb"]["index"]
    assert found["vb"].get_attr("IFLA_MTU") == 1400
    assert data(found["va.5"], "IFLA_VLAN_ID") == 5
    assert found["va.5"].get_attr("IFLA_LINK") == found["va"]["index"]
    assert found["va.5.6"].get_attr("IFLA_LINK") == found["va.5"]["index"]
    assert found["va.5"].get_attr("IFLA_MTU") == 1300
    assert ("dummy0", "10.50.0.1/32", 0x80) in addresses(view)


MODES = {
    "vxlan": ("vxlan", "id: 42, local: 10.0.0.1, remote: 10.0.0.2, link: e"),
    "vxlan6": ("vxlan", 'id: 43, local: "fd00::1", remote: "fd00::2", port: 9999'),
    "gre": ("gre", "local: 10.0.0.1, remote: 10.0.0.2, key: 77, ttl: 9"),
    "gretap": ("gretap", "local: 10.0.0.1, remote: 10.0.0.3, link: e"),
    "ip6gre": ("ip6gre", 'local: "fd00::1", remote: "fd00::2", keys: {input: 5}'),
    "ip6gretap": ("ip6gretap", 'local: "fd00::1", remote: "fd00::3"'),
    "ipip": ("ipip", "local: 10.0.0.1, remote: 10.0.0.2"),
    "sit": ("sit", "local: 10.0.0.1, remote: 10.0.0.2, ttl: 7"),
    "ip6ip6": ("ip6tnl", 'local: "fd00::1", remote: "fd00::2"'),
    "ipip6": ("ip6tnl", 'local: "fd00::1", remote: "fd00::4"'),
}


def test_tunnels(look: Any) -> None:
    lines = [
        f"    {name}: {{mode: {name.removesuffix('6') if name == 'vxlan6' else name}, "
        f"{rest}}}\n"
        for name, (_, rest) in MODES.items()
    ]
    view = look(
        "network:\n  ethernets:\n    e: {backend: none, addresses: "
        '[10.0.0.1/24, "fd00::1/64"]}\n  tunnels:\n' + "".join(lines)
    )
    found = links(view)
    for name, (is_, _) in MODES.items():
        assert kind(found[name]) == is_, name
        assert found[name]["flags"] & 1, name
    index = found["e"]["index"]
    assert data(found["vxlan"], "IFLA_VXLAN_ID") == 42
    assert data(found["vxlan"], "IFLA_VXLAN_GROUP") == "10.0.0.2"
    assert data(found["vxlan"], "IFLA_VXLAN_LOCAL") == "10.0.0.1"
    assert data(found["vxlan"], "IFLA_VXLAN_LINK") == index
    assert data(found["vxlan"], "IFLA_VXLAN_PORT") == 4789
    assert data(found["vxlan6"], "IFLA_VXLAN_GROUP6") == "fd00::2"
    assert data(found["vxlan6"], "IFLA_VXLAN_PORT") == 9999
    assert data(found["gre"], "IFLA_GRE_IKEY") == 77
    assert data(found["gre"], "IFLA_GRE_OKEY") == 77
    assert data(found["gre"], "IFLA_GRE_TTL") == 9
    assert data(found["gre"], "IFLA_GRE_LOCAL") == "10.0.0.1"
    assert data(found["gretap"], "IFLA_GRE_REMOTE") == "10.0.0.3"
    assert data(found["gretap"], "IFLA_GRE_LINK") == index
    assert data(found["ip6gre"], "IFLA_IP6GRE_IKEY") == 5
    assert data(found["ip6gre"], "IFLA_IP6GRE_REMOTE") == "fd00::2"
    assert data(found["ip6gretap"], "IFLA_IP6GRE_REMOTE") == "fd00::3"
    assert data(found["ipip"], "IFLA_IPIP_REMOTE") == "10.0.0.2"
    assert data(found["sit"], "IFLA_SIT_TTL") == 7
    assert data(found["ip6ip6"], "IFLA_IP6TNL_PROTO") == 41
    assert data(found["ipip6"], "IFLA_IP6TNL_PROTO") == 4
    assert data(found["ipip6"], "IFLA_IP6TNL_REMOTE") == "fd00::4"


def wireguard(view: Any, name: str) -> bytes:
    """The kernel's description of a WireGuard interface, as attributes."""
    end = view.call(41, socket.AF_NETLINK, socket.SOCK_RAW, 16)

    def ask(kind: int, command: int, flags: int, payload: bytes) -> bytes:
        head = struct.pack(
            "=IHHIIBBH", 20 + len(payload), kind, flags, 1, 0, command, 1, 0
        )
        view.call(44, end, head + payload, len(head + payload), 0, 0, 0)
        buffer = bytearray(1 << 16)
        return bytes(buffer[: view.call(45, end, buffer, len(buffer), 0, 0, 0)])

    family = b"wireguard\0"
    reply = ask(16, 3, 1, struct.pack("=HH", 4 + len(family), 2) + family + bytes(2))
    at = 20
    while struct.unpack_from("=H", reply, at + 2)[0] != 1:
        at += (struct.unpack_from("=H", reply, at)[0] + 3) & ~3
    (number,) = struct.unpack_from("=H", reply, at + 4)
    word = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(word), 2) + word + bytes(-len(word) % 4)
    return ask(number, 0, 0x301, attribute)


def test_wireguard(look: Any, tmp_path: Path) -> None:
    """Keys, a file with one, peers and what they are allowed."""
    import base64

    secret = tmp_path / "private"
    secret.write_text(KEY + "\n")
    view = look(
        f"""\
network:
  tunnels:
    wg0:
      mode: wireguard
      port: 51821
      mark: 0x1234
      keys: {{private: {secret}}}
      addresses: [10.70.0.1/24]
      peers:
      - keys: {{public: {PEER}, shared: {KEY}}}
        endpoint: "192.0.2.9:51820"
        allowed-ips: [10.70.0.0/24, "fd00::/8"]
        keepalive: 25
"""
    )
    assert kind(links(view)["wg0"]) == "wireguard"
    reply = wireguard(view, "wg0")
    assert base64.b64decode(KEY) in reply
    assert base64.b64decode(PEER) in reply
    assert struct.pack("=HHHH", 6, 6, 51821, 0) in reply
    assert struct.pack("=HHI", 8, 7, 0x1234) in reply
    assert struct.pack("=HHHH", 6, 5, 25, 0) in reply
    endpoint = struct.pack("!H", 51820) + socket.inet_aton("192.0.2.9")
    assert struct.pack("=H", socket.AF_INET) + endpoint in reply
    assert socket.inet_aton("10.70.0.0") in reply
    assert socket.inet_pton(socket.AF_INET6, "fd00::") in reply


QDISCS = {
    "netem delay 50ms 5ms 25% loss 1% 10% duplicate 2% corrupt 3% limit 500": (
        "netem",
        struct.pack("=6I", 781250, 500, 42949673, 0, 85899346, 78125),
    ),
    "netem delay 1ms rate 1mbit": ("netem", struct.pack("=I", 125000)),
    "fq flow_limit 50 quantum 3000 maxrate 10mbit": ("fq", struct.pack("=I", 1250000)),
    "fq_codel limit 500 noecn": ("fq_codel", struct.pack("=HHI", 8, 2, 500)),
    "codel limit 123": ("codel", struct.pack("=HHI", 8, 2, 123)),
    "tbf rate 10mbit burst 32kb latency 50ms": ("tbf", struct.pack("=I", 1250000)),
    "pfifo limit 77": ("pfifo", struct.pack("=I", 77)),
    "bfifo limit 10kb": ("bfifo", struct.pack("=I", 10240)),
    "pfifo_fast": ("pfifo_fast", b""),
    "noqueue": ("noqueue", b""),
}


class RawTcmsg(tcmsg):  # type: ignore[misc]
    """The options as bytes."""

    nla_map = (
        ("TCA_UNSPEC", "none"),
        ("TCA_KIND", "asciiz"),
        ("TCA_OPTIONS", "hex"),
    )


def test_qdiscs(look: Any) -> None:
    """What the kernel tells of a discipline has the parameters that were asked for."""
    text = "network:\n  dummy-devices:\n"
    for number, words in enumerate(QDISCS):
        text += f"    d{number}: {{qdisc: {words}}}\n"
    view = look(text)
    by_index = {one["index"]: one for one in view.dump(RawTcmsg(), rtnl.RTM_GETQDISC)}
    found = links(view)
    for number, (words, (name, options)) in enumerate(QDISCS.items()):
        one = by_index.get(found[f"d{number}"]["index"])
        if name == "noqueue" and one is None:
            continue
        assert one is not None, words
        assert one.get_attr("TCA_KIND") == name
        is_ = bytes.fromhex((one.get_attr("TCA_OPTIONS") or "").replace(":", ""))
        assert options in is_, words


def test_mounts(look: Any, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "hello").write_text("from the image\n")
    image = tmp_path / "site.ext4"
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", tree, image, "4M"],
        check=True,
        timeout=30,
    )
    view = look(
        """\
network: {}
mounts:
- {type: tmpfs, target: /srv/deep/er, options: [nosuid, mode=0750]}
- {type: ext4, source: site.ext4, target: /site, options: ro}
- {type: overlay, target: /ov, options: "lowerdir=/site,upperdir=/tmp/u,workdir=/tmp/w"}
"""
    )
    mounted = dict(
        line.split()[1:4:2] for line in view.read("/proc/mounts").splitlines()
    )
    assert "nosuid" in mounted["/srv/deep/er"]
    assert mounted["/site"].split(",")[0] == "ro"
    assert view.read("/site/hello") == "from the image\n"
    assert view.read("/ov/hello") == "from the image\n"
    with pytest.raises(FileNotFoundError):
        view.read("/run/ukl-image-0")


def test_a_large_plan_is_quick(look: Any) -> None:
    """A thousand routes are there."""
    lines = "".join(
        f"      - {{to: 10.{n >> 8}.{n & 255}.0/24, type: blackhole}}\n"
        for n in range(1000)
    )
    view = look(
        "network:\n  ethernets:\n    e:\n      backend: none\n      routes:\n" + lines
    )
    assert len(routes(view)) == 1000


# ---------------------------------------------------------------------
# Refusals.

REFUSED = [
    (
        "sysctls:\n  net.core.somaxconn: 100\n  net.core.nothing: 1\n",
        "p.yaml:3:21: sysctls.net.core.nothing: the library kernel has no such sysctl",
    ),
    (
        "sysctls: {net.core.somaxconn: lots}\n",
        "p.yaml:1:31: sysctls.net.core.somaxconn: the library kernel refuses lots: "
        "Invalid argument",
    ),
    (
        "sysctls: {net.core.somaxconn: -5}\n",
        "p.yaml:1:31: sysctls.net.core.somaxconn: the library kernel refuses -5: "
        "Invalid argument",
    ),
    (
        "sysctls: {net.core.somaxconn: 5 6}\n",
        "p.yaml:1:31: sysctls.net.core.somaxconn: the library kernel takes fewer "
        "values than 5 6",
    ),
    (
        "sysctls: {net.ipv4.tcp_congestion_control: nosuch}\n",
        "p.yaml:1:44: sysctls.net.ipv4.tcp_congestion_control: the library kernel "
        "refuses nosuch: No such file or directory",
    ),
    (
        "sysctls: {kernel.ostype: x}\n",
        "p.yaml:1:26: sysctls.kernel.ostype: cannot be set",
    ),
    (
        "sysctls: {net.netfilter.nf_conntrack_buckets: 1000}\n",
        "p.yaml:1:47: sysctls.net.netfilter.nf_conntrack_buckets: the library kernel "
        "made 1024 of 1000 (write that)",
    ),
    (
        "network:\n  ethernets:\n    e:\n      backend: none\n"
        "      addresses: [10.0.0.1/24]\n"
        "      routes:\n      - {to: default, via: 10.1.0.1}\n",
        "p.yaml:7:9: network.ethernets.e.routes[0]: default via 10.1.0.1: Network is "
        "unreachable (Nexthop has invalid gateway)",
    ),
    (
        "network:\n  tunnels:\n"
        "    a: {mode: ipip, local: 10.0.0.1, remote: 10.0.0.2}\n"
        "    b: {mode: ipip, local: 10.0.0.1, remote: 10.0.0.2}\n",
        "p.yaml:4:8: network.tunnels.b: making the tunnel: File exists",
    ),
    (
        "network: {dummy-devices: {d: {qdisc: fq_codel flows 0}}}\n",
        "p.yaml:1:38: network.dummy-devices.d.qdisc: fq_codel flows 0: Invalid "
        "argument",
    ),
    (
        "mounts: [{type: overlay, target: /x, options: 'lowerdir=/a,wibble'}]\n",
        "p.yaml:1:10: mounts[0]: mounting overlay on /x: Invalid argument",
    ),
    (
        "mounts: [{type: squashfs, source: p.yaml, target: /x}]\n#" + "x" * 8192,
        "p.yaml:1:10: mounts[0]: mounting squashfs on /x: Invalid argument",
    ),
]


@pytest.mark.parametrize(("text", "line"), REFUSED, ids=[line for _, line in REFUSED])
def test_a_refusal_is_told_at_its_line(
    text: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of the instance is left."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(text)
    overrides = [] if "network" in text else ["network.dummy-devices={}"]
    compiled = plan.build(profile.load(["p.yaml"], overrides))
    with pytest.raises(UklError) as caught:
        Instance.boot(plan=compiled, directory=tmp_path / "i")
    assert caught.value.message == line
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-8],
        lambda data: data + bytes(8),
        lambda data: b"X" + data[1:],
        lambda data: data[:8] + b"\x09" + data[9:],  # the version
        lambda data: data[:16] + b"\xff" + data[17:],  # the count
        lambda data: data[:24] + b"\x63" + data[25:],  # an operation
        lambda data: data[:28] + b"\xff\xff\xff\xff" + data[32:],  # a place
        lambda data: data[:32] + b"\xff\xff\xff\xff" + data[36:],  # a length
    ],
)
def test_a_damaged_plan(damage: Any, tmp_path: Path) -> None:
    whole = plan.build(profile.load([], ["network.dummy-devices={}"]))
    with pytest.raises(UklError) as caught:
        Instance.boot(
            plan=whole.replace(data=damage(whole.data)), directory=tmp_path / "i"
        )
    assert "the boot plan is damaged or of another version" in caught.value.message
    assert not (tmp_path / "i").exists()
