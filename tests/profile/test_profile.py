"""Profiles that are right: forms, merging, places, and what is made of the schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tinytree import ROOT

from hijack import profile
from hijack.profile import manpage, qdisc
from hijack.profile.problems import Place, dotted
from hijack.profile.schema import Profile, Record, json_schema
from launcher.ukl import cli


def load(text: str, tmp_path: Path, *overrides: str) -> Any:
    """The model of a profile."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return profile.load([path], overrides).model


def ethernet(text: str, tmp_path: Path) -> Any:
    """An ethernet with these lines."""
    lines = "".join(f"      {line}\n" for line in text.splitlines())
    top = "network:\n  ethernets:\n    eth0:\n"
    return load(top + lines, tmp_path).network.ethernets["eth0"]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("backend: user", "user", None),
        ("backend: {user: }", "user", None),
        ("backend: tap", "tap", "eth0"),
        ("backend: {tap: }", "tap", "eth0"),
        ("backend: {tap: web0}", "tap", "web0"),
        ("backend: {tap: web0, netns: lab}", "netns", "lab"),
        ("backend: {wire: lab}", "wire", "lab"),
        ("backend: {fd: 7}", "fd", 7),
        ("backend: none", "none", True),
        ("mtu: 1500", "user", None),
    ],
)
def test_backends(text: str, kind: str, value: object, tmp_path: Path) -> None:
    backend = ethernet(text, tmp_path).backend
    assert backend.kind == ("tap" if kind == "netns" else kind)
    if value is not None:
        assert getattr(backend, kind) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", ("0.0.0.0", "tcp", [(8080, 80)])),
        ("8080:80/udp", ("0.0.0.0", "udp", [(8080, 80)])),
        ("127.0.0.1:8080:80/tcp", ("127.0.0.1", "tcp", [(8080, 80)])),
        ('"[::1]:8080:80"', ("::1", "tcp", [(8080, 80)])),
        ("22:22", ("0.0.0.0", "tcp", [(22, 22)])),
        ("8000-8002:80-82", ("0.0.0.0", "tcp", [(8000, 80), (8001, 81), (8002, 82)])),
        (
            "{target: 53, published: 5353, host_ip: 127.0.0.1, protocol: udp}",
            ("127.0.0.1", "udp", [(5353, 53)]),
        ),
    ],
)
def test_ports(
    text: str, expected: tuple[str, str, list[tuple[int, int]]], tmp_path: Path
) -> None:
    """22:22 would be a number in base 60 for YAML 1.1."""
    (port,) = load(f"ports:\n- {text}\n", tmp_path).ports
    assert (port.host_ip, port.protocol, port.pairs()) == expected


def test_values_keep_their_letters(tmp_path: Path) -> None:
    made = load(
        "environment: {VERSION: 1.10, ON: no, ID: 007, DATE: 2026-01-02, E: '', N: }\n"
        "sysctls: {net.ipv4.tcp_rmem: 4096 87380 6291456, net.core.somaxconn: 010}\n"
        "network: {ethernets: {eth0: {macaddress: 52:54:00:12:34:56}}}\n",
        tmp_path,
    )
    assert made.environment == {
        "VERSION": "1.10",
        "ON": "no",
        "ID": "007",
        "DATE": "2026-01-02",
        "E": "",
        "N": None,
    }
    assert made.sysctls["net.core.somaxconn"] == "010"
    assert made.network.ethernets["eth0"].macaddress == "52:54:00:12:34:56"


def test_lists_of_compose(tmp_path: Path) -> None:
    made = load(
        "environment: [A=b=c, D]\n"
        "sysctls: ['net.core.somaxconn = 5']\n"
        "extra_hosts: ['db:10.0.0.1', 'db=fd00::1', 'gw:host-gateway']\n"
        "ulimits: {nofile: 5, core: {soft: 0, hard: unlimited}}\n",
        tmp_path,
    )
    assert made.environment == {"A": "b=c", "D": None}
    assert made.sysctls == {"net.core.somaxconn": "5"}
    assert made.extra_hosts == {"db": ["10.0.0.1", "fd00::1"], "gw": ["host-gateway"]}
    assert (made.ulimits["nofile"].soft, made.ulimits["nofile"].hard) == (5, 5)
    assert (made.ulimits["core"].soft, made.ulimits["core"].hard) == (0, -1)


def test_netplan_form_of_addresses(tmp_path: Path) -> None:
    made = ethernet(
        "backend: none\n"
        "addresses: [10.0.0.1/24, {10.0.0.2/24: {label: 'eth0:b'}}]\n"
        "qdisc: {netem: {delay: [50ms, 5ms], loss: 1%}}",
        tmp_path,
    )
    assert [one.address for one in made.addresses] == ["10.0.0.1/24", "10.0.0.2/24"]
    assert made.addresses[1].label == "eth0:b"
    assert made.qdisc.text == "netem delay 50ms 5ms loss 1%"


def test_merging(tmp_path: Path) -> None:
    """Mappings key by key, lists as a whole, later ones win."""
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text(
        "hostname: a\n"
        "environment: [A=1, B=2]\n"
        "ports: ['1:1', '2:2']\n"
        "network: {ethernets: {eth0: {mtu: 1400, accept-ra: true}}}\n"
    )
    second.write_text(
        "hostname: b\n"
        "environment: {B: 3}\n"
        "ports: ['3:3']\n"
        "network: {ethernets: {eth0: {mtu: }, eth1: {backend: none}}}\n"
    )
    loaded = profile.load(
        [first, second],
        ["network.ethernets.eth1.mtu=1300", "sysctls.net.core.somaxconn=5"],
    )
    made = loaded.model
    assert made.hostname == "b"
    assert made.environment == {"A": "1", "B": "3"}
    assert [port.published for port in made.ports] == ["3"]
    assert made.network is not None
    assert made.network.ethernets["eth0"].mtu is None
    assert made.network.ethernets["eth0"].accept_ra is True
    assert made.network.ethernets["eth1"].mtu == 1300
    assert made.sysctls == {"net.core.somaxconn": "5"}
    assert loaded.place(("environment", "A")) == Place(str(first), 2, 15)
    assert loaded.place(("environment", "B")) == Place(str(second), 2, 18)
    assert str(loaded.place(("sysctls", "net.core.somaxconn"))) == (
        "-s sysctls.net.core.somaxconn=5"
    )


def test_an_override_may_be_a_tree(tmp_path: Path) -> None:
    made = load("", tmp_path, "network={ethernets: {eth0: {mtu: 1400}}}", "ports=[1:2]")
    assert made.network.ethernets["eth0"].mtu == 1400
    assert made.ports[0].target == "2"
    made = load(
        "",
        tmp_path,
        'network.vlans."a.5"={id: 5, link: a}',
        "network.dummy-devices.a={}",
    )
    assert made.network.vlans["a.5"].id == 5


PORTS = "ports: ['127.0.0.1:8080:80', '[::1]:8080:80', '5353:53/udp', '9000-9001:1-2']"


@pytest.mark.parametrize(
    ("text", "publish", "expected"),
    [
        # Added: another port, another address, another protocol.
        (PORTS, ["127.0.0.1:8081:80"], "a b c d +127.0.0.1:8081:80/tcp"),
        (PORTS, ["127.0.0.2:8080:7"], "a b c d +127.0.0.2:8080:7/tcp"),
        (PORTS, ["5353:53"], "a b c d +0.0.0.0:5353:53/tcp"),
        (PORTS, ["1:1", "2:2"], "a b c d +0.0.0.0:1:1/tcp +0.0.0.0:2:2/tcp"),
        # In the place of the same one, however it is written.
        (PORTS, ["127.0.0.1:8080:7/tcp"], "+127.0.0.1:8080:7/tcp b c d"),
        (PORTS, ["[0:0::1]:8080:7"], "a +::1:8080:7/tcp c d"),
        (PORTS, ["5353:7/udp", "3:3"], "a b +0.0.0.0:5353:7/udp d +0.0.0.0:3:3/tcp"),
        ("ports: [{published: 5, target: 6}]", ["5:7"], "+0.0.0.0:5:7/tcp"),
        # Nothing there.
        ("ports: []", ["5:7"], "+0.0.0.0:5:7/tcp"),
        ("ports:", ["5:7"], "+0.0.0.0:5:7/tcp"),
        ("hostname: web", ["5:7"], "+0.0.0.0:5:7/tcp"),
        ("", ["5:7"], "+0.0.0.0:5:7/tcp"),
        (PORTS, [], "a b c d"),
    ],
)
def test_published_beside_the_profile(
    text: str, publish: list[str], expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    loaded = profile.load([path], [], publish)
    shown = []
    for index, port in enumerate(loaded.model.ports):
        place = loaded.place(("ports", index))
        if place.line:
            # The profile's own, by their order there.
            shown.append("abcd"[text[: place.column].count(", ")])
        else:
            assert place.file.removeprefix("-P ") in publish
            shown.append(
                f"+{port.host_ip}:{port.published}:{port.target}/{port.protocol}"
            )
    assert " ".join(shown) == expected


def test_published_after_overrides(tmp_path: Path) -> None:
    """``-s ports=[]`` takes the profile's away."""
    path = tmp_path / "p.yaml"
    path.write_text(PORTS)
    made = profile.load([path], ["ports=[]"], ["5:7"]).model
    assert [port.published for port in made.ports] == ["5"]


def test_merge_keys_and_anchors(tmp_path: Path) -> None:
    made = load(
        "network:\n"
        "  ethernets:\n"
        "    eth0: &base {backend: none, mtu: 1400}\n"
        "    eth1:\n"
        "      <<: *base\n"
        "      mtu: 1300\n",
        tmp_path,
    ).network.ethernets
    assert (made["eth0"].mtu, made["eth1"].mtu) == (1400, 1300)
    assert made["eth1"].backend.kind == "none"


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("netem delay 100", {"delay": 100_000}),
        (
            "netem delay 1.5ms 10us 25%",
            {"delay": 1_500_000, "jitter": 10_000, "delay_correlation": 0x40000000},
        ),
        ("netem loss 100% limit 5", {"loss": 0xFFFFFFFF, "limit": 5}),
        ("netem rate 1mbit", {"rate": 125_000}),
        ("netem rate 1Kibit", {"rate": 128}),
        ("netem rate 2kbps", {"rate": 2_000}),
        (
            "tbf rate 1gbit burst 10kb latency 1s",
            {"rate": 125_000_000, "burst": 10_240, "latency": 10**9},
        ),
        ("fq_codel noecn limit 7", {"ecn": 0, "limit": 7}),
    ],
)
def test_units_of_tc(text: str, parameters: dict[str, int]) -> None:
    assert qdisc.parse(text).parameters == parameters


# ---------------------------------------------------------------------
# What is made of the schema.


def settings() -> list[tuple[str, Any]]:
    """Every setting with its path."""
    return [
        (f"{record.__name__}.{field.alias or name}", field)
        for _, record in manpage.records(Profile, "", {})
        for name, field in record.model_fields.items()
    ]


def test_every_setting_has_words_and_an_example() -> None:
    assert len(settings()) > 90
    for name, field in settings():
        assert field.description, name
        assert field.description.endswith("."), name
        assert field.examples, name


def test_the_examples_of_the_records_are_right(tmp_path: Path) -> None:
    """Each example of a setting at the top is taken as it stands."""
    (tmp_path / "rules.nft").write_text("")
    for name, field in Profile.model_fields.items():
        load(f"{name}: {field.examples[0]}\n", tmp_path)  # type: ignore[index]


def test_the_page_is_up_to_date() -> None:
    page = ROOT / "doc" / "ukl-profile.5"
    assert page.read_text() == manpage.page(), (
        "python -m hijack.profile.manpage > doc/ukl-profile.5"
    )


def test_no_key_is_undocumented() -> None:
    page = (ROOT / "doc" / "ukl-profile.5").read_text()
    for name, _ in settings():
        key = manpage.escape(name.partition(".")[2])
        assert f"\n.BR {key} " in page, name


def test_the_page_is_right_for_man() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", "-Tascii", ROOT / "doc" / "ukl-profile.5"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "macaddress (text)" in re.sub(".\b", "", done.stdout)


def test_the_schema_has_every_key() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    for name, _ in settings():
        assert f'"{name.partition(".")[2]}": ' in text, name
    assert schema["properties"]["sysctls"]["type"] == ["object", "array"]
    assert schema["$defs"]["Backend"]["type"] == ["string", "object", "null"]
    assert schema["$defs"]["Ulimit"]["type"] == ["integer", "string", "object", "null"]


# ---------------------------------------------------------------------
# The verbs.


def run(*arguments: str) -> tuple[int, str, str]:
    """ukl profile, as a process: its status, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "launcher.ukl", "profile", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_check(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("hostname: web\n")
    bad.write_text("hostnme: web\n")
    assert run("check", str(good)) == (0, "", "")
    assert run("check", str(good), str(bad)) == (
        125,
        "",
        f"{bad}:1:1: hostnme: unknown key (did you mean hostname?)\n"
        "ukl: the profile has 1 error (doc/ukl-profile.5 describes every key)\n",
    )
    assert run("check", str(good), "-s", "kernel.memory=1") == (
        125,
        "",
        "-s kernel.memory=1: kernel.memory: '1' is not a size such as 64M\n"
        "ukl: the profile has 1 error (doc/ukl-profile.5 describes every key)\n",
    )


def test_show_is_itself_a_profile(tmp_path: Path) -> None:
    """What is shown, shown again, is the same."""
    for example in sorted((ROOT / "examples").glob("*.yaml")):
        status, shown, _ = run("show", str(example), "-s", "hostname=web")
        assert status == 0
        again = tmp_path / "again.yaml"
        again.write_text(shown)
        assert run("show", str(again)) == (0, shown, "")
        assert profile.load([again]).model == (
            profile.load([example], ["hostname=web"]).model
        )


def test_show_has_the_default_network() -> None:
    assert run("show", "-s", "hostname=web") == (
        0,
        "network:\n  ethernets:\n    eth0:\n      backend:\n        user: {}\n"
        "hostname: web\n",
        "",
    )


def test_schema_is_json() -> None:
    status, shown, _ = run("schema")
    assert status == 0
    assert json.loads(shown) == json_schema()


def test_list_names_every_example() -> None:
    status, shown, _ = run("list")
    assert status == 0
    listed = [line.split("  ", 1) for line in shown.splitlines()]
    assert [path for path, _ in listed] == [
        f"examples/{path.name}" for path in sorted((ROOT / "examples").glob("*.yaml"))
    ]
    assert all(words.endswith(".") for _, words in listed)


def test_help() -> None:
    shown = CliRunner().invoke(cli, ["profile", "--help"]).output
    for verb in ("check", "show", "schema", "list"):
        assert f"\n  {verb} " in shown


def test_paths_are_written_like_overrides() -> None:
    assert dotted(("network", "vlans", "a.5", "id")) == "network.vlans.'a.5'.id"
    assert dotted(("sysctls", "net.core.somaxconn")) == "sysctls.net.core.somaxconn"
    assert dotted(("ports", 0)) == "ports[0]"
    assert issubclass(Profile, Record)
