"""Profile, launcher, shim and library kernel together, from the script of the clone."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest
from desk import Desk, Done, wait_for
from tinytree import ROOT

PROFILE = """\
network:
  ethernets:
    eth0: {backend: none, addresses: [10.1.1.2/24]}
environment: {FROM_PROFILE: "yes"}
hostname: inside
ulimits: {nofile: {soft: 1000, hard: 2000}}
nftables: |
  table inet mine {
    chain input {
      type filter hook input priority 0;
      counter
    }
  }
"""


@pytest.fixture
def whole(desk: Desk) -> Desk:
    """A desk where the scripts run with the shim that was built."""
    (desk.directory / "net.yaml").write_text(PROFILE)
    return desk


def do(desk: Desk, script: str, *arguments: str) -> Done:
    done = subprocess.run(
        [ROOT / script, *arguments],
        env=desk.env(),
        cwd=desk.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_network_is_the_profiles(whole: Desk) -> None:
    done = do(whole, "ukl-run", "-p", "net.yaml", "ip", "-j", "addr", "show", "eth0")
    assert (done.status, done.err) == (0, "")
    (link,) = json.loads(done.out)
    assert "10.1.1.2" in [one["local"] for one in link["addr_info"]]


def test_the_process_is_the_profiles(whole: Desk) -> None:
    script = "echo $FROM_PROFILE; hostname; ulimit -Sn; ulimit -Hn; exit 3"
    done = do(whole, "ukl-run", "-p", "net.yaml", "sh", "-c", script)
    assert (done.status, done.err) == (3, "")
    assert done.out.split() == ["yes", "inside", "1000", "2000"]
    done = do(whole, "ukl-run", "-p", "net.yaml", "-e", "FROM_PROFILE=no", "env")
    lines = done.out.splitlines()
    assert "FROM_PROFILE=no" in lines
    # The shim takes its own words away.
    assert not [line for line in lines if line.startswith(("UKL_", "LD_PRELOAD"))]


@pytest.mark.parametrize("profile", ["network={}", "hostname=other", "extra_hosts={}"])
def test_the_instance_knows_its_own_name(whole: Desk, profile: str) -> None:
    """Also where that is the host's: what asks for the name asks for the address."""
    script = "getent hosts $(hostname)"
    done = do(whole, "ukl-run", "-s", profile, "sh", "-c", script)
    assert (done.status, done.err) == (0, "")
    assert done.out.split()[0] in ("127.0.1.1", "127.0.0.1")


def test_a_setting_wins_over_the_profile(whole: Desk) -> None:
    done = do(whole, "ukl-run", "-p", "net.yaml", "-s", "hostname=other", "hostname")
    assert (done.status, done.out) == (0, "other\n")


def test_a_bad_profile_starts_nothing(whole: Desk) -> None:
    (whole.directory / "net.yaml").write_text("netwrok: {}\n")
    done = do(whole, "ukl-run", "-p", "net.yaml", "true")
    assert (done.status, done.out) == (125, "")
    assert "net.yaml:1:1: netwrok:" in done.err
    assert whole.instances == []


def test_what_the_kernel_refuses(whole: Desk) -> None:
    """The kernel host's refusal names the profile's line; nothing is left."""
    text = PROFILE + "sysctls:\n  net.ipv4.no_such_thing: 1\n"
    (whole.directory / "net.yaml").write_text(text)
    done = do(whole, "ukl-run", "-p", "net.yaml", "true")
    assert (done.status, done.out) == (125, "")
    line = text.splitlines().index("  net.ipv4.no_such_thing: 1") + 1
    assert f"net.yaml:{line}:" in done.err
    whole.settle()


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables")
def test_a_ruleset_is_loaded_first(whole: Desk) -> None:
    done = do(whole, "ukl-run", "-p", "net.yaml", "nft", "list", "tables")
    assert (done.status, done.out) == (0, "table inet mine\n")
    text = PROFILE.replace("counter", "countr")
    (whole.directory / "net.yaml").write_text(text)
    done = do(whole, "ukl-run", "-p", "net.yaml", "true")
    assert done.status == 125
    last = done.err.splitlines()[-1]
    assert last.startswith("ukl: ")
    assert "net.yaml:" in last
    assert last.endswith("nftables: nft ends with status 1")
    whole.settle()


def test_stock_tools_join(whole: Desk) -> None:
    """A daemon in the background, as ukl-run leaves it, and tools that look."""
    done = do(
        whole,
        *("ukl-run", "-n", "web", "-p", "net.yaml", "sh", "-c"),
        "python3 -m http.server 8000 >/dev/null 2>&1 </dev/null &",
    )
    assert done.status == 0
    assert whole.instances == ["web"]

    def listens() -> bool:
        return ":8000 " in do(whole, "ukl", "exec", "web", "ss", "-tln").out

    wait_for(listens, "nobody listens")
    code = (
        "import urllib.request as u; print(u.urlopen('http://10.1.1.2:8000/').status)"
    )
    done = do(whole, "ukl", "exec", "web", "python3", "-c", code)
    assert (done.status, done.out) == (0, "200\n"), done.err
    assert do(whole, "ukl", "exec", "web", "sh", "-c", "exit 4").status == 4
    assert do(whole, "ukl", "exec", "web", "printenv", "FROM_PROFILE").out == "yes\n"
    # The host has no such listener.
    assert ":8000 " not in subprocess.check_output(["ss", "-tln"], text=True)
    assert do(whole, "ukl", "stop", "web").status == 0
    whole.settle()


def test_a_static_program_is_loaded(whole: Desk) -> None:
    done = do(whole, "ukl-run", "-p", "net.yaml", "/sbin/ldconfig", "-p")
    assert (done.status, done.err) == (0, "")
    assert "ld-linux-x86-64.so.2" in done.out
    done = do(whole, "ukl-run", "--via", "preload", "/sbin/ldconfig", "-p")
    assert done.status == 126
    assert done.err.startswith("ukl: /sbin/ldconfig is statically linked")


def test_both_doors_are_shown(whole: Desk) -> None:
    line = ("ip", "-o", "addr", "show", "eth0")
    for extra in ((), ("--via", "loader")):
        done = do(whole, "ukl-run", *extra, "-p", "net.yaml", *line)
        assert (done.status, done.err) == (0, "")
        assert "10.1.1.2" in done.out
    done = do(whole, "ukl-run", "--dry-run", "--via", "loader", "true")
    assert "door         loader: a dynamic program, and --via loader\n" in done.out
    script = f"{ROOT}/ukl ps"
    done = do(whole, "ukl-run", "--via", "loader", "-n", "shown", "sh", "-c", script)
    assert (done.status, done.err) == (0, "")
    assert " loader (--via) " in done.out


def test_trap_only(whole: Desk) -> None:
    """The code of a program that calls often stays what it was."""
    code = (
        "import os\nfor i in range(2000): os.getppid()\n"
        "import ctypes; f = ctypes.CDLL(None).getppid\n"
        "print(ctypes.string_at(ctypes.cast(f, ctypes.c_void_p).value, 1) == b'\\xe9')"
    )
    for via in ("preload", "loader"):
        line = ("ukl-run", "--via", via, "-p", "net.yaml")
        for extra, rewritten in (((), "True"), (("--trap-only",), "False")):
            done = do(whole, *line, *extra, "/usr/bin/python3", "-c", code)
            assert (done.status, done.out.strip()) == (0, rewritten), done.err


def test_warm_start_is_quick(whole: Desk) -> None:
    """Of several, the quickest is well below the bar of bench/startup."""
    times = []
    for _ in range(6):
        begun = time.perf_counter()
        assert do(whole, "ukl-run", "-p", "net.yaml", "true").status == 0
        times.append(time.perf_counter() - begun)
    assert min(times[1:]) < 0.3, times
