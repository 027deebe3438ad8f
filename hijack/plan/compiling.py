"""Compiles a profile into a boot plan and what the launcher does itself."""

from __future__ import annotations

import ipaddress

from hijack.plan import RUNTIME, Dhcp, Plan, Publish
from hijack.plan import format as fmt
from hijack.plan import messages as nl
from hijack.plan.format import Record, strings
from hijack.profile.check import family_of, interfaces
from hijack.profile.loading import Loaded, absolute_path
from hijack.profile.problems import Path, dotted
from hijack.profile.schema import (
    Backend,
    Ethernet,
    Interface,
    InterfaceAddress,
    Mount,
    NetworkRecord,
    Route,
    UserBackend,
)
from hijack.profile.words import sysctl_path

USER_MTU = 65520
USER_ADDRESSES = ("10.0.2.15/24", "fd00:7e57:10::15/64")
GATEWAY, NAME_SERVER = 2, 3
"""Of the user backend: the second and third address of its networks."""

MOUNT_FLAGS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "noatime": 1024,
    "nodiratime": 2048,
}
OVERLAY_DIRECTORIES = ("lowerdir", "upperdir", "workdir")


class _Builder:
    def __init__(self, profile: Loaded) -> None:
        self.profile = profile
        self.model = profile.model
        self.network = profile.model.network or NetworkRecord(
            ethernets={"eth0": Ethernet(backend=Backend(user=UserBackend()))}
        )
        self.records: list[Record] = []

    def add(self, op: int, payload: bytes, path: Path, what: str) -> None:
        """Note an operation that ``path`` asked for."""
        where = f"{self.profile.place(path)}: {dotted(path)}" if path else "boot plan"
        if what:
            where += f": {what}"
        self.records.append(Record(op, where, payload))

    def netlink(self, payload: bytes, path: Path, what: str) -> None:
        self.add(fmt.NETLINK, payload, path, what)

    def sysctl(self, name: str, value: str, path: Path) -> None:
        """Note a setting that the profile has."""
        self.add(fmt.SYSCTL, strings(sysctl_path(name), value), path, "")

    # -----------------------------------------------------------------

    def addresses(self, interface: Interface) -> list[InterfaceAddress]:
        """The addresses of an interface, the user backend's own included."""
        if interface.addresses or self.backend(interface) != "user":
            return interface.addresses
        return [InterfaceAddress(address=text) for text in USER_ADDRESSES]

    def is_leased(self, interface: Interface, one: InterfaceAddress) -> bool:
        """Whether an address is the user backend's own, and its DHCP server's."""
        return interface.dhcp4 and not interface.addresses and ":" not in one.address

    def backend(self, interface: Interface) -> str:
        """The backend of an ethernet; empty for other interfaces."""
        return interface.backend.kind if isinstance(interface, Ethernet) else ""

    def user_network(self, interface: Interface, number: int) -> list[str]:
        """The backend's address of that number in each of its networks."""
        return [
            str(ipaddress.ip_interface(one.address).network[number])
            for one in self.addresses(interface)
        ]

    def build(self) -> Plan:
        self.netlink(nl.link_up("lo"), (), "loopback")
        if self.model.hostname is not None:
            payload = strings(self.model.hostname)
            self.add(fmt.HOSTNAME, payload, ("hostname",), "the host name")
        for index, mount in enumerate(self.model.mounts):
            self.mount(("mounts", index), mount)
        listed = list(interfaces(self.network))
        of_interfaces = self.sysctls({name for _, name, _ in listed})
        self.links()
        for name, value in of_interfaces:
            self.sysctl(name, value, ("sysctls", name))
        for path, name, interface in listed:
            self.prepare(path, name, interface)
        for name, bridge in self.network.bridges.items():
            for index, port in enumerate(bridge.interfaces):
                below: Path = ("network", "bridges", name, "interfaces", index)
                self.netlink(nl.link_set(port, master=name), below, "a port")
        for path, name, interface in sorted(listed, key=lambda one: _rank(one[2])):
            if interface.qdisc is not None:
                self.netlink(
                    nl.qdisc_add(name, interface.qdisc),
                    (*path, "qdisc"),
                    interface.qdisc.text,
                )
            self.netlink(nl.link_up(name), path, "bringing it up")
        for path, name, interface in listed:
            for index, one in enumerate(self.addresses(interface)):
                if self.is_leased(interface, one):
                    continue
                self.netlink(
                    nl.address_add(name, one.address, one.label),
                    (*path, "addresses", index),
                    one.address,
                )
        self.routes(listed)
        return self.plan(listed)

    def sysctls(self, names: set[str]) -> list[tuple[str, str]]:
        """Note those of the whole kernel; returns those of interfaces."""
        later = []
        for name, value in self.model.sysctls.items():
            steps = sysctl_path(name).split("/")
            if (
                steps[0] == "net"
                and steps[2:3] in (["conf"], ["neigh"])
                and (len(steps) > 3 and steps[3] in names)
            ):
                later.append((name, value))
            else:
                self.sysctl(name, value, ("sysctls", name))
        return later

    def links(self) -> None:
        """Make what the kernel host has not made: lower ones first."""
        network = self.network
        for path, name, ethernet in interfaces(network):
            if self.backend(ethernet) == "none":
                self.dummy(path, name, ethernet)
        for name, dummy in network.dummy_devices.items():
            self.dummy(("network", "dummy-devices", name), name, dummy)
        done: set[str] = set()
        for name, veth in network.virtual_ethernets.items():
            if name in done:
                continue
            done |= {name, veth.peer}
            other = network.virtual_ethernets[veth.peer]
            made = nl.veth_add(name, veth.peer, veth.macaddress, other.macaddress)
            path = ("network", "virtual-ethernets", name)
            self.netlink(made, path, "making the pair")
        for name, bridge in network.bridges.items():
            given = bridge.parameters
            parameters = given.model_dump(exclude_none=True) if given else {}
            made = nl.link_add(
                name, "bridge", nl.bridge_data(parameters), mac=bridge.macaddress
            )
            self.netlink(made, ("network", "bridges", name), "making the bridge")
        waiting = dict(network.vlans)
        tunnels = dict(network.tunnels)
        while waiting or tunnels:
            for name, tunnel in list(tunnels.items()):
                if tunnel.link not in waiting and tunnel.link not in tunnels:
                    self.tunnel(name)
                    del tunnels[name]
            for name, vlan in list(waiting.items()):
                if vlan.link in waiting or vlan.link in tunnels:
                    continue
                made = nl.link_add(
                    name,
                    "vlan",
                    [("IFLA_VLAN_ID", vlan.id)],
                    mac=vlan.macaddress,
                    link=vlan.link,
                )
                self.netlink(made, ("network", "vlans", name), "making the VLAN")
                del waiting[name]

    def dummy(self, path: Path, name: str, interface: Interface) -> None:
        made = nl.link_add(name, "dummy", mac=interface.macaddress)
        self.netlink(made, path, "making the interface")

    def tunnel(self, name: str) -> None:
        tunnel = self.network.tunnels[name]
        path: Path = ("network", "tunnels", name)
        self.netlink(nl.tunnel_add(name, tunnel), path, "making the tunnel")
        if tunnel.mode != "wireguard":
            return
        keys = tunnel.any_keys
        assert keys is not None
        assert keys.private is not None
        word = "keys" if tunnel.keys is not None else "key"
        private = self.key(keys.private, (*path, word, "private"))
        shared = [
            None
            if peer.keys.shared is None
            else self.key(peer.keys.shared, (*path, "peers", index, "keys", "shared"))
            for index, peer in enumerate(tunnel.peers)
        ]
        made = nl.wireguard_set(name, tunnel, private, shared)
        self.netlink(made, path, "its keys and peers")

    def key(self, text: str, path: Path) -> str:
        """A key, or what the file has that is named instead."""
        if not text.startswith("/"):
            return text
        return self.profile.file(path, text).decode().strip()

    def prepare(self, path: Path, name: str, interface: Interface) -> None:
        """Set what must be set while an interface is down."""
        mtu = interface.mtu
        if mtu is None and self.backend(interface) == "user":
            mtu = USER_MTU
        host_made = self.backend(interface) not in ("", "none")
        if mtu is not None and not host_made:
            self.netlink(nl.link_set(name, mtu=mtu), (*path, "mtu"), str(mtu))
        written = "/".join(sysctl_path(key) for key in self.model.sysctls)
        if f"ipv6/conf/{name}/accept_dad" not in written:
            # Its link-local address is usable at once, too.
            payload = strings(f"net/ipv6/conf/{name}/accept_dad", "0")
            self.add(fmt.DEFAULT, payload, path, "accept_dad")
        if interface.accept_ra is not None:
            value = "2" if interface.accept_ra else "0"
            ra = (*path, "accept-ra")
            self.sysctl(f"net/ipv6/conf/{name}/accept_ra", value, ra)
        elif (
            self.backend(interface) == "user"
            and f"ipv6/conf/{name}/accept_ra" not in written
        ):
            # It advertises what the plan sets, and would come before or after.
            payload = strings(f"net/ipv6/conf/{name}/accept_ra", "0")
            self.add(fmt.DEFAULT, payload, path, "accept_ra")

    def routes(self, listed: list[tuple[Path, str, Interface]]) -> None:
        for path, name, interface in listed:
            if self.backend(interface) == "user":
                self.user_routes(path, name, interface)
            for index, route in enumerate(interface.routes):
                made = nl.route_add(name, route, family_of(route))
                via = f" via {route.via}" if route.via else ""
                below: Path = (*path, "routes", index)
                self.netlink(made, below, f"{route.to}{via}")
            for index, rule in enumerate(interface.routing_policy):
                texts = [text for text in (rule.from_, rule.to) if text is not None]
                families = {6 if ":" in text else 4 for text in texts} or {4, 6}
                for family in sorted(families):
                    below = (*path, "routing-policy", index)
                    self.netlink(nl.rule_add(rule, family), below, "the rule")

    def user_routes(self, path: Path, name: str, interface: Interface) -> None:
        """The default routes of the user backend, where none is given."""
        given = {
            family_of(route)
            for route in interface.routes
            if route.to in ("default", "0.0.0.0/0", "::/0") and route.table == 254
        }
        if interface.dhcp4:
            # The server names the gateway.
            given.add(4)
        for gateway in self.user_network(interface, GATEWAY):
            family = 6 if ":" in gateway else 4
            if family not in given:
                route = Route(to="default", via=gateway)
                made = nl.route_add(name, route, family)
                self.netlink(made, path, f"default via {gateway}")

    def mount(self, path: Path, mount: Mount) -> None:
        flags = MOUNT_FLAGS["ro"] if mount.type == "squashfs" else 0
        rest = []
        for option in mount.options:
            if option in MOUNT_FLAGS:
                flags |= MOUNT_FLAGS[option]
            elif option != "rw":
                rest.append(option)
            word, _, value = option.partition("=")
            if word in OVERLAY_DIRECTORIES:
                for directory in value.split(":"):
                    self.add(fmt.MKDIR, strings(directory), path, f"making {directory}")
        source, op = mount.type, fmt.MOUNT
        if mount.source is not None:
            place = self.profile.place((*path, "source"))
            source, op = str(absolute_path(place, mount.source)), fmt.IMAGE
        payload = fmt.MOUNT_HEAD.pack(flags)
        payload += strings(source, mount.target, mount.type, ",".join(rest))
        self.add(op, payload, path, f"mounting {mount.type} on {mount.target}")

    # -----------------------------------------------------------------
    # What is not in the bytes.

    def plan(self, listed: list[tuple[Path, str, Interface]]) -> Plan:
        model = self.model
        users = [one for one in listed if self.backend(one[2]) == "user"]
        publish = [
            Publish(port.protocol, port.host_ip, outer, inner)
            for port in model.ports
            for outer, inner in port.pairs()
        ]
        devices = []
        for _, name, interface in listed:
            assert isinstance(interface, Interface)
            if isinstance(interface, Ethernet) and self.backend(interface) != "none":
                first = bool(users) and users[0][1] == name
                spec = self.device(name, interface, publish if first else [])
                devices.append(spec)
        gateways = self.user_network(users[0][2], GATEWAY) if users else []
        nftables = ""
        if model.nftables is not None:
            nftables = model.nftables.text or ""
            if model.nftables.file is not None:
                path: Path = ("nftables", "file")
                nftables = self.profile.file(path, model.nftables.file).decode(
                    "utf-8", "surrogateescape"
                )
        return Plan(
            data=fmt.encode(self.records),
            devices=devices,
            memory=model.kernel.memory,
            cmdline=model.kernel.cmdline,
            capture=model.capture,
            environment=dict(model.environment),
            hosts=self.hosts(gateways),
            resolv_conf=self.resolv_conf(listed),
            hostname=model.hostname or "",
            publish=publish,
            packages=dict(model.packages),
            ulimits={
                name: (limit.soft, limit.hard) for name, limit in model.ulimits.items()
            },
            nftables=nftables,
            nftables_place=str(self.profile.place(("nftables",))) if nftables else "",
            mounts=[mount.target for mount in model.mounts],
            dhcp=self.dhcp(listed),
        )

    def device(self, name: str, ethernet: Ethernet, publish: list[Publish]) -> str:
        """ukl-host's words for an interface; see kernel/host/devices.c."""
        backend = ethernet.backend
        words = [backend.kind, f"name={name}"]
        if ethernet.macaddress is not None:
            words.append(f"mac={ethernet.macaddress}")
        mtu = ethernet.mtu
        if mtu is None and backend.kind == "user":
            mtu = USER_MTU
        if mtu is not None:
            words.append(f"mtu={mtu}")
        if backend.tap is not None:
            words.append(f"host={backend.tap}")
            if backend.netns is not None:
                words.append(f"netns=/run/netns/{backend.netns}")
        elif backend.wire is not None:
            words.append(f"segment={RUNTIME}/.wires/{backend.wire}")
        elif backend.fd is not None:
            words.append(f"fd={backend.fd}")
        elif backend.user is not None:
            mine = self.addresses(ethernet)
            own = [ipaddress.ip_interface(one.address) for one in mine]
            for version in (4, 6):
                first = next((one for one in own if one.version == version), "off")
                words.append(f"ipv{version}={first}")
            words.append(f"host={'on' if backend.user.host_access else 'off'}")
            words += [f"publish={one.word()}" for one in publish]
        return ",".join(words)

    def dhcp(self, listed: list[tuple[Path, str, Interface]]) -> list[Dhcp]:
        """The interfaces that get a lease."""
        own = [one.nameservers for _, _, one in listed if one.nameservers is not None]
        result = []
        for path, name, interface in listed:
            if not interface.dhcp4:
                continue
            asked = True
            if isinstance(interface, Ethernet) and interface.backend.user is not None:
                asked = interface.backend.user.dns
            take = {
                "mtu": interface.mtu is None,
                "nameserver": asked and not any(one.addresses for one in own),
                "search": asked and not any(one.search for one in own),
            }
            below: Path = (*path, "dhcp4")
            static = [one.address.partition("/")[0] for one in interface.addresses]
            result.append(
                Dhcp(
                    interface=name,
                    place=f"{self.profile.place(below)}: {dotted(below)}",
                    wait=not interface.optional,
                    take=" ".join(word for word, is_so in take.items() if is_so),
                    static=" ".join(one for one in static if ":" not in one),
                )
            )
        return result

    def hosts(self, gateways: list[str]) -> str:
        lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        if self.model.hostname is not None:
            short = self.model.hostname.partition(".")[0]
            names = dict.fromkeys([self.model.hostname, short])
            lines.append("127.0.1.1\t" + " ".join(names))
        for name, addresses in self.model.extra_hosts.items():
            for address in addresses:
                real = gateways if address == "host-gateway" else [address]
                lines += [f"{one}\t{name}" for one in real]
        return "\n".join(lines) + "\n"

    def resolv_conf(self, listed: list[tuple[Path, str, Interface]]) -> str:
        servers: list[str] = []
        search: list[str] = []
        for _, _, interface in listed:
            if interface.nameservers is not None:
                servers += interface.nameservers.addresses
                search += interface.nameservers.search
        if not servers:
            for _, _, interface in listed:
                if (
                    isinstance(interface, Ethernet)
                    and interface.backend.user is not None
                    and interface.backend.user.dns
                    # The lease has the name server then.
                    and not interface.dhcp4
                ):
                    servers += self.user_network(interface, NAME_SERVER)
        lines = [f"nameserver {server}" for server in dict.fromkeys(servers)]
        if search:
            lines.insert(0, "search " + " ".join(dict.fromkeys(search)))
        return "".join(f"{line}\n" for line in lines)


def _rank(interface: Interface) -> int:
    """Lower interfaces come up first."""
    order = ("Ethernet", "Dummy", "VirtualEthernet", "Bridge", "Tunnel", "Vlan")
    return order.index(type(interface).__name__)


def compiled(profile: Loaded) -> Plan:
    """See :func:`hijack.plan.build`."""
    return _Builder(profile).build()
