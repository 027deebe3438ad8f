"""Programs that carry data: shells and files over ssh, rsync, tools, names."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from machine import BOTH, Machine, here, need

SSHD = """
Port 22
HostKey {dir}/key
AuthorizedKeysFile {dir}/authorized_keys
StrictModes no
PidFile none
UsePAM no
Subsystem sftp {sftp}
"""
TUNNEL = """
ssh -NL 2222:localhost:22 "$@" &
until ss -Hltn | grep -q :2222; do sleep 0.05; done
ssh -p 2222 "$@" echo through
kill $!
wait $!
"""


@BOTH
def test_openssh(machine: Machine, big: bytes, port: int) -> None:
    """Sessions of users behind seccomp, terminals, forwarding, sftp."""
    need("sshd", "ssh", "sftp", "scp", "ssh-keygen", "curl")
    if os.geteuid():
        pytest.skip("only root can change into sshd's user")
    Path("/run/sshd").mkdir(exist_ok=True)
    where = machine.directory
    here("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", where / "key")
    shutil.copy(where / "key.pub", where / "authorized_keys")
    (where / "big").write_bytes(big)
    conf = where / "sshd_config"
    conf.write_text(SSHD.format(dir=where, sftp="/usr/lib/openssh/sftp-server"))
    line = [shutil.which("sshd"), "-D", "-e", "-f", conf]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:22"])
    machine.listens(22)
    options = ["-i", where / "key", "-F", "none", "-o", "StrictHostKeyChecking=no"]
    options += ["-o", f"UserKnownHostsFile={where}/known", "-o", "LogLevel=ERROR"]
    ssh = ["ssh", *options, "root@localhost"]
    # Its commands have the instance's network, and its signals and statuses.
    assert ":22 " in machine.run(*ssh, "ss -Hltn; exit 3", status=3)
    machine.run(*ssh, "kill -TERM $$", status=255)
    said = machine.run(
        "ssh", "-tt", *options, "root@::1", "tty; stty size; echo $SSH_TTY"
    )
    assert said.startswith("/dev/pts/")
    assert len(set(said.split()) - {"0"}) == 1
    digest = f"sha256sum {where}/big | cut -c -64"
    length = machine.sh(f"{' '.join(map(str, ssh))} sha256sum <big | cut -c -64")
    assert length == here("sh", "-c", digest)
    # sshd's port through a tunnel of ssh's own, and by it once more.
    assert machine.sh(TUNNEL, "sh", *ssh[1:]) == "through\n"
    batch = f"put big {where}/put\nget {where}/put got\nls -l {where}/put\n"
    said = machine.run("sftp", "-q", "-b", "-", *options, "root@127.0.0.1", text=batch)
    assert " 3000000 " in said
    assert (where / "got").read_bytes() == (where / "put").read_bytes() == big
    machine.run("scp", "-q", *options, f"root@127.0.0.1:{where}/big", "copied")
    assert (where / "copied").read_bytes() == big
    # From the host.
    at = [*options, "-p", str(port), "root@127.0.0.1"]
    assert "eth0" in here("ssh", *at, "ip -o link")
    machine.end(server)


RSYNCD = """
use chroot = no
[read]
path = {dir}/from
[write]
path = {dir}/written
read only = no
"""


@BOTH
def test_rsync(machine: Machine, big: bytes, port: int) -> None:
    """A daemon and its clients; what has changed crosses, and no more."""
    need("rsync")
    where = machine.directory
    shutil.copytree("/usr/include/linux", where / "from")
    (where / "from" / "big").write_bytes(big)
    (where / "written").mkdir()
    conf = where / "rsyncd.conf"
    text = RSYNCD.format(dir=where)
    if os.geteuid() == 0:
        text = f"uid = 0\ngid = 0\n{text}"
    conf.write_text(text)
    line = ["rsync", "--daemon", "--no-detach", f"--config={conf}", "--port=873"]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:873"])
    machine.listens(873)
    machine.sh(
        "rsync -az rsync://127.0.0.1/read/ a; diff -r from a;"
        "rsync -a from/ rsync://[::1]/write/; diff -r from written"
    )
    with (where / "from" / "big").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"other words")
    # rsync takes a file for the same that was changed within a second.
    later = (where / "from" / "big").stat().st_mtime + 2
    os.utime(where / "from" / "big", (later, later))
    said = machine.run(
        *("rsync", "-a", "--no-whole-file", "--stats", "from/"),
        "rsync://localhost/write/",
    )
    assert "Number of regular files transferred: 1\n" in said
    (sent,) = (row for row in said.splitlines() if row.startswith("Literal data"))
    assert int(sent.split()[2].replace(",", "")) < 10_000
    assert (where / "written" / "big").read_bytes() != big
    here("rsync", "-a", f"rsync://127.0.0.1:{port}/read/", where / "b")
    here("diff", "-r", where / "from", where / "b")
    machine.run("rsync", "rsync://127.0.0.1/none/", status=5)
    machine.run("rsync", "rsync://127.0.0.1:9/read/", status=10)
    machine.end(server)


IPERF = ("", "-R", "-P 4", "-u -b 200M", "-6 -R -P 2")


@BOTH
def test_iperf3(machine: Machine) -> None:
    """TCP in both directions and by both families, UDP, several streams."""
    need("iperf3")
    server = machine.serve("iperf3", "-s")
    machine.listens(5201)
    script = 'for how; do iperf3 -J -c localhost -n 20M $how; echo ","; done'
    said = machine.sh(script, "iperf3", *IPERF)
    for one in json.loads(f"[{said.rstrip()[:-1]}]"):
        end = one["end"]
        received = end.get("sum_received", end.get("sum"))["bytes"]
        assert received > 1_000_000, one["start"]["test_start"]
    # It says what it has measured and ends by its own signal.
    machine.end(server, 1)


SOCAT = """
port() { until ss -Hltun | grep -q ":$1 "; do sleep 0.02; done; }
socat -u TCP6-LISTEN:5000,reuseaddr OPEN:out,creat,trunc & port 5000
socat -u FILE:big TCP6:[::1]:5000; wait; cmp big out
socat TCP-LISTEN:5001,reuseaddr,fork EXEC:'tr a-z A-Z' & port 5001
for i in 1 2 3; do echo word $i | socat - TCP:localhost:5001; done
kill $!; wait $! || echo $?
socat -T 1 UDP-LISTEN:5002,fork EXEC:cat & port 5002
echo datagram | socat -t 0.3 - UDP:127.0.0.1:5002
kill $!; wait $! || echo $?
socat UNIX-LISTEN:socket,fork EXEC:'tr a-z A-Z',pty,rawer &
until [ -S socket ]; do sleep 0.02; done
echo terminal | socat -t 1 - UNIX:socket
kill $!; wait $! || echo $?
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout k -out c 2>no
cat k c >pem
socat OPENSSL-LISTEN:5003,reuseaddr,cert=pem,verify=0 SYSTEM:'cat; echo end' & port 5003
echo secret | socat -t 3 - OPENSSL:localhost:5003,cafile=c
wait
socat - TCP:127.0.0.1:5009 2>/dev/null || echo $?
sleep 1.2
"""


@BOTH
def test_socat(machine: Machine, big: bytes) -> None:
    """TCP, UDP, Unix sockets, TLS, programs and terminals behind them."""
    need("socat", "openssl", "ss")
    (machine.directory / "big").write_bytes(big)
    alone = machine.directory / "alone"
    alone.mkdir()
    (alone / "big").write_bytes(big)
    expected = machine.on_host("bash", "-ec", f"cd {alone};{SOCAT}")
    assert expected.stdout.split() == [
        *("WORD", "1", "WORD", "2", "WORD", "3", "143", "datagram", "143"),
        *("TERMINAL", "143", "secret", "end", "1"),
    ], expected.stderr
    assert machine.sh(SOCAT) == expected.stdout


NETCAT = """
port() { until ss -Hltun | grep -q ":$1 "; do sleep 0.02; done; }
nc -lN 5003 <big & port 5003
nc -d 127.0.0.1 5003 | cmp - big
wait
nc -lNU socket <big & until [ -S socket ]; do sleep 0.02; done
nc -dU socket | cmp - big; wait
nc -u -l 5004 -W 1 >heard & port 5004
echo datagram | nc -u -w 1 ::1 5004 || true
echo datagram | nc -u -q 0 127.0.0.1 5004; wait; cat heard
nc -l 5005 & port 5005
nc -zv 127.0.0.1 5004-5006 2>&1 | sort; wait
nc -z -w 1 127.0.0.1 5009 || echo $?
"""


@BOTH
def test_netcat(machine: Machine, big: bytes) -> None:
    """Both ends of TCP, UDP and Unix sockets; which ports are open."""
    need("nc", "ss")
    (machine.directory / "big").write_bytes(big)
    alone = machine.directory / "alone"
    alone.mkdir()
    (alone / "big").write_bytes(big)
    expected = machine.on_host("bash", "-ec", f"cd {alone};{NETCAT}")
    assert "datagram\n" in expected.stdout, expected.stderr
    assert "5005 port [tcp/*] succeeded" in expected.stdout
    assert machine.sh(NETCAT) == expected.stdout


UNBOUND = """
server:
  directory: "{dir}"
  chroot: ""
  pidfile: ""
  username: ""
  interface: 127.0.0.1
  interface: ::1
  num-threads: 2
  do-daemonize: no
  use-syslog: no
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "here.example." static
  local-data: "one.here.example. A 192.0.2.1"
  local-data: 'long.here.example. TXT "{text}"'
remote-control:
  control-enable: yes
  control-interface: {dir}/control
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@5300
"""
DIG = """
dig +short @127.0.0.1 one.here.example
dig +short +tcp @::1 one.here.example
dig @::1 two.here.example | grep -o 'status: [A-Z]*'
dig +noedns +short @127.0.0.1 long.here.example TXT | wc -c
dig +short @127.0.0.1 there.example
dig +short @127.0.0.1 there.example
unbound-control -q -c conf local_data three.here.example A 192.0.2.3
dig +short @localhost three.here.example
printf 'one.here.example A\\n%.0s' {1..500} >many
dig +short @127.0.0.1 -f many | sort | uniq -c
unbound-control -c conf stats_noreset | grep -E 'total.num.(queries|recursivereplies)='
dig +time=1 +tries=1 @127.0.0.1 -p 5301 one.here.example >/dev/null || echo $?
"""


@BOTH
def test_unbound_and_dig(machine: Machine) -> None:
    """Two threads that share a port, behind another unbound; UDP, TCP, truncation."""
    need("unbound", "dig", "unbound-control")
    where = machine.directory
    # More than a datagram without EDNS may have.
    text = '" "'.join(("a" * 250, "", "", "b" * 200, "c" * 250))
    (where / "conf").write_text(UNBOUND.format(dir=where, text=text))
    (where / "there").mkdir()
    (where / "there" / "conf").write_text(
        'server:\n  chroot: ""\n  pidfile: ""\n  username: ""\n  use-syslog: no\n'
        f'  directory: "{where}/there"\n  interface: 127.0.0.1@5300\n'
        '  do-daemonize: no\n  module-config: "iterator"\n'
        '  local-data: "there.example. 60 A 192.0.2.9"\n'
    )
    server = machine.serve("unbound", "-c", where / "conf")
    machine.listens(53)
    behind = machine.serve("unbound", "-c", where / "there" / "conf")
    machine.listens(5300)
    assert machine.sh(DIG).splitlines() == [
        *("192.0.2.1", "192.0.2.1", "status: NXDOMAIN", "715"),
        *("192.0.2.9", "192.0.2.9", "192.0.2.3", "    500 192.0.2.1"),
        *("total.num.queries=508", "total.num.recursivereplies=1", "9"),
    ]
    machine.end(server)
    machine.end(behind)
