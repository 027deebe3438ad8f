"""curl to HTTPS by a name that the profile's name server knows; a GiB in and out."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
import somesite
from person import User
from tinytree import ROOT

NAME = "some.site.test"
GATEWAY = ["10.0.2.2", "fd00:7e57:10::2"]
"""Of the user backend: the loopback of where ukl-run runs."""
PROFILE = """\
network:
  ethernets:
    eth0:
      backend: {backend}
      addresses: [{addresses}]
      nameservers: {{addresses: ["{server}"], search: [site.test]}}
"""


@dataclass
class Site:
    """A running somesite, and how it is reached."""

    certificate: Path
    lines: list[str]
    """What it has said."""
    enter: list[str]
    """What goes before a command that is to run beside it."""


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for NAME; the key is beside it."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-subj", f"/CN={NAME}", "-days", "2"),
            *("-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return tmp_path / "cert.pem"


def site_line(certificate: Path, listen: list[str], answer: list[str]) -> list[str]:
    """The command line of a site."""
    line = ["python3", str(ROOT / "tests/whole/somesite.py"), NAME, str(certificate)]
    line.append(str(certificate.with_name("key.pem")))
    line += [f"--listen={one}" for one in listen]
    return line + [f"--answer={one}" for one in answer]


def listen_to(process: subprocess.Popen[str]) -> tuple[list[str], threading.Thread]:
    """What a site says from now on; returns when it is ready."""
    lines: list[str] = []
    assert process.stdout is not None
    stream = process.stdout
    first = stream.readline()
    assert first == "ready\n", first
    thread = threading.Thread(target=lambda: lines.extend(stream))
    thread.start()
    return lines, thread


@pytest.fixture
def namespace_site(certificate: Path) -> Generator[Site, None, None]:
    """A site on the loopback of a network namespace of the host."""
    root = os.geteuid() == 0
    script = 'ip link set lo up; exec "$@"'
    line = site_line(certificate, ["127.0.0.1", "::1"], GATEWAY)
    process = subprocess.Popen(
        ["unshare", *([] if root else ["-r"]), "-n", "sh", "-ec", script, "sh", *line],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        lines, thread = listen_to(process)
        enter = ["nsenter", "-t", str(process.pid), "-n"]
        if not root:
            enter += ["-U", "--preserve-credentials"]
        yield Site(certificate, lines, enter)
    finally:
        process.kill()
        process.wait()
    thread.join()


def beside(user: User, site: Site, *arguments: object) -> list[str]:
    """The line of ``ukl-run ARGUMENT...`` in the site's namespace."""
    return [*site.enter, str(ROOT / "ukl-run"), *(str(word) for word in arguments)]


def curl_line(site: Site, profile: Path, *arguments: str) -> list[object]:
    """ukl-run's words for curl."""
    return ["-p", profile, "curl", "-sS", "--cacert", site.certificate, *arguments]


@pytest.mark.parametrize("server", GATEWAY)
def test_by_name_through_the_user_backend(
    user: User, namespace_site: Site, tmp_path: Path, server: str
) -> None:
    """A and AAAA, asked by IPv4 and by IPv6; a short name by the search list."""
    profile = tmp_path / "p.yaml"
    profile.write_text(PROFILE.format(backend="user", addresses="", server=server))

    def curl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            beside(
                user, namespace_site, *curl_line(namespace_site, profile, *arguments)
            ),
            env=user.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    for family, kind, loopback in (("-4", "A", "127.0.0.1"), ("-6", "AAAA", "::1")):
        namespace_site.lines.clear()
        done = curl(family, f"https://{NAME}/")
        assert (done.returncode, done.stdout) == (0, f"hello {loopback}\n"), done.stderr
        # With -6 curl asks for both all the same.
        assert f"asked {NAME} {kind}\n" in namespace_site.lines
    # Both are asked for, and the certificate is for the whole name.
    namespace_site.lines.clear()
    done = curl("https://some/")
    assert done.returncode == 60, done.stderr
    assert sorted(namespace_site.lines) == [f"asked {NAME} A\n", f"asked {NAME} AAAA\n"]
    done = curl("https://other.site.test/")
    assert done.returncode == 6, done.stderr


def test_by_name_over_a_wire(user: User, certificate: Path, tmp_path: Path) -> None:
    """Name server, HTTPS server and client have library kernels: no host between."""
    there, here = tmp_path / "there.yaml", tmp_path / "here.yaml"
    wire = "{wire: names}"
    addresses = ["10.88.0.1", "fd88::1"]
    words = '"10.88.0.{0}/24", "fd88::{0}/64"'
    there.write_text(
        PROFILE.format(backend=wire, addresses=words.format(1), server="10.88.0.1")
    )
    process = user.start("-p", there, *site_line(certificate, addresses, addresses))
    lines, thread = listen_to(process)
    site = Site(certificate, lines, [])
    for server in addresses:
        here.write_text(
            PROFILE.format(backend=wire, addresses=words.format(2), server=server)
        )
        for family, client in (("-4", "10.88.0.2"), ("-6", "fd88::2")):
            said = user.run(*curl_line(site, here, family, f"https://{NAME}/"))
            assert said == f"hello {client}\n"
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    thread.join()
    assert lines.count(f"asked {NAME} AAAA\n") == 2
    assert lines.count(f"asked {NAME} A\n") >= 2


def test_a_gib_in_and_out(user: User, namespace_site: Site, tmp_path: Path) -> None:
    """Over TLS and the user backend; neither side keeps it."""
    profile = tmp_path / "p.yaml"
    profile.write_text(PROFILE.format(backend="user", addresses="", server=GATEWAY[0]))
    count = 1024
    wanted = somesite.digest(count)
    line = curl_line(namespace_site, profile, f"https://{NAME}/{count}")
    found, length = hashlib.sha256(), 0
    with subprocess.Popen(
        beside(user, namespace_site, *line),
        env=user.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        while part := process.stdout.read(somesite.MIB):
            found.update(part)
            length += len(part)
    assert process.returncode == 0
    assert (length, found.hexdigest()) == (count * somesite.MIB, wanted)

    line = curl_line(namespace_site, profile, "-T", "-", f"https://{NAME}/")
    with subprocess.Popen(
        beside(user, namespace_site, *line),
        env=user.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for block in somesite.blocks(count):
            process.stdin.write(block)
        process.stdin.close()
        said = process.stdout.read().decode()
    assert process.returncode == 0
    assert said == f"{count * somesite.MIB} {wanted}\n"
