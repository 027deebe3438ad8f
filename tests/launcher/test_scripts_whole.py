"""The scripts from a clone, for a user without any rights and a warm cache.

The shim is the stand-in; all else is what a user has.  The cache and the checkout
belong to somebody else, so nothing can be written there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from desk import Done, wait_for
from tinytree import ROOT

from hijack import paths

NOBODY = 65534
PACKAGES = (
    *("click", "elftools", "cffi", "pycparser", "_cffi_backend*"),
    *("pydantic*", "annotated_types", "typing_extensions*", "typing_inspection"),
    *("ruamel", "_ruamel_yaml*", "pyroute2"),
)
CHECKOUT = ("hijack", "launcher", "kernel", "libhijack_c")
FILES = ("meson.build", "meson_options.txt", "pyproject.toml", "ukl", "ukl-run")


def as_nobody(line: list[str]) -> list[str]:
    """The line, run without rights; as it is where there are none."""
    if os.geteuid() != 0:
        return line
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*drop, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", *line]


def python_for_all() -> str:
    """An interpreter of our version that a user without rights can start."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    tried = [os.path.realpath(sys.executable), f"/usr/bin/python{version}"]
    for path in tried:
        code = "import sys, json; print(sys.version_info[:2])"
        # The shell, like the scripts', asks first whether it may.
        look = '[ -x "$1" ] && exec "$1" -c "$2"'
        line = as_nobody(["sh", "-c", look, "sh", path, code])
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.stdout.strip() == str(sys.version_info[:2]):
            return path
    pytest.skip(f"no Python {version} that every user can start")


class Site:
    """A clone, a cache and a runtime directory."""

    def __init__(self, where: Path, standin: Path) -> None:
        self.where = where
        self.checkout = where / "clone"
        self.runtime = where / "run"
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(where),
            "XDG_CACHE_HOME": str(where / "cache"),
            "XDG_RUNTIME_DIR": str(self.runtime),
        }
        self.checkout.mkdir()
        for name in CHECKOUT:
            if (ROOT / name).is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, self.checkout / name, ignore=ignore)
        for name in FILES:
            shutil.copy2(ROOT / name, self.checkout / name)
        python = python_for_all()
        self._venv(python)
        self._build(standin)
        code = (
            "import sys; from pathlib import Path; from hijack import stamp;"
            "stamp.write(Path(sys.argv[1]), stamp.digest(Path(sys.argv[1])))"
        )
        subprocess.run(
            [python, "-c", code, self.checkout],
            env=self.environment | {"PYTHONPATH": str(self.checkout)},
            check=True,
        )
        subprocess.run(["chmod", "-R", "a+rX,go-w", where], check=True)
        self.runtime.mkdir()
        self.runtime.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(self.runtime, NOBODY, NOBODY)

    def _venv(self, python: str) -> None:
        data = (ROOT / "pyproject.toml").read_bytes()
        total = subprocess.run(["cksum"], input=data, capture_output=True, check=True)
        name = f"venv-{total.stdout.split()[0].decode()}"
        venv = self.where / "cache" / "ukl" / name
        (venv / "bin").mkdir(parents=True)
        (venv / "bin" / "python").symlink_to(python)
        (venv / "pyvenv.cfg").write_text(
            f"home = {Path(python).parent}\ninclude-system-site-packages = false\n"
        )
        lib = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
        site = venv / lib / "site-packages"
        site.mkdir(parents=True)
        ours = Path(sys.prefix) / lib / "site-packages"
        for pattern in PACKAGES:
            for found in ours.glob(pattern):
                if found.is_dir():
                    shutil.copytree(found, site / found.name)
                else:
                    shutil.copy(found, site)
        (venv / ".complete").touch()

    def _build(self, standin: Path) -> None:
        built = paths.meson_directory(ROOT)
        name = "import sys; from pathlib import Path; from hijack import paths;"
        name += "print(paths.meson_directory(Path(sys.argv[1])))"
        done = subprocess.run(
            [sys.executable, "-c", name, self.checkout],
            env=self.environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        made = Path(done.stdout.strip())
        for part in ("kernel/host", "hijack", "libhijack_c"):
            (made / part).mkdir(parents=True)
        shutil.copy2(built / "kernel" / "host" / "ukl-host", made / "kernel" / "host")
        for binding in (built / "hijack").glob("_libukl*.so"):
            shutil.copy2(binding, made / "hijack")
        shutil.copy2(standin, made / "libhijack_c" / "libukl-hijack.so")
        result = json.loads((built / "kernel" / "kernel-image.json").read_text())
        shutil.copy2(result["image"], made / "image")
        result["image"] = str(made / "image")
        (made / "kernel" / "kernel-image.json").write_text(json.dumps(result))

    def line(self, script: str, *arguments: str) -> list[str]:
        """The command line of a script of the clone, run without rights."""
        return as_nobody([str(self.checkout / script), *arguments])

    def do(self, script: str, *arguments: str, **more: str) -> Done:
        """Run a script of the clone without rights."""
        done = subprocess.run(
            self.line(script, *arguments),
            env=self.environment | more,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def site(standin: Path) -> Generator[Site, None, None]:
    where = Path(tempfile.mkdtemp(prefix="ukl-u-"))
    where.chmod(0o755)
    try:
        yield Site(where, standin)
    finally:
        shutil.rmtree(where)


def test_a_program_runs(site: Site) -> None:
    done = site.do("ukl-run", "sh", "-c", "id -u; exit 5")
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    assert (done.status, done.out, done.err) == (5, f"{uid}\n", "")
    base = site.runtime / "ukl"
    wait_for(lambda: not list(base.iterdir()), "an instance stays")
    assert base.stat().st_uid == uid


def test_the_environment_is_untouched(site: Site) -> None:
    done = site.do("ukl-run", "env", PYTHONPATH="/mine", PYTHONHOME="/nowhere")
    assert done.status == 0, done.err
    lines = dict(line.split("=", 1) for line in done.out.splitlines())
    for name in ("LD_PRELOAD", "UKL_INSTANCE"):
        lines.pop(name)
    # A shell sets this one for every program it starts.
    lines.pop("PWD", None)
    # In the C locale, which this is, Python sets LC_CTYPE for itself.
    assert "LC_CTYPE" not in lines
    assert "\nLC_CTYPE=C\n" in site.do("ukl-run", "env", LC_CTYPE="C").out
    expected = site.environment | {"PYTHONPATH": "/mine", "PYTHONHOME": "/nowhere"}
    assert lines == expected


def test_verbs(site: Site) -> None:
    assert site.do("ukl-run", "--keep", "-n", "web", "true").status == 0
    done = site.do("ukl", "exec", "web", "sh", "-c", "echo in; exit 3")
    assert (done.status, done.out, done.err) == (3, "in\n", "")
    (row,) = json.loads(site.do("ukl", "ps", "--json").out)
    assert (row["name"], row["state"]) == ("web", "running")
    assert "Linux version" in site.do("ukl", "logs", "web").out
    assert site.do("ukl", "stop", "web").status == 0
    done = site.do("ukl", "doctor")
    assert "ok       instance " in done.out
    assert "ok       build " in done.out
    assert done.status == 0


def test_signals_through_the_script(site: Site) -> None:
    process = subprocess.Popen(
        site.line("ukl-run", "sh", "-c", "echo $$; exec sleep 60"),
        env=site.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    # One pid, from the script to the target.
    assert process.stdout.readline() == f"{process.pid}\n"
    wait_for(
        lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "no exec"
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("ignored", [True, False])
def test_an_ignored_signal_stays_so(site: Site, ignored: bool) -> None:
    action = signal.SIG_IGN if ignored else signal.SIG_DFL
    done = subprocess.run(
        site.line("ukl-run", "grep", "SigIgn", "/proc/self/status"),
        env=site.environment,
        restore_signals=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, action),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    mask = int(done.stdout.split()[1], 16)
    assert bool(mask >> (signal.SIGPIPE - 1) & 1) == ignored


def test_somebody_elses_instance(site: Site, standin: Path) -> None:
    """Another user's runtime directory is not ours."""
    if os.geteuid() != 0:
        pytest.skip("needs two users")
    done = subprocess.run(
        [site.checkout / "ukl", "ps"],
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    # Root's own is elsewhere.
    assert done.returncode == 0, done.stderr
    assert "web" not in done.stdout
