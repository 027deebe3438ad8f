"""The wheel: built, installed into an environment of its own, and used from there."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tinytree import ROOT

from hijack import paths


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path, None, None]:
    """A virtual environment with the wheel in it; the wheel's build is removed."""
    work = tmp_path_factory.mktemp("wheel")
    # A copy: the build leaves files beside its sources.
    clone = work / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    environment = {k: v for k, v in os.environ.items() if k[:6] != "PYTHON"}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

    def do(*line: str | Path) -> None:
        done = subprocess.run(
            line, env=environment, cwd=work, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    do(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", work, clone)
    shutil.rmtree(clone)
    (wheel,) = work.glob("*.whl")
    venv = work / "venv"
    do(sys.executable, "-m", "venv", "--without-pip", venv)
    do(*pip, f"--python={venv}/bin/python", "install", "-q", "--no-deps", wheel)
    # The dependencies are those of the environment that runs the tests.
    site = venv / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    yield venv
    directory = paths.meson_directory(site.resolve() / "hijack" / "tree")
    shutil.rmtree(directory, ignore_errors=True)
    Path(f"{directory}.lock").unlink(missing_ok=True)


@pytest.fixture
def runtime() -> Generator[Path, None, None]:
    """A runtime directory; no instance may stay in it."""
    directory = Path(f"/tmp/ukl-wheel-{os.getpid()}-{time.monotonic_ns() % 10**9}")
    directory.mkdir(0o700)
    yield directory
    deadline = time.monotonic() + 15
    while any((directory / "ukl").iterdir()):
        assert time.monotonic() < deadline, "an instance stays"
        time.sleep(0.02)
    (directory / "ukl").rmdir()
    directory.rmdir()


@pytest.fixture
def page() -> Generator[str, None, None]:
    """The URL, in the instance, of a page that the host's loopback serves."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the host\n")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://10.0.2.2:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def run(
    installed: Path, runtime: Path, *line: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A command of the environment's ``bin``, from a directory that is no clone."""
    kept = {k: v for k, v in os.environ.items() if k[:6] != "PYTHON" and k[:3] != "UKL"}
    return subprocess.run(
        [installed / "bin" / line[0], *line[1:]],
        env=kept | {"XDG_RUNTIME_DIR": str(runtime)} | variables,
        cwd=installed.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_first_run_builds(installed: Path, runtime: Path) -> None:
    """All that was built comes from the wheel; the kernel's image was in the cache."""
    done = run(installed, runtime, "ukl-run", "true")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    listed = run(installed, runtime, "ukl-run", "--dry-run", "true").stdout
    (tree,) = installed.glob("lib/python*/site-packages/hijack/tree")
    directory = paths.meson_directory(tree.resolve())
    assert f"{directory}/kernel/host/ukl-host" in listed
    assert f"LD_PRELOAD={directory}/libhijack_c/" in listed
    # Of the same sources: the same image.
    image = run(installed, runtime, "ukl", "build").stdout.split()[0]
    mine = subprocess.run([ROOT / "ukl", "build"], capture_output=True, text=True)
    assert image == mine.stdout.split()[0]


def test_it_does_the_main_job(installed: Path, runtime: Path, page: str) -> None:
    done = run(installed, runtime, "ukl-run", "curl", "-sS", page)
    assert (done.returncode, done.stdout) == (0, "from the host\n"), done.stderr
    kernel = run(installed, runtime, "ukl-run", "sh", "-c", "ss -Htln; ip -br link")
    assert "eth0" in kernel.stdout


def test_dhcp(installed: Path, runtime: Path) -> None:
    """The script of the DHCP client comes along, and can be executed."""
    line = ("-s", "network.ethernets.eth0.dhcp4=true", "cat", "/etc/resolv.conf")
    done = run(installed, runtime, "ukl-run", *line)
    assert (done.returncode, done.stdout) == (0, "nameserver 10.0.2.3\n"), done.stderr


def test_the_environment_is_the_targets(installed: Path, runtime: Path) -> None:
    """What is meant for the target's Python does not get in the way of ours."""
    nonsense = installed.parent / "nonsense"
    nonsense.mkdir()
    (nonsense / "click.py").write_text("raise SystemExit('the wrong click')\n")
    given = {"PYTHONPATH": str(nonsense), "PYTHONWARNINGS": "error", "LC_ALL": "C"}
    done = run(installed, runtime, "ukl-run", "env", **given)
    assert done.returncode == 0, done.stderr
    lines = set(done.stdout.splitlines())
    assert {f"{key}={value}" for key, value in given.items()} <= lines
    assert not [line for line in lines if line.startswith(("LC_CTYPE=", "LD_PRELOAD="))]


def test_mistakes_are_told_as_in_a_clone(installed: Path, runtime: Path) -> None:
    (runtime / "ukl").mkdir(0o700)
    done = run(installed, runtime, "ukl-run")
    assert done.returncode == 125
    assert done.stderr == (
        "ukl: no command is given (ukl-run --help lists the options)\n"
    )
    done = run(installed, runtime, "ukl", "profile", "list")
    assert "nginx.yaml  A web server" in done.stdout


def test_the_pages_come_along(installed: Path) -> None:
    for name in ("man1/ukl.1", "man1/ukl-run.1", "man5/ukl-profile.5"):
        page = installed / "share" / "man" / name
        assert page.read_bytes() == (ROOT / "doc" / page.name).read_bytes()
