"""dhcp4: busybox's udhcpd on a wire, a TAP or behind ``user``; root and nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from desk import in_a_namespace, wait_for
from test_scripts_whole import NOBODY, Site, as_nobody
from tinytree import ROOT

from hijack import dhcp, plan, runtime
from hijack.errors import UklError

PATIENCE = 40.0
CONFIGURATION = """\
interface {interface}
start {net}.20
end {net}.29
lease_file {where}/leases
pidfile {where}/pid
option subnet 255.255.255.0
option lease {lease}
{options}
"""
SERVER = """\
network:
  ethernets:
    eth0: {{backend: {{wire: {wire}}}, addresses: [{net}.1/24]}}
packages: {{busybox: busybox}}
"""
CLIENT = "network: {ethernets: {eth0: {backend: {wire: lan}, dhcp4: true}}}\n"
LOOK = "ip -j addr show dev eth0; ip route; cat /etc/resolv.conf"


@dataclass
class Caller:
    """Who runs ``ukl-run``: the user of the tests, or one without rights."""

    where: Path
    """A directory that this user may write to."""
    environment: dict[str, str]
    words: Callable[[str], list[str]]
    """How a script is called."""
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def instances(self) -> list[str]:
        """The instance directories that are there, without the wires'."""
        base = Path(self.environment["XDG_RUNTIME_DIR"], "ukl")
        names = [one.name for one in base.iterdir()] if base.is_dir() else []
        return sorted(name for name in names if name[0] != ".")

    def profile(self, text: str) -> Path:
        """A profile in a file of its own."""
        path = self.where / f"{len(list(self.where.iterdir()))}.yaml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def do(
        self, script: str, *arguments: object, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """A script of the clone, to its end."""
        return subprocess.run(
            [*self.words(script), *(str(word) for word in arguments)],
            env=self.environment | more,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def run(self, *arguments: object, **more: str) -> str:
        """What ``ukl-run ARGUMENT...`` prints; it has to succeed."""
        done = self.do("ukl-run", *arguments, **more)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def own(self, where: Path) -> None:
        """Give this caller what the user of the tests has made."""
        if os.geteuid() == 0 and self.words("ukl")[0] == "setpriv":
            for path in (where, *where.iterdir()):
                shutil.chown(path, NOBODY, NOBODY)

    def start(
        self, *arguments: object, given: Sequence[int] = ()
    ) -> subprocess.Popen[str]:
        """``ukl-run ARGUMENT...``, which goes on; it inherits ``given``."""
        process = subprocess.Popen(
            [*self.words("ukl-run"), *(str(word) for word in arguments)],
            env=self.environment,
            cwd="/",
            pass_fds=given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def clients(self) -> list[int]:
        """The DHCP clients that run for instances of this caller."""
        mine = f"DHCP_DIRECTORY={self.environment['XDG_RUNTIME_DIR']}/".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if b"udhcpc" in words and mine in (process / "environ").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def settle(self, *but: str) -> None:
        """Wait until all instances have ended, clients included, ``but`` some."""
        wait_for(
            lambda: self.instances == sorted(but) and not self.clients(),
            "an instance or its client stays",
        )

    @contextmanager
    def server(
        self, name: str = "server", net: str = "10.9.0", wire: str = "lan", **more: str
    ) -> Iterator[Server]:
        """A DHCP server in an instance of its own; stopped at the end."""
        made = Server(self.where / name, net, **more)
        self.own(made.where)
        path = self.profile(SERVER.format(wire=wire, net=net))
        process = self.start("-n", name, "-p", path, *made.line)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("udhcpd: started"), first
        yield made
        assert self.do("ukl", "stop", name).returncode == 0
        process.communicate(timeout=PATIENCE)


class Server:
    """The files of a busybox udhcpd, and its command line."""

    def __init__(
        self,
        where: Path,
        net: str = "10.9.0",
        options: str = "",
        lease: str = "600",
        interface: str = "eth0",
    ) -> None:
        self.where = where
        where.mkdir()
        (where / "leases").touch()
        text = CONFIGURATION.format(
            where=where, net=net, options=options, lease=lease, interface=interface
        )
        (where / "conf").write_text(text)
        # It asks by ARP whether somebody has the address: for 0.1 s.
        self.line = ["busybox", "udhcpd", "-f", "-a", "100", str(where / "conf")]

    def leases(self) -> str:
        """What it has noted, once it has ended."""
        return subprocess.run(
            ["busybox", "dumpleases", "-f", self.where / "leases"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def site(kernel_image: Path) -> Generator[Site, None, None]:
    """A clone that every user can run, with the shim that was built."""
    where = Path(tempfile.mkdtemp(prefix="ukl-d-"))
    yield Site(where, runtime.built().shim)
    shutil.rmtree(where)


@pytest.fixture(params=["me", "nobody"])
def caller(
    request: pytest.FixtureRequest, kernel_image: Path
) -> Generator[Caller, None, None]:
    """One who runs ``ukl-run``; at the end nothing of it may be left."""
    where = Path(tempfile.mkdtemp(prefix="ukl-d-"))
    files = where / "files"
    files.mkdir()
    where.chmod(0o755)
    if request.param == "me":
        kept = {key: value for key, value in os.environ.items() if key[:3] != "UKL"}
        made = Caller(
            files,
            kept | {"XDG_RUNTIME_DIR": str(where / "run")},
            lambda script: [str(ROOT / script)],
        )
        (where / "run").mkdir(0o700)
    else:
        site: Site = request.getfixturevalue("site")
        made = Caller(files, site.environment, lambda script: site.line(script))
    try:
        yield made
        made.do("ukl", "stop", "--all")
        for process in made.started:
            process.communicate(timeout=PATIENCE)
        made.settle()
    finally:
        for process in made.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        shutil.rmtree(where)


OPTIONS = """\
option dns {net}.1 192.0.2.53
option search example.net example.org
option mtu 1400
"""


def addresses(shown: str) -> dict[str, int]:
    """The addresses of ``ip -j addr``, and their lengths."""
    (found,) = json.loads(shown)
    return {one["local"]: one["prefixlen"] for one in found["addr_info"]}


def test_a_lease(caller: Caller) -> None:
    """The target starts with all that the server gives; in the end it is given back."""
    options = OPTIONS.format(net="10.9.0") + "option router 10.9.0.1\n"
    with caller.server(options=options) as server:
        script = f"{LOOK}; cat /sys/class/net/eth0/mtu; read x"
        process = caller.start(
            *("-n", "client", "-p", caller.profile(CLIENT)),
            *("-s", "hostname=web", "sh", "-c", script),
        )
        assert process.stdout is not None
        shown = addresses(process.stdout.readline())
        (address,) = (one for one in shown if one.startswith("10.9.0."))
        assert shown[address] == 24
        words = [process.stdout.readline() for _ in range(6)]
        assert words[0].split() == (
            f"default via 10.9.0.1 dev eth0 proto dhcp src {address} metric 100 "
            "onlink".split()
        )
        assert words[1].startswith("10.9.0.0/24 dev eth0 proto kernel scope link")
        assert words[2:] == [
            "search example.net example.org\n",
            "nameserver 10.9.0.1\n",
            "nameserver 192.0.2.53\n",
            "1400\n",
        ]
        rows = json.loads(caller.do("ukl", "ps", "--json").stdout)
        (row,) = (one for one in rows if one["name"] == "client")
        assert len(row["processes"]) == 1
        (service,) = row["services"]
        assert service["argv"][1:4] == ["udhcpc", "-i", "eth0"]
        assert caller.clients() == [service["pid"]]
        listed = caller.do("ukl", "ps").stdout
        assert f"service  {service['pid']}" in listed
        process.communicate("\n", timeout=PATIENCE)
        caller.settle("server")
    # The server ended after that: it has noted the release.
    (lease,) = server.leases().splitlines()[1:]
    assert address in lease
    assert "web" in lease
    assert "expired" in lease


def test_classless_routes(caller: Caller) -> None:
    """They stand for the router; a gateway 0.0.0.0 is none."""
    options = (
        "option router 10.9.0.7\noption staticroutes 10.20.0.0/16 10.9.0.254, "
        "10.30.0.0/16 0.0.0.0, 0.0.0.0/0 10.9.0.1\n"
    )
    with caller.server(options=options):
        said = caller.run("-p", caller.profile(CLIENT), "ip", "route")
    routes = sorted(line.partition(" dev")[0] for line in said.splitlines())
    assert routes == [
        "10.20.0.0/16 via 10.9.0.254",
        "10.30.0.0/16",
        "10.9.0.0/24",
        "default via 10.9.0.1",
    ]


def test_what_the_profile_says_wins(caller: Caller) -> None:
    profile = """\
network:
  ethernets:
    eth0:
      backend: {wire: lan}
      dhcp4: true
      mtu: 1300
      addresses: [10.50.0.7/24]
      routes: [{to: default, via: 10.50.0.1}]
      nameservers: {addresses: [192.0.2.1], search: [mine.test]}
"""
    options = OPTIONS.format(net="10.9.0") + "option router 10.9.0.1\n"
    with caller.server(options=options):
        said = caller.run("-p", caller.profile(profile), "sh", "-c", LOOK)
    first, *words = said.splitlines()
    assert {one[:7] for one in addresses(first) if "." in one} == {"10.50.0", "10.9.0."}
    assert json.loads(first)[0]["mtu"] == 1300
    # Its metric is less.
    assert words[0] == "default via 10.50.0.1 dev eth0 proto static "
    assert words[-2:] == ["search mine.test", "nameserver 192.0.2.1"]


def test_two_interfaces(caller: Caller) -> None:
    """Both have leases before the target starts; the first one's routes come first."""
    profile = """\
network:
  ethernets:
    eth0: {backend: {wire: lan}, dhcp4: true}
    eth1: {backend: {wire: other}, dhcp4: true}
"""
    one = OPTIONS.format(net="10.9.0") + "option router 10.9.0.1\n"
    two = "option router 10.8.0.1\noption dns 10.8.0.1\noption domain two.test\n"
    with (
        caller.server(options=one),
        caller.server("second", "10.8.0", "other", options=two),
    ):
        said = caller.run("-p", caller.profile(profile), "sh", "-c", LOOK)
    words = said.splitlines()[1:]
    assert words[0].startswith("default via 10.9.0.1 dev eth0")
    assert "metric 100" in words[0]
    assert words[1].startswith("default via 10.8.0.1 dev eth1")
    assert "metric 101" in words[1]
    assert words[-4:] == [
        "search example.net example.org two.test",
        "nameserver 10.9.0.1",
        "nameserver 192.0.2.53",
        "nameserver 10.8.0.1",
    ]


def test_renewal(caller: Caller) -> None:
    """A lease of 10 s lives on; udhcpc takes 30 s for it, and asks after 15."""
    with caller.server(lease="10"):
        process = caller.start(
            *("-n", "client", "-p", caller.profile(CLIENT), "sh", "-c"),
            "ip -j addr show dev eth0; read x; ip -j addr show dev eth0",
        )
        assert process.stdout is not None
        before = addresses(process.stdout.readline())
        log = Path(caller.environment["XDG_RUNTIME_DIR"], "ukl", "client", "log")
        begun = time.monotonic()
        wait_for(lambda: log.read_text().count("obtained") == 2, "not renewed", 20)
        assert time.monotonic() - begun > 12
        assert "sending renew" in log.read_text()
        after, _ = process.communicate("\n", timeout=PATIENCE)
        assert addresses(after) == before


def test_stop_and_keep(caller: Caller) -> None:
    """An instance that is kept has its client for as long as it lives."""
    with caller.server():
        profile = caller.profile(CLIENT)
        caller.run("-n", "kept", "--keep", "-p", profile, "true")
        assert len(caller.clients()) == 1
        time.sleep(0.5)
        assert len(caller.clients()) == 1
        joined = caller.do("ukl", "exec", "kept", "ip", "-j", "addr", "show", "eth0")
        assert any(one.startswith("10.9.0.") for one in addresses(joined.stdout))
        begun = time.monotonic()
        done = caller.do("ukl", "stop", "kept")
        assert (done.returncode, done.stderr) == (0, "")
        assert time.monotonic() - begun < 5
        assert caller.instances == ["server"]
        assert caller.clients() == []


def test_no_server(caller: Caller) -> None:
    """It is an error at the profile's line, and nothing stays."""
    profile = caller.profile(CLIENT)
    begun = time.monotonic()
    done = caller.do("ukl-run", "-p", profile, "true", UKL_DHCP_SECONDS="1.5")
    assert 1.5 < time.monotonic() - begun < 15
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        f"ukl: {profile}:1:59: network.ethernets.eth0.dhcp4: no DHCP server gave a "
        "lease within 1.5 s (optional: true starts without one)\n"
    )
    assert caller.instances == []
    assert caller.clients() == []
    done = caller.do("ukl-run", "-p", profile, "true", UKL_DHCP_SECONDS="soon")
    assert (done.returncode, "UKL_DHCP_SECONDS is 'soon'" in done.stderr) == (125, True)


def test_interrupted(caller: Caller) -> None:
    """Control-C while a lease is waited for: nothing stays."""
    process = caller.start("-p", caller.profile(CLIENT), "true")
    wait_for(caller.clients, "no client")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    caller.settle()


def test_optional(caller: Caller) -> None:
    """The target does not wait, and sees the lease when it comes."""
    profile = caller.profile(CLIENT.replace("true", "true, optional: true"))
    process = caller.start(
        *("-p", profile, "sh", "-c"),
        "echo started; read x; ip -j addr show dev eth0",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    with caller.server():
        base = Path(caller.environment["XDG_RUNTIME_DIR"], "ukl")
        state = next(base.glob("sh-*")) / "dhcp"
        wait_for(lambda: "10.9.0." in state.read_text(), "no lease", 20)
        said, _ = process.communicate("\n", timeout=PATIENCE)
        assert any(one.startswith("10.9.0.") for one in addresses(said))


def test_behind_user(caller: Caller) -> None:
    """libslirp's server gives what the profile would have set without dhcp4."""
    plain = caller.profile("network: {ethernets: {eth0: {}}}\n")
    leased = caller.profile("network: {ethernets: {eth0: {dhcp4: true}}}\n")
    first, second = (caller.run("-p", one, "sh", "-c", LOOK) for one in (plain, leased))

    def fixed(said: str) -> dict[str, int]:
        found = addresses(said.splitlines()[0])
        return {one: length for one, length in found.items() if one[:4] != "fe80"}

    assert fixed(second) == fixed(first)
    assert "default via 10.0.2.2 dev eth0" in second
    assert second.endswith("\nnameserver 10.0.2.3\n")
    quiet = caller.run(
        *("-s", "network.ethernets.eth0.backend.user.dns=false", "-p", leased),
        *("cat", "/etc/resolv.conf"),
    )
    assert quiet == Path("/etc/resolv.conf").read_text()


def test_dry_run(caller: Caller) -> None:
    profile = caller.profile(CLIENT)
    said = caller.run("--dry-run", "-p", profile, "true")
    (line,) = (one for one in said.splitlines() if one.startswith("dhcp "))
    assert "busybox udhcpc -i eth0 -f -R" in line
    assert caller.instances == []


def test_other_ways(caller: Caller) -> None:
    """A VLAN on a bridge, whose port is a socket that the launcher inherits."""
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    vlan = "  vlans: {{v5: {{link: {link}, id: 5, {what}}}}}\n"
    ends = [
        f"network:\n  ethernets: {{eth0: {{backend: {{fd: {end.fileno()}}}}}}}\n"
        for end in (one, two)
    ]
    bridge = "  bridges: {br0: {interfaces: [eth0]}}\n"
    served = ends[0] + vlan.format(link="eth0", what="addresses: [10.9.0.1/24]")
    asks = ends[1] + bridge + vlan.format(link="br0", what="dhcp4: true")
    server = Server(caller.where / "server", interface="v5")
    caller.own(server.where)
    with one, two:
        given = [one.fileno(), two.fileno()]
        process = caller.start(
            *("-n", "server", "-p", caller.profile(served), *server.line), given=given
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("udhcpd: started")
        process = caller.start(
            *("-p", caller.profile(asks), "ip", "-j", "addr", "show", "dev", "v5"),
            given=given,
        )
        said, _ = process.communicate(timeout=PATIENCE)
    assert any(one.startswith("10.9.0.2") for one in addresses(said))


IN_A_NAMESPACE = """\
ip link set lo up
ip link add br0 type bridge
ip addr add 10.9.0.1/24 dev br0
ip link set br0 up
ip tuntap add ukl0 mode tap
ip link set ukl0 master br0
ip link set ukl0 up
busybox udhcpd -f -a 100 "$1" >&2 &
"$2/ukl-run" --profile "$2/examples/dhcp.yaml" sh -c "$3"
# The instance ends behind its last process.
for _ in $(seq 100); do
    [ "$(ls "$XDG_RUNTIME_DIR/ukl")" ] || break
    sleep 0.1
done
kill $!
wait $!
"""


def test_the_example_on_a_tap(tmp_path: Path, kernel_image: Path) -> None:
    """The server is a program of the host, in a network namespace of the test's."""
    options = OPTIONS.format(net="10.9.0") + "option router 10.9.0.1\n"
    server = Server(tmp_path / "server", options=options, interface="br0")
    done = in_a_namespace(
        *("sh", "-c", IN_A_NAMESPACE, "sh", server.where / "conf", ROOT),
        f"{LOOK}; ping -q -c 2 10.9.0.1",
        seconds=PATIENCE,
    )
    words = done.stdout.splitlines()
    (address,) = (one for one in addresses(words[0]) if "." in one)
    assert "nameserver 10.9.0.1" in words
    assert "2 received" in done.stdout, done.stdout + done.stderr
    assert f"sending ACK to {address}" in done.stderr
    (lease,) = server.leases().splitlines()[1:]
    assert "02:75:6b:6c:00:01" in lease
    assert "web" in lease
    assert "expired" in lease


@pytest.fixture
def asks(tmp_path: Path) -> plan.Plan:
    """The plan of a profile with dhcp4."""
    path = tmp_path / "asks.yaml"
    path.write_text(CLIENT)
    return plan.cached([path])


def a_busybox(where: Path, text: str, rest: str) -> str:
    """A PATH with another busybox first, and ``rest`` behind it."""
    where.mkdir()
    (where / "busybox").write_text(f"#!/bin/sh\n{text}\n")
    (where / "busybox").chmod(0o755)
    return f"{where}:{rest}"


def test_without_busybox(asks: plan.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(UklError) as failure:
        dhcp.Clients(asks, runtime.built().shim)
    assert failure.value.message.endswith(
        "asks.yaml:1:59: network.ethernets.eth0.dhcp4: there is no busybox to be the "
        "client"
    )
    assert failure.value.hint == "apt-get install busybox"


def test_a_busybox_without_udhcpc(
    asks: plan.Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_busybox(tmp_path / "bin", "echo true; echo false", "/usr/bin:/bin")
    monkeypatch.setenv("PATH", path)
    with pytest.raises(UklError, match="bin/busybox has no udhcpc"):
        dhcp.Clients(asks, runtime.built().shim)


def test_a_client_that_dies(caller: Caller) -> None:
    """Its words are told; nobody waits for the rest of the time."""
    text = (
        'case $1 in --list) echo udhcpc ;; *) echo "it is broken" >&2; exit 3 ;; esac'
    )
    path = a_busybox(caller.where / "bin", text, "/usr/bin:/bin")
    begun = time.monotonic()
    done = caller.do("ukl-run", "-p", caller.profile(CLIENT), "true", PATH=path)
    assert time.monotonic() - begun < 10
    assert done.returncode == 125
    assert done.stderr.startswith("it is broken\nukl: ")
    assert "dhcp4: the DHCP client has ended" in done.stderr
    caller.settle()


def test_a_client_that_does_not_end(caller: Caller) -> None:
    """It is killed two seconds after the target's end, and leaves no instance."""
    text = (
        "case $1 in --list) echo udhcpc ;; *) trap '' TERM; echo leased >&9; "
        "while :; do sleep 0.1; done ;; esac"
    )
    path = a_busybox(caller.where / "bin", text, "/usr/bin:/bin")
    done = caller.do("ukl-run", "-p", caller.profile(CLIENT), "true", PATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    begun = time.monotonic()
    assert caller.clients() != []
    caller.settle()
    assert 1 < time.monotonic() - begun < 8


def test_nobody_is_nobody(site: Site) -> None:
    """The rootless half of these tests has no rights."""
    line = as_nobody(["sh", "-c", "id -u; grep CapEff /proc/self/status"])
    user, capabilities = subprocess.run(
        line, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert user != "0"
    assert int(capabilities.split()[1], 16) == 0
