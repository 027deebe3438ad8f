"""Network namespaces as administrators make them: as on the host, without root."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from inside import Inside, need, on_host

from hijack import paths

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
WHO = {"root": [], "nobody": NOBODY}
DOORS = {
    "preload": {},
    "loader": {"UKL_VIA": "loader"},
    "trap-only": {"UKL_REWRITE": "off"},
}

NAMES = """
ip netns list
ip netns add red; echo $?
ip netns add red; echo $?
ip netns add blue; echo $?
ip netns list | cut -d' ' -f1 | sort
ls /run/netns /var/run/netns
ip netns exec red sh -c 'ip netns identify; ip netns identify $$'
ip netns identify $$; ip netns identify
ip netns exec green true; echo $?
ip netns exec red sh -c 'exit 7'; echo $?
ip netns exec red /nothing/there; echo $?
ip -all netns exec true; echo $?
ip netns set red 12; ip netns list-id
ip netns delete red; echo $?
ip netns delete red; echo $?
ip netns list
ip netns attach mine $$; ip netns identify $$
ip -all netns delete; ip netns list; ls /run/netns
"""

TWO = """
ip netns add red
ip netns add blue
ip link add one type veth peer name two
ip link set one netns red
ip link set two netns blue
ip -n red addr add 192.0.2.1/24 dev one
ip -n red link set one up
ip -n blue addr add 192.0.2.2/24 dev two
ip -n blue link set two up
"""

VETH = f"""
{TWO}
for name in one two lo; do ls -d /sys/class/net/$name; done
for space in red blue; do
    ip netns exec $space sh -c 'ls /sys/class/net | grep -v bonding; cd /sys
        cat class/net/lo/ifindex /sys/class/net/[ot]*/mtu
        cut -d: -f1 /proc/net/dev | tail -n +3; sysctl -n net.ipv4.ip_forward'
done
ip netns exec red sysctl -w net.ipv4.ip_forward=1
sysctl -n net.ipv4.ip_forward
ip netns exec blue ip route get 192.0.2.1 | cut -d' ' -f1-5
ip netns exec red ip -o link show one | grep -o 'link-netns blue'
ip netns exec red ping -c 2 -i 0.2 192.0.2.2 | grep -o '2 received'
ping -c 1 -W 1 192.0.2.2; echo $?
ip netns exec blue nc -l 192.0.2.2 80 > got & server=$!
until ip netns exec blue ss -tln | grep -q :80; do sleep 0.05; done
ss -tln | grep -c :80
nc -z 192.0.2.2 80; echo $?
echo hello | ip netns exec red nc -N 192.0.2.2 80
wait $server; echo $?; cat got
ip netns delete blue
while ip -n red link show one >/dev/null 2>&1; do sleep 0.05; done
ip -n red -o link | grep -c one
ip netns delete red
"""

PROCESSES = """
ip netns add red
ip netns exec red sleep 60 & one=$!
unshare -n sleep 60 & two=$!
until [ "$(cat /proc/$two/comm /proc/$one/comm)" = "sleep
sleep" ]; do sleep 0.05; done
[ "$(ip netns pids red)" = $one ]; echo $?
ip netns identify $one
ip netns identify $two
[ $(stat -Lc%d,%i /proc/$one/ns/net) = $(stat -Lc%d,%i /run/netns/red) ]; echo $?
[ $(readlink /proc/$two/ns/net) = $(readlink /proc/$$/ns/net) ]; echo $?
[ $(readlink /proc/self/ns/net) = $(readlink /proc/$$/ns/net) ]; echo $?
nsenter -n -t $one ip netns identify
nsenter --net=/run/netns/red ip netns identify
nsenter --net=/proc/$one/ns/net ip netns identify
ip link add v1 type veth peer name v2 netns $two
ip link set v1 netns $one
nsenter -t $one -n ip -o link show v1 | grep -o 'v1@'
nsenter -t $two -n ip -o link show v2 | grep -o 'v2@'
ip link set lo netns 99999999; echo $?
ip netns attach two $two
ip netns exec two ip -o link show v2 | grep -o 'v2@'
kill $one $two; wait
ip netns pids red; ip netns identify $one; echo $?
nsenter -n -t $one true; echo $?
ip -n two -o link show v2 | grep -o 'v2@'
ip netns delete two; ip netns delete red
"""


def normal(text: str) -> list[str]:
    """Without numbers of processes."""
    return [re.sub(r"/proc/\d+/", "/proc/N/", line) for line in text.splitlines()]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(
    "script", [NAMES, VETH, PROCESSES], ids=["names", "veth", "processes"]
)
def test_as_on_the_host(
    inside: Inside, tmp_path: Path, script: str, who: str, door: str
) -> None:
    """Whoever runs it here gets what root gets on the host."""
    need("ip", "nc", "ping", "ss", "sysctl", "nsenter", "unshare", "setpriv")
    if who == "nobody" and os.geteuid():
        pytest.skip("only root can become another user")
    script = f"exec 2>&1; cd {tmp_path}; {script}"
    tmp_path.chmod(0o777)
    for place in tmp_path.parents[:2]:
        place.chmod(0o755)
    host = on_host("sh", "-c", script, mounts=True)
    (tmp_path / "got").unlink(missing_ok=True)
    line = [*WHO[who], "sh", "-c", script]
    try:
        got = inside.run(*line, extra=DOORS[door], loader=door == "loader")
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"it hangs after {late.output!r}")
    assert normal(got.stdout) == normal(host.stdout)
    assert (got.returncode, got.stderr) == (host.returncode, "")


def test_the_manuals_example(inside: Inside) -> None:
    page = (paths.checkout_root() / "doc" / "ukl-run.1").read_text()
    example = page.partition(".EX\n")[2].partition(".EE\n")[0].replace("\\-", "-")
    line = [] if os.geteuid() else NOBODY
    got = inside.run(*line, "sh", "-c", f"set -e; {example}")
    assert got.returncode == 0, got.stderr
    assert " 0% packet loss" in got.stdout


def test_one_process_makes_them_and_others_use_them(inside: Inside) -> None:
    need("ip", "lsns")
    assert inside.run("sh", "-c", TWO).returncode == 0
    made = "import socket; socket.create_server(('192.0.2.2', 80)).accept()[0]"
    made += ".sendall(b'from blue')"
    get = "import socket; print(socket.create_connection(('192.0.2.2', 80)).recv(99))"
    script = f"""
        ip netns exec blue python3 -c "{made}" &
        until ip netns exec blue ss -tln | grep -q :80; do sleep 0.05; done
        ip netns exec red python3 -c "{get}"
        lsns -nt net -o nprocs,netnsid"""
    got = inside.run("sh", "-c", script)
    assert got.stdout.splitlines()[0] == "b'from blue'", got.stdout + got.stderr
    # The shell and lsns are all that is left: not the host's processes.
    assert [line.split() for line in got.stdout.splitlines()[1:]] == [
        ["2", "unassigned"]
    ]


def test_the_hosts_namespaces_are_out_of_reach(inside: Inside) -> None:
    """As another user's would be, whoever asks; what is not there is not there."""
    need("nsenter", "ip")
    host = str(Path("/proc/self/ns/net").readlink())
    kernel_host = inside.instance.pid
    script = f"""exec 2>&1
        readlink /proc/self/ns/net
        for pid in {os.getpid()} {kernel_host} 99999999; do
            cat /proc/$pid/ns/net; ls -d /proc/$pid/ns/net
            nsenter -n -t $pid true
        done
        ip netns add red
        ip netns attach blue {os.getpid()}
        touch here; mount --bind /proc/self/ns/net here; rm here
        ip netns pids red
    """
    got = inside.run("sh", "-c", script).stdout.splitlines()
    assert got[0] != host
    for pid in (os.getpid(), kernel_host):
        assert f"cat: /proc/{pid}/ns/net: Permission denied" in got
        assert f"/proc/{pid}/ns/net" not in got
        assert f"nsenter: cannot open /proc/{pid}/ns/net: Permission denied" in got
    assert "cat: /proc/99999999/ns/net: No such file or directory" in got
    assert not [line for line in got if line.isdigit()]


def test_mounts_of_nobody_are_the_hosts(inside: Inside) -> None:
    """What `ip netns exec` needs not have, others do not get."""
    need("setpriv", "unshare")
    if os.geteuid():
        pytest.skip("only root can become another user")
    asks = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def show(what, *words):
    print(what, getattr(libc, what)(*words), ctypes.get_errno())
show("unshare", 0x20000)
show("mount", b"", b"/", b"none", 1 << 19 | 1 << 14, None)
show("umount2", b"/sys", 2)
show("mount", b"x", b"/sys", b"sysfs", 0, None)
show("mount", b"x", b"/tmp", b"tmpfs", 0, None)
"""
    line = [*NOBODY, "python3", "-c", asks]
    host, got = on_host(*line), inside.run(*line)
    assert "unshare -1 1" in got.stdout
    assert got.stdout == host.stdout
    assert inside.run(*NOBODY, "ip", "netns", "add", "red").returncode == 0
    got = inside.run(*NOBODY, "ip", "netns", "exec", "red", *line[len(NOBODY) :])
    assert got.stdout == host.stdout
    # Only there, and only what is asked for there.
    enters = asks.replace(
        'show("unshare", 0x20000)',
        'show("setns", os.open("/run/netns/red", 0), 0)\nshow("unshare", 0x30000)\n'
        'show("unshare", 0x20000)',
    )
    got = inside.run(*NOBODY, "python3", "-c", enters)
    said = [line.split()[:2] for line in got.stdout.splitlines()]
    assert [value for _, value in said] == ["0", "-1", "0", "0", "0", "0", "-1"]


def test_directories_of_sys_follow_the_namespace(inside: Inside) -> None:
    script = """
import ctypes, os
libc = ctypes.CDLL(None)
before = os.open("/sys/class/net", os.O_DIRECTORY)
assert libc.unshare(0x40000000) == 0
os.system("ip link add one type veth peer name two")
after = os.open("/sys/class/net", os.O_DIRECTORY)
for place in (before, after, "/sys/class/net", "/sys/devices/virtual/net"):
    print("one" in os.listdir(place))
one = os.open("one/ifindex", 0, dir_fd=after)
assert os.read(one, 9) == open("/sys/class/net/one/ifindex", "rb").read()
print(os.readlink("one", dir_fd=after), os.path.realpath("/sys/class/net/one"))
for _ in range(20000):
    os.stat("/sys/class/net/one")
"""
    got = inside.run("python3", "-c", script)
    assert got.stderr == ""
    assert got.stdout.splitlines() == [
        *("False", "True", "True", "True"),
        "../../devices/virtual/net/one /sys/devices/virtual/net/one",
    ]


def test_many_come_and_go(inside: Inside) -> None:
    script = """for n in $(seq 60); do
        ip netns add n$n; ip -n n$n link set lo up; ip netns exec n$n ls /sys/class/net
        ip netns delete n$n
    done; ls /run/netns; ip netns list-id"""
    got = inside.run("sh", "-c", script)
    assert got.stdout.replace("bonding_masters\n", "") == "lo\n" * 60, got.stderr
