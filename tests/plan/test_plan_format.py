"""The bytes of boot plans, here and in C."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinytree import ROOT

from hijack import plan, profile
from hijack.plan import format as fmt
from hijack.plan.messages import GENERIC, ROUTE

HEADER = ROOT / "kernel" / "include" / "ukl" / "plan.h"

RECORDS = st.lists(
    st.builds(
        fmt.Record,
        op=st.integers(0, 2**32 - 1),
        place=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        payload=st.binary(max_size=60),
    ),
    max_size=5,
)


@given(RECORDS)
def test_there_and_back(records: list[fmt.Record]) -> None:
    data = fmt.encode(records)
    assert len(data) % 8 == 0
    assert fmt.decode(data) == records


@given(RECORDS, st.binary(max_size=80), st.integers(0, 200))
def test_what_is_not_a_plan(records: list[fmt.Record], junk: bytes, at: int) -> None:
    """Damaged bytes are refused or read as something; nothing else happens."""
    data = fmt.encode(records)
    for bad in (junk, data[:at], data + junk, data[:at] + junk + data[at:]):
        try:
            fmt.decode(bad)
        except (fmt.PlanError, UnicodeDecodeError):
            continue


@given(
    st.integers(0, 30),
    st.binary(max_size=40),
    st.lists(
        st.builds(
            fmt.Fix,
            offset=st.integers(0, 100),
            kind=st.sampled_from([fmt.FIX_INDEX, fmt.FIX_GENERIC]),
            name=st.text("abc", min_size=1, max_size=15),
        )
    ),
)
def test_netlink_payloads(family: int, message: bytes, fixes: list[fmt.Fix]) -> None:
    packed = fmt.netlink(family, message, fixes)
    assert fmt.split_netlink(packed) == (family, fixes, message)


def test_the_header_says_the_same(tmp_path: Path) -> None:
    """Constants and sizes, as the C compiler sees them."""
    names = re.findall(r"#define (UKL_PLAN_\w+)[ \t]+\S", HEADER.read_text())
    structures = ("ukl_plan", "ukl_plan_record", "ukl_plan_netlink", "ukl_plan_fix")
    structures += ("ukl_plan_mount",)
    lines = [f'printf("{name} %lu\\n", (unsigned long){name});' for name in names]
    lines += [f'printf("{s} %zu\\n", sizeof(struct {s}));' for s in structures]
    source, program = tmp_path / "show.c", tmp_path / "show"
    source.write_text(
        "#include <stdio.h>\n#include <ukl/plan.h>\nint main(void)\n{\n"
        + "\n".join(lines)
        + "\n}\n"
    )
    include = f"-I{HEADER.parent.parent}"
    subprocess.run(["gcc", include, "-o", program, source], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    values = {name: int(value) for name, value in map(str.split, said.splitlines())}
    assert len(values) > 15
    assert values.pop("UKL_PLAN_MAX") >= 1 << 20
    sizes = {
        "ukl_plan": fmt.HEADER,
        "ukl_plan_record": fmt.RECORD,
        "ukl_plan_netlink": fmt.NETLINK_HEAD,
        "ukl_plan_fix": fmt.FIX,
        "ukl_plan_mount": fmt.MOUNT_HEAD,
    }
    for name, value in values.items():
        if name in sizes:
            assert sizes[name].size == value, name
        else:
            assert getattr(fmt, name.removeprefix("UKL_PLAN_")) == value, name


def test_places_and_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record says which key of which file it is from."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(
        "hostname: web\n"
        "sysctls:\n"
        "  net.core.somaxconn: 5\n"
        "network:\n"
        "  dummy-devices:\n"
        "    d0:\n"
        "      addresses:\n"
        "      - 10.0.0.1/24\n"
        "  tunnels:\n"
        "    wg0: {mode: wireguard, "
        "key: gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE=}\n"
    )
    made = plan.build(profile.load(["p.yaml"]))
    records = fmt.decode(made.data)
    places = [record.place for record in records]
    assert places[0] == "boot plan: loopback"
    assert "p.yaml:1:11: hostname: the host name" in places
    assert "p.yaml:3:23: sysctls.net.core.somaxconn" in places
    assert "p.yaml:8:9: network.dummy-devices.d0.addresses[0]: 10.0.0.1/24" in places
    families = set()
    for record in records:
        if record.op == fmt.NETLINK:
            family, fixes, message = fmt.split_netlink(record.payload)
            families.add(family)
            assert int.from_bytes(message[:4], "little") == len(message)
            assert all(fix.offset + 2 <= len(message) for fix in fixes)
    assert families == {ROUTE, GENERIC}
    assert made.hostname == "web"
    assert "127.0.1.1\tweb\n" in made.hosts


def test_what_the_launcher_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    Path("rules.nft").write_text("table inet t { }\n")
    Path("p.yaml").write_text(
        """\
network:
  ethernets:
    eth0:
      mtu: 9000
      macaddress: 52:54:00:12:34:56
      nameservers: {addresses: [9.9.9.9], search: [example.net]}
    eth1: {backend: {wire: lab}, nameservers: {addresses: [9.9.9.9, "fd00::53"]}}
    eth2: {backend: {tap: tap7, netns: lab}}
    eth3: {backend: {fd: 5}}
    eth4: {backend: none}
    eth5: {backend: {user: {dns: false, host_access: no}}, addresses: [192.168.7.9/24]}
ports: ["127.0.0.1:8080-8081:80-81", "[::1]:53:53/udp"]
environment: {A: 1, HOME: }
ulimits: {nofile: {soft: 10, hard: unlimited}}
extra_hosts: {gw: host-gateway, db: [10.0.0.9, "fd00::9"]}
nftables: {file: rules.nft}
capture: out.pcapng
kernel: {memory: 1g, cmdline: loglevel=7}
mounts: [{type: tmpfs, target: /srv}]
"""
    )
    made = plan.build(profile.load(["p.yaml"]))
    assert made.devices == [
        "user,name=eth0,mac=52:54:00:12:34:56,mtu=9000,ipv4=10.0.2.15/24,"
        "ipv6=fd00:7e57:10::15/64,host=on,publish=tcp:127.0.0.1:8080:80,"
        "publish=tcp:127.0.0.1:8081:81,publish=udp:[::1]:53:53",
        "wire,name=eth1,segment={runtime}/.wires/lab",
        "tap,name=eth2,host=tap7,netns=/run/netns/lab",
        "fd,name=eth3,fd=5",
        "user,name=eth5,mtu=65520,ipv4=192.168.7.9/24,ipv6=off,host=off",
    ]
    assert made.expand()[1] == f"wire,name=eth1,segment={runtime}/ukl/.wires/lab"
    assert (runtime / "ukl" / ".wires").stat().st_mode & 0o777 == 0o700
    assert [one.word() for one in made.publish] == [
        "tcp:127.0.0.1:8080:80",
        "tcp:127.0.0.1:8081:81",
        "udp:[::1]:53:53",
    ]
    assert made.resolv_conf == (
        "search example.net\nnameserver 9.9.9.9\nnameserver fd00::53\n"
    )
    assert made.hosts == (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "10.0.2.2\tgw\n"
        "fd00:7e57:10::2\tgw\n"
        "10.0.0.9\tdb\n"
        "fd00::9\tdb\n"
    )
    assert made.environment == {"A": "1", "HOME": None}
    assert made.ulimits == {"nofile": (10, -1)}
    assert made.nftables == "table inet t { }\n"
    assert made.nftables_place == "p.yaml:16:11"
    assert (made.memory, made.cmdline) == ("1G", "loglevel=7")
    assert (made.capture, made.hostname) == ("out.pcapng", "")
    assert made.mounts == ["/srv"]


def test_without_a_profile() -> None:
    """One ethernet with the user backend, which answers for names."""
    made = plan.build(profile.load([]))
    assert made.devices == [
        "user,name=eth0,mtu=65520,ipv4=10.0.2.15/24,ipv6=fd00:7e57:10::15/64,host=on"
    ]
    assert made.resolv_conf == "nameserver 10.0.2.3\nnameserver fd00:7e57:10::3\n"
    assert made.publish == []
    places = [record.place for record in fmt.decode(made.data)]
    assert any("default via 10.0.2.2" in place for place in places)
    assert any("default via fd00:7e57:10::2" in place for place in places)
