"""Bad profiles, one mistake each, and exactly what is said about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hijack import profile
from hijack.profile.problems import ProfileErrors

BAD: list[tuple[str, list[str]]] = [
    ("just a text", ["1:1: give a mapping (KEY: VALUE), not 'just a text'"]),
    ("[1, 2]", ["1:1: give a mapping (KEY: VALUE), not a list"]),
    ("netwrok: {}", ["1:1: netwrok: unknown key (did you mean network?)"]),
    (
        "network:\n\tethernets: {}",
        [
            (
                "2:1: is not YAML: found character '\\t' that cannot start any "
                "token (indent with spaces)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {}",
        ["1:31: is not YAML: expected ',' or '}', but got '<stream end>'"],
    ),
    (
        "a: b: c",
        [
            (
                "1:5: is not YAML: mapping values are not allowed here (quote "
                "a text that has ': ' in it)"
            )
        ],
    ),
    (
        "packages: {/usr/sbin/nginx: nginx}",
        [
            (
                "1:12: packages./usr/sbin/nginx: '/usr/sbin/nginx' is not a "
                "command's name (a word without slashes)"
            )
        ],
    ),
    (
        "packages: {nginx: -o Dpkg}",
        ["1:19: packages.nginx: '-o Dpkg' is not a Debian package's name"],
    ),
    ("hostname: a\nhostname: b", ["2:1: hostname: is there twice (first in line 1)"]),
    (
        "hostname: !!python/object:os.system x",
        [("1:11: hostname: the tag !!python/object:os.system means nothing here")],
    ),
    ("hostname: !secret x", ["1:11: hostname: the tag !secret means nothing here"]),
    ("hostname: a\n---\nhostname: b", ["2:1: is not YAML: a profile is one document"]),
    ("? [a, b]\n: c", ["1:3: a key must be a word"]),
    ("hostname: {a: b}", ["1:11: hostname: give a text, not a mapping"]),
    ("hostname: -web", ["1:11: hostname: '-web' is not a host name"]),
    ("hostname: ''", ["1:11: hostname: give a text, not an empty one"]),
    ('hostname: "a\\nb"', ["1:11: hostname: 'a\\nb' is not a host name"]),
    ("network: {version: 3}", ["1:20: network.version: give 2, not '3'"]),
    (
        "network: {ethernets: [eth0]}",
        ["1:22: network.ethernets: give a mapping (KEY: VALUE), not a list"],
    ),
    (
        "network: {ethernets: {eth0: up}}",
        [("1:29: network.ethernets.eth0: give a mapping (KEY: VALUE), not 'up'")],
    ),
    (
        "network: {ethernets: {averyverylongname0: {}}}",
        [
            (
                "1:23: network.ethernets.averyverylongname0: an interface's "
                "name has at most 15 characters, not 18"
            )
        ],
    ),
    (
        "network: {ethernets: {'eth 0': {}}}",
        ["1:23: network.ethernets.'eth 0': 'eth 0' cannot name an interface"],
    ),
    (
        "network: {ethernets: {lo: {}}}",
        [
            (
                "1:23: network.ethernets.lo: lo is the loopback; it is there "
                "and up already"
            )
        ],
    ),
    ("network: {wifis: {}}", ["1:11: network.wifis: unknown key (there is no radio)"]),
    (
        "network: {renderer: networkd}",
        ["1:11: network.renderer: unknown key (there is none; take it out)"],
    ),
    (
        "network: {ethernets: {eth0: {backend: usr}}}",
        [
            (
                "1:39: network.ethernets.eth0.backend: unknown backend 'usr' "
                "(did you mean user?)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: wire}}}",
        [
            (
                "1:39: network.ethernets.eth0.backend: name the wire: backend: "
                "{wire: NAME}"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: fd}}}",
        [
            (
                "1:39: network.ethernets.eth0.backend: give the descriptor: "
                "backend: {fd: NUMBER}"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: {}}}}",
        [
            (
                "1:39: network.ethernets.eth0.backend: give one of user, tap, "
                "wire, fd, none"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: {tap: a, wire: b}}}}",
        [
            (
                "1:39: network.ethernets.eth0.backend: give one of user, tap, "
                "wire, fd, none, not tap and wire"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: {wire: 'a b'}}}}",
        [
            (
                "1:46: network.ethernets.eth0.backend.wire: 'a b' cannot name "
                "a wire (at most 32 letters, digits, '.', '_' and '-')"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: {fd: -1}}}}",
        [
            (
                "1:44: network.ethernets.eth0.backend.fd: give a number from 0 "
                "to 1048576, not '-1'"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: {none: false}}}}",
        [
            (
                "1:46: network.ethernets.eth0.backend.none: write none: true, "
                "or another backend"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {backend: [tap]}}}",
        [
            (
                "1:39: network.ethernets.eth0.backend: give a word (user, tap, "
                "wire, fd, none) or a mapping (KEY: VALUE), not a list"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {backend: {user: {host_acces: true}}}}}"),
        [
            (
                "1:47: network.ethernets.eth0.backend.user.host_acces: unknown "
                "key (did you mean host_access?)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {addresses: 10.0.0.1/24}}}",
        [("1:41: network.ethernets.eth0.addresses: give a list, not '10.0.0.1/24'")],
    ),
    (
        "network: {ethernets: {eth0: {addresses: [10.0.0.1]}}}",
        [
            (
                "1:42: network.ethernets.eth0.addresses[0]: '10.0.0.1' has no "
                "prefix length (10.0.0.1/24?)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {addresses: ['fe80::1']}}}",
        [
            (
                "1:42: network.ethernets.eth0.addresses[0]: 'fe80::1' has no "
                "prefix length (fe80::1/64?)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {addresses: [10.0.0.1/33]}}}",
        [
            (
                "1:42: network.ethernets.eth0.addresses[0]: '10.0.0.1/33': the "
                "prefix length is a number from 0 to 32"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {addresses: [10.0.0.300/24]}}}",
        [
            (
                "1:42: network.ethernets.eth0.addresses[0]: '10.0.0.300/24' is "
                "not an IP address with /LENGTH"
            )
        ],
    ),
    (
        (
            "network: {ethernets: {eth0: {backend: none, addresses: "
            "[10.0.0.1/24, 10.0.0.1/24]}}}"
        ),
        ["1:70: network.ethernets.eth0.addresses[1]: is there twice"],
    ),
    (
        "network: {ethernets: {eth0: {addresses: [10.0.0.2/24]}}}",
        [
            (
                "1:42: network.ethernets.eth0.addresses[0]: the second address "
                "of the network is the user backend's gateway and the third "
                "its name server"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {addresses: [10.0.0.5/30]}}}",
        [
            (
                "1:42: network.ethernets.eth0.addresses[0]: the user backend "
                "needs room for its gateway and name server in the network (at "
                "most /29)"
            )
        ],
    ),
    (
        (
            "network: {ethernets: {eth0: {backend: none, addresses: "
            "[{'10.0.0.1/24': {label: web}}]}}}"
        ),
        [("1:57: network.ethernets.eth0.addresses[0]: a label begins with eth0")],
    ),
    (
        "network: {ethernets: {eth0: {backend: none, dhcp4: true}}}",
        [
            (
                "1:52: network.ethernets.eth0.dhcp4: there is no DHCP server to be "
                "asked: backend: none leads nowhere"
            )
        ],
    ),
    (
        "network: {dummy-devices: {d0: {dhcp4: true}}}",
        [
            (
                "1:39: network.dummy-devices.d0.dhcp4: there is no DHCP server to be "
                "asked: a dummy interface leads nowhere"
            )
        ],
    ),
    (
        (
            "network: {tunnels: {t: {mode: ipip, local: 10.0.0.1, remote: 10.0.0.2, "
            "dhcp4: yes}}}"
        ),
        [
            (
                "1:79: network.tunnels.t.dhcp4: there is no DHCP server to be asked: "
                "ipip carries no Ethernet"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {dhcp6: yes}}}",
        [
            (
                "1:37: network.ethernets.eth0.dhcp6: Debian's busybox has no "
                "DHCPv6 client (accept-ra: true takes addresses that a router "
                "advertises, addresses: gives fixed ones)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {dhcp4: maybe}}}",
        [("1:37: network.ethernets.eth0.dhcp4: give true or false, not 'maybe'")],
    ),
    (
        "network: {ethernets: {eth0: {gateway4: 10.0.0.1}}}",
        [
            (
                "1:30: network.ethernets.eth0.gateway4: unknown key (routes: "
                "[{to: default, via: ADDRESS}] says it)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {mtu: 9k}}}",
        [
            (
                "1:35: network.ethernets.eth0.mtu: give a number from 68 to "
                "65535 bytes, not '9k'"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {mtu: 20}}}",
        [
            (
                "1:35: network.ethernets.eth0.mtu: give a number from 68 to "
                "65535 bytes, not '20'"
            )
        ],
    ),
    (
        (
            "network: {ethernets: {eth0: {backend: none, mtu: 1000, "
            "addresses: ['fd00::1/64']}}}"
        ),
        ["1:50: network.ethernets.eth0.mtu: IPv6 needs at least 1280 bytes"],
    ),
    (
        "network: {ethernets: {eth0: {macaddress: 52:54:00:12:34}}}",
        [
            (
                "1:42: network.ethernets.eth0.macaddress: '52:54:00:12:34' is "
                "not an Ethernet address (52:54:00:12:34:56)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {macaddress: 53:54:00:12:34:56}}}",
        [
            (
                "1:42: network.ethernets.eth0.macaddress: '53:54:00:12:34:56' "
                "is a group's address, not one interface's"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {accept_ra: true}}}",
        [
            (
                "1:30: network.ethernets.eth0.accept_ra: unknown key (did you "
                "mean accept-ra?)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {routes: [{via: 10.0.0.1}]}}}",
        [
            (
                "1:39: network.ethernets.eth0.routes[0]: to is missing, as in "
                "to: 10.8.0.0/16"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {routes: [{to: 10.0.0.1/8, via: 10.0.0.1}]}}}"),
        [
            (
                "1:44: network.ethernets.eth0.routes[0].to: '10.0.0.1/8' has "
                "bits set beyond its length (did you mean 10.0.0.0/8?)"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {routes: [{to: somewhere, via: 10.0.0.1}]}}}"),
        [
            (
                "1:44: network.ethernets.eth0.routes[0].to: 'somewhere' is not "
                "a network such as 10.0.0.0/8"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {routes: [{to: 'fd00::/8', via: 10.0.0.1}]}}}"),
        [
            (
                "1:61: network.ethernets.eth0.routes[0].via: 10.0.0.1 is not "
                "an IPv6 address like fd00::/8"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {routes: [{to: default, on-link: true}]}}}"),
        [
            (
                "1:62: network.ethernets.eth0.routes[0].on-link: on-link is "
                "said of a gateway: via is missing"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {routes: [{to: 10.0.0.0/8, type: blakhole}]}}}"),
        [
            (
                "1:62: network.ethernets.eth0.routes[0].type: unknown type of "
                "route 'blakhole' (did you mean blackhole?)"
            )
        ],
    ),
    (
        (
            "network: {ethernets: {eth0: {routes: [{to: 10.0.0.0/8, type: "
            "blackhole, via: 10.0.0.1}]}}}"
        ),
        [
            (
                "1:78: network.ethernets.eth0.routes[0].via: a blackhole route "
                "has no gateway"
            )
        ],
    ),
    (
        (
            "network: {ethernets: {eth0: {routes: [{to: 10.0.0.0/8, via: "
            "10.0.0.1, scope: universe}]}}}"
        ),
        [
            (
                "1:78: network.ethernets.eth0.routes[0].scope: unknown scope "
                "'universe' (one of global, link, host)"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {routes: [{to: 10.0.0.0/8, metric: -1}]}}}"),
        [
            (
                "1:64: network.ethernets.eth0.routes[0].metric: give a number "
                "from 0 to 4294967295, not '-1'"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {routing-policy: [{from: 10.0.0.0/8}]}}}"),
        [
            (
                "1:47: network.ethernets.eth0.routing-policy[0]: table is "
                "missing, as in table: 100"
            )
        ],
    ),
    (
        (
            "network: {ethernets: {eth0: {routing-policy: [{from: "
            "10.0.0.0/8, to: 'fd00::/8', table: 5}]}}}"
        ),
        [
            (
                "1:70: network.ethernets.eth0.routing-policy[0].to: from and "
                "to are of two families"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {nameservers: {addresses: [dns.example]}}}}"),
        [
            (
                "1:56: network.ethernets.eth0.nameservers.addresses[0]: "
                "'dns.example' is not an IP address"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {nameservers: [9.9.9.9]}}}",
        [
            (
                "1:43: network.ethernets.eth0.nameservers: give a mapping "
                "(KEY: VALUE), not a list"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: netm delay 5ms}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: unknown discipline 'netm' "
                "(did you mean netem?)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: netem dely 5ms}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: netem: unknown word "
                "'dely' (did you mean delay?)"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: netem delay}}}",
        ["1:37: network.ethernets.eth0.qdisc: netem: delay needs a value"],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: netem delay fast}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: netem delay: 'fast' is "
                "not a time such as 50ms"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: netem loss 1}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: netem loss: '1' is not a "
                "percentage such as 1%"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: netem reorder 25%}}}",
        ["1:37: network.ethernets.eth0.qdisc: netem: reorder needs a delay"],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: tbf rate 1mbit}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: tbf needs burst, as in: "
                "tbf rate 10mbit burst 32kb latency 50ms"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: tbf rate 1mbit burst 32kb}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: tbf needs latency or "
                "limit, as in: tbf rate 10mbit burst 32kb latency 50ms"
            )
        ],
    ),
    (
        (
            "network: {ethernets: {eth0: {qdisc: tbf rate 1mbot burst 32kb "
            "latency 5ms}}}"
        ),
        [
            (
                "1:37: network.ethernets.eth0.qdisc: tbf rate: '1mbot' is not "
                "a rate such as 10mbit"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: htb default 10}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: htb is made of classes, "
                "which this line cannot say (run tc in the instance: ukl exec "
                "NAME tc qdisc …)"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {qdisc: {netem: {delay: 5ms}, fq: {}}}}}"),
        [
            (
                "1:37: network.ethernets.eth0.qdisc: give one discipline, as "
                "in: netem: {delay: 50ms}"
            )
        ],
    ),
    (
        "network: {ethernets: {eth0: {qdisc: [fq]}}}",
        [
            (
                "1:37: network.ethernets.eth0.qdisc: give a discipline in tc's "
                "words, not a list"
            )
        ],
    ),
    (
        "network: {bridges: {br0: {interfaces: [eth1]}}}",
        [("1:40: network.bridges.br0.interfaces[0]: there is no interface eth1")],
    ),
    (
        (
            "network: {dummy-devices: {d0: {}}, bridges: {br0: "
            "{interfaces: [d0]}, br1: {interfaces: [d0]}}}"
        ),
        [("1:90: network.bridges.br1.interfaces[0]: d0 is a port of br0 already")],
    ),
    (
        "network: {bridges: {br0: {}, br1: {interfaces: [br0]}}}",
        [
            (
                "1:49: network.bridges.br1.interfaces[0]: a bridge cannot be "
                "the port of a bridge"
            )
        ],
    ),
    (
        "network: {bridges: {br0: {parameters: {forward-delay: 99}}}}",
        [
            (
                "1:55: network.bridges.br0.parameters.forward-delay: give a "
                "number from 0 to 30 seconds, not '99'"
            )
        ],
    ),
    (
        "network: {vlans: {v5: {id: 5}}}",
        ["1:23: network.vlans.v5: link is missing, as in link: eth0"],
    ),
    (
        ("network: {vlans: {v5: {id: 5000, link: eth0}}, ethernets: {eth0: {}}}"),
        [("1:28: network.vlans.v5.id: give a number from 0 to 4094, not '5000'")],
    ),
    (
        "network: {vlans: {v5: {id: 5, link: eth1}}, ethernets: {eth0: {}}}",
        [
            (
                "1:37: network.vlans.v5.link: there is no interface eth1 (did "
                "you mean eth0?)"
            )
        ],
    ),
    (
        "network: {vlans: {a: {id: 5, link: b}, b: {id: 6, link: a}}}",
        [
            "1:36: network.vlans.a.link: a is carried by itself",
            "1:57: network.vlans.b.link: b is carried by itself",
        ],
    ),
    (
        "network: {virtual-ethernets: {a: {peer: b}}}",
        [("1:41: network.virtual-ethernets.a.peer: b is not in virtual-ethernets")],
    ),
    (
        "network: {virtual-ethernets: {a: {peer: b}, b: {peer: b}}}",
        [
            "1:41: network.virtual-ethernets.a.peer: the peer of b is b",
            ("1:55: network.virtual-ethernets.b.peer: an end cannot be its own peer"),
        ],
    ),
    (
        "network: {tunnels: {t: {mode: wiregard}}}",
        [
            (
                "1:31: network.tunnels.t.mode: unknown mode 'wiregard' (did "
                "you mean wireguard?)"
            )
        ],
    ),
    (
        "network: {tunnels: {t: {mode: wireguard}}}",
        [
            (
                "1:24: network.tunnels.t: keys is missing: a wireguard tunnel "
                "needs its private key"
            )
        ],
    ),
    (
        "network: {tunnels: {t: {mode: wireguard, key: secret}}}",
        [
            (
                "1:47: network.tunnels.t.key: is not a WireGuard key: 32 bytes "
                "in base64 (wg genkey makes one)"
            )
        ],
    ),
    (
        (
            "network: {tunnels: {t: {mode: wireguard, remote: 10.0.0.1, "
            "key: gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=}}}"
        ),
        ["1:50: network.tunnels.t.remote: means nothing for mode wireguard"],
    ),
    (
        "network: {tunnels: {t: {mode: wireguard, key: /no/such/file}}}",
        [("1:47: network.tunnels.t.key: /no/such/file: No such file or directory")],
    ),
    (
        (
            "network: {tunnels: {t: {mode: wireguard, key: "
            "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=, peers: "
            "[{endpoint: 'a:5'}]}}}"
        ),
        [
            (
                "1:101: network.tunnels.t.peers[0]: keys is missing, as in "
                "keys: {public: xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=}"
            ),
            (
                "1:112: network.tunnels.t.peers[0].endpoint: 'a' is not an IP "
                "address (a boot plan cannot ask a name server)"
            ),
        ],
    ),
    (
        (
            "network: {tunnels: {t: {mode: wireguard, key: "
            "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=, peers: [{keys: "
            "{public: HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=}, "
            "endpoint: 'fd00::1:5'}]}}}"
        ),
        [
            (
                "1:174: network.tunnels.t.peers[0].endpoint: write an IPv6 "
                "endpoint as [ADDRESS]:PORT, not 'fd00::1:5'"
            )
        ],
    ),
    (
        "network: {tunnels: {t: {mode: vxlan}}}",
        [("1:24: network.tunnels.t: id is missing: a vxlan tunnel needs its number")],
    ),
    (
        "network: {tunnels: {t: {mode: ipip, local: 'fd00::1'}}}",
        [("1:44: network.tunnels.t.local: ipip runs over IPv4, not over fd00::1")],
    ),
    (
        "network: {tunnels: {t: {mode: ipip, key: 5}}}",
        ["1:42: network.tunnels.t.key: means nothing for mode ipip"],
    ),
    (
        "network: {tunnels: {t: {mode: gre, port: 5}}}",
        ["1:42: network.tunnels.t.port: means nothing for mode gre"],
    ),
    (
        "network: {ethernets: {x: {}}, bridges: {x: {}}}",
        [("1:44: network.bridges.x: there is an interface x in ethernets already")],
    ),
    (
        (
            "network: {ethernets: {e0: {}, e1: {}, e2: {}, e3: {}, e4: {}, "
            "e5: {}, e6: {}, e7: {}, e8: {}}}"
        ),
        [
            (
                "1:91: network.ethernets.e8: an instance has at most 8 "
                "ethernets with a backend"
            )
        ],
    ),
    (
        ("network: {ethernets: {a: {backend: {tap: t}}, b: {backend: {tap: t}}}}"),
        [("1:60: network.ethernets.b.backend: tap t is the backend of a already")],
    ),
    (
        "network: {ethernets: {a: {backend: {wire: w, netns: n}}}}",
        [
            (
                "1:53: network.ethernets.a.backend.netns: only a tap is in a "
                "network namespace"
            )
        ],
    ),
    (
        "network: {ethernets: {a: {backend: {tap: t, netns: a/b}}}}",
        [
            (
                "1:52: network.ethernets.a.backend.netns: 'a/b' cannot name a network "
                "namespace (at most 64 letters, digits, '.', '_', '@', ':', '+' and "
                "'-')"
            )
        ],
    ),
    ("ports: [80]", ["1:9: ports[0]: give the host's port too, as in 8080:80"]),
    (
        "ports: ['a:80']",
        ["1:9: ports[0]: 'a' is not a port: give 1 to 65535, or FIRST-LAST"],
    ),
    (
        "ports: ['8080:80/sctp']",
        ["1:9: ports[0]: unknown protocol 'sctp' (one of tcp, udp)"],
    ),
    (
        "ports: ['99999:80']",
        [("1:9: ports[0]: '99999' is not a port: give 1 to 65535, or FIRST-LAST")],
    ),
    ("ports: ['1.2.3:80:80']", ["1:9: ports[0]: '1.2.3' is not an IP address"]),
    (
        "ports: ['::1:80:80']",
        [
            (
                "1:9: ports[0]: '::1:80:80' is not "
                "[ADDRESS:]HOST-PORT:PORT[/PROTOCOL] (IPv6 in brackets)"
            )
        ],
    ),
    (
        "ports: ['[::1:80:80']",
        [("1:9: ports[0]: '[::1:80:80' is not [ADDRESS:]HOST-PORT:PORT[/PROTOCOL]")],
    ),
    ("ports: ['8000-8010:80']", ["1:9: ports[0]: 8000-8010 has 11 ports and 80 has 1"]),
    (
        "ports: ['8080:80', '127.0.0.1:8080:81']",
        ["1:20: ports[1]: tcp port 8080 is published by ports[0] already"],
    ),
    (
        "ports: [{target: 80}]",
        ["1:9: ports[0]: published is missing, as in published: 8080"],
    ),
    ("ports: 8080:80", ["1:8: ports: give a list, not '8080:80'"]),
    (
        "network: {ethernets: {a: {backend: none}}}\nports: ['8080:80']",
        ["2:8: ports: published ports need an interface with backend: user"],
    ),
    ("environment: [=x]", ["1:15: environment[0]: '=x' is not NAME=VALUE"]),
    ("environment: {A: {}}", ["1:18: environment.A: give a text, not a mapping"]),
    ("environment: 5", ["1:14: environment: give a mapping (KEY: VALUE), not '5'"]),
    (
        "ulimits: {nofiles: 5}",
        [("1:11: ulimits.nofiles: unknown limit 'nofiles' (did you mean nofile?)")],
    ),
    (
        "ulimits: {nofile: lots}",
        ["1:19: ulimits.nofile: give a number, or unlimited, not 'lots'"],
    ),
    (
        "ulimits: {nofile: {soft: 5}}",
        ["1:19: ulimits.nofile: hard is missing, as in hard: 4096"],
    ),
    (
        "ulimits: {nofile: {soft: 5, hard: 4}}",
        ["1:19: ulimits.nofile: soft is more than hard"],
    ),
    (
        "sysctls: {somaxconn: 5}",
        [
            (
                "1:11: sysctls.somaxconn: 'somaxconn' is not a sysctl such as "
                "net.core.somaxconn"
            )
        ],
    ),
    (
        "sysctls: {net.core.somaxconn: }",
        ["1:30: sysctls.net.core.somaxconn: give a text, not nothing"],
    ),
    (
        "sysctls: [net.core.somaxconn]",
        ["1:11: sysctls[0]: 'net.core.somaxconn' is not NAME=VALUE"],
    ),
    ("extra_hosts: [db]", ["1:15: extra_hosts[0]: 'db' is not NAME:ADDRESS"]),
    (
        "extra_hosts: {db: dbhost}",
        ["1:19: extra_hosts.db: 'dbhost' is not an IP address"],
    ),
    ("hosts: {db: 10.0.0.1}", ["1:1: hosts: unknown key (did you mean extra_hosts?)"]),
    (
        ("network: {ethernets: {a: {backend: none}}}\nextra_hosts: {db: host-gateway}"),
        [("2:19: extra_hosts.db: host-gateway needs an interface with backend: user")],
    ),
    (
        "mounts: [{type: tmpfs}]",
        ["1:10: mounts[0]: target is missing, as in target: /srv"],
    ),
    (
        "mounts: [{type: tmpsf, target: /x}]",
        [("1:17: mounts[0].type: unknown file system 'tmpsf' (did you mean tmpfs?)")],
    ),
    (
        "mounts: [{type: tmpfs, target: x}]",
        ["1:32: mounts[0].target: 'x' is not an absolute path"],
    ),
    (
        "mounts: [{type: ext4, target: /x}]",
        ["1:10: mounts[0]: source is missing: the ext4 image on the host"],
    ),
    (
        "mounts: [{type: overlay, target: /x}]",
        [("1:10: mounts[0]: lowerdir= is missing from the options of an overlay")],
    ),
    (
        "mounts: [{type: tmpfs, target: /x, source: a}]",
        [
            "1:44: mounts[0].source: a: no such file",
            "1:44: mounts[0].source: means nothing for tmpfs",
        ],
    ),
    (
        "mounts: [{type: tmpfs, target: /proc}]",
        ["1:32: mounts[0].target: '/proc' is taken"],
    ),
    (
        "mounts: [{type: ext4, target: /x, source: none.img}]",
        ["1:43: mounts[0].source: none.img: no such file"],
    ),
    ("nftables: {}", ["1:11: nftables: give a ruleset, or {file: PATH}"]),
    (
        "nftables: {file: none.nft}",
        ["1:18: nftables.file: none.nft: No such file or directory"],
    ),
    (
        "nftables: {file: a, text: b}",
        ["1:11: nftables: give a ruleset, or {file: PATH}"],
    ),
    ("kernel: {memory: 64}", ["1:18: kernel.memory: '64' is not a size such as 64M"]),
    (
        "kernel: {memory: 16M}",
        ["1:18: kernel.memory: give a size from 32M to 1024G, not 16M"],
    ),
    (
        "kernel: {memroy: 64M}",
        ["1:10: kernel.memroy: unknown key (did you mean memory?)"],
    ),
    ("capture: [a]", ["1:10: capture: give a text, not a list"]),
    (
        "image: nginx",
        [("1:1: image: unknown key (ukl runs programs, not images; take it out)")],
    ),
    (
        "mounts: [{type: tmpfs, target: /x, options: size=5m}]",
        [
            (
                "1:45: mounts[0].options: size=5m: a tmpfs of the library "
                "kernel is a ramfs, which knows only mode= (kernel: memory "
                "bounds it)"
            )
        ],
    ),
    (
        ("network: {ethernets: {eth0: {mtuu: 5, mtu: x}}}\nhostname: a b\nfoo: 1"),
        [
            "1:30: network.ethernets.eth0.mtuu: unknown key (did you mean mtu?)",
            (
                "1:44: network.ethernets.eth0.mtu: give a number from 68 to "
                "65535 bytes, not 'x'"
            ),
            "2:11: hostname: 'a b' is not a host name",
            (
                "3:1: foo: unknown key (known: network, hostname, extra_hosts, "
                "ports, environment, ulimits, packages, sysctls, mounts, nftables, "
                "capture, kernel)"
            ),
        ],
    ),
]
"""The text of p.yaml, and the lines of the complaint after ``p.yaml:``."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "lines"), BAD, ids=[text[:60] for text, _ in BAD])
def test_a_bad_profile(text: str, lines: list[str]) -> None:
    Path("p.yaml").write_text(text)
    with pytest.raises(ProfileErrors) as caught:
        profile.load(["p.yaml"])
    assert list(caught.value.details) == [f"p.yaml:{line}" for line in lines]
    count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
    assert str(caught.value).splitlines()[-1] == (
        f"ukl: the profile has {count} (doc/ukl-profile.5 describes every key)"
    )


OVERRIDES = [
    (
        'capture="\\ud800"',
        '-s capture="\\ud800": capture: a text cannot have half a character (a '
        "surrogate) in it",
    ),
    (
        'capture="a\\0"',
        '-s capture="a\\0": capture: a text cannot have a NUL character in it',
    ),
    ("hostname", "-s hostname: write KEY=VALUE"),
    ("=5", "-s =5: '' is not a key: write words with dots between"),
    ("a..b=5", "-s a..b=5: 'a..b' is not a key: write words with dots between"),
    ("hostnme=web", "-s hostnme=web: hostnme: unknown key (did you mean hostname?)"),
    ("hostname=a b", "-s hostname=a b: hostname: 'a b' is not a host name"),
    (
        "network.ethernets.eth0.mtu=9k",
        "-s network.ethernets.eth0.mtu=9k: network.ethernets.eth0.mtu: give a number "
        "from 68 to 65535 bytes, not '9k'",
    ),
    (
        "network.ethernets.eth0={",
        "-s network.ethernets.eth0={: network.ethernets.eth0: is not YAML: expected "
        "the node content, but found '<stream end>'",
    ),
    (
        "sysctls.somaxconn.=5",
        "-s sysctls.somaxconn.=5: 'sysctls.somaxconn.' is not a key: write words with "
        "dots between",
    ),
    ("ports=80", "-s ports=80: ports: give a list, not '80'"),
]


@pytest.mark.parametrize(("override", "line"), OVERRIDES)
def test_a_bad_override(override: str, line: str) -> None:
    with pytest.raises(ProfileErrors) as caught:
        profile.load([], [override])
    assert list(caught.value.details) == [line]


PUBLISHED: list[tuple[str, list[str], list[str]]] = [
    (
        "",
        ["8080:80", "8080:81"],
        ["-P 8080:81: ports[1]: tcp port 8080 is published by ports[0] already"],
    ),
    (
        "ports: ['8080:80']",
        ["8080:1", "8080:2"],
        ["-P 8080:2: ports[1]: tcp port 8080 is published by ports[0] already"],
    ),
    (
        "ports: ['8080:80']",
        ["127.0.0.1:8080:80"],
        [
            "-P 127.0.0.1:8080:80: ports[1]: tcp port 8080 is published by ports[0] "
            "already"
        ],
    ),
    (
        "ports: ['8080-8082:80-82']",
        ["8081:1"],
        ["-P 8081:1: ports[1]: tcp port 8081 is published by ports[0] already"],
    ),
    (
        "ports: [a]",
        ["1.2.3:80:80"],
        [
            "p.yaml:1:9: ports[0]: 'a' is not [ADDRESS:]HOST-PORT:PORT[/PROTOCOL]",
            "-P 1.2.3:80:80: ports[1]: '1.2.3' is not an IP address",
        ],
    ),
    ("ports: 5", ["8080:80"], ["p.yaml:1:8: ports: give a list, not '5'"]),
    ("[]", ["8080:80"], ["p.yaml:1:1: give a mapping (KEY: VALUE), not a list"]),
    (
        "network: {ethernets: {a: {backend: none}}}",
        ["8080:80"],
        ["-P 8080:80: ports: published ports need an interface with backend: user"],
    ),
]


@pytest.mark.parametrize(("text", "publish", "lines"), PUBLISHED)
def test_a_bad_port_beside_a_profile(
    text: str, publish: list[str], lines: list[str]
) -> None:
    Path("p.yaml").write_text(text)
    with pytest.raises(ProfileErrors) as caught:
        profile.load(["p.yaml"], [], publish)
    assert list(caught.value.details) == lines


def test_files_that_cannot_be_read() -> None:
    Path("d").mkdir()
    Path("latin1").write_bytes(b"hostname: a\n# caf\xe9\n")
    Path("big").write_bytes(b"#" * (1 << 20) + b"\n")
    Path("nul").write_bytes(b"hostname: a\n#\0\n")
    Path("deep").write_text("[" * 5000)
    with pytest.raises(ProfileErrors) as caught:
        profile.load(["none", "d", "latin1", "big", "nul", "deep"])
    assert list(caught.value.details) == [
        "none: No such file or directory",
        "d: Is a directory",
        "latin1:2:6: is not UTF-8 text",
        "big: is larger than 1024 KiB",
        "nul:2:2: the character U+0000 is not allowed",
        "deep: is nested too deeply",
    ]


def test_all_files_at_once_in_their_order() -> None:
    """What is wrong in one file does not hide what is wrong in another."""
    Path("b.yaml").write_text("hostname: a b\nports: 5\n")
    Path("a.yaml").write_text("hostnme: c\nkernel: {memory: 1}\n")
    with pytest.raises(ProfileErrors) as caught:
        profile.load(["b.yaml", "a.yaml"], ["capture=[]"])
    assert [str(problem).split(": ")[0] for problem in caught.value.problems] == [
        "b.yaml:1:11",
        "b.yaml:2:8",
        "a.yaml:1:1",
        "a.yaml:2:18",
        "-s capture=[]",
    ]


def test_a_value_that_is_overridden_is_not_complained_of() -> None:
    Path("a.yaml").write_text("hostname: a b\n")
    assert profile.load(["a.yaml"], ["hostname=web"]).model.hostname == "web"
