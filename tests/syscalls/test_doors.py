"""Programs that ld.so would not preload the shim into, with traffic."""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from inside import HERE, Inside, need, on_host

from hijack import elf

GO = {"GOFLAGS": "", "GO111MODULE": "off"}
GO_BUILDS: dict[str, tuple[dict[str, str], list[str]]] = {
    "static": ({"CGO_ENABLED": "0"}, []),
    "pie": ({"CGO_ENABLED": "0"}, ["-buildmode=pie"]),
    "cgo": ({"CGO_ENABLED": "1"}, []),
}


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds ``goes.go`` in one of ``GO_BUILDS``, once a session."""
    where = tmp_path_factory.mktemp("go")

    def build(how: str) -> Path:
        need("go", "gcc")
        target = where / how / "goes"
        if not target.exists():
            extra, options = GO_BUILDS[how]
            line = ["go", "build", *options, "-o", target, HERE / "goes.go"]
            subprocess.run(line, env=os.environ | GO | extra, check=True)
        return target

    return build


@pytest.mark.parametrize("sites", ["off", "now"])
@pytest.mark.parametrize("how", GO_BUILDS)
def test_go(inside: Inside, go: Callable[[str], Path], how: str, sites: str) -> None:
    program = go(how)
    host = on_host(program, seconds=60)
    assert host.stdout.endswith("bad: 0\n"), host.stdout + host.stderr
    # cgo's is a dynamic program like others; it comes by both doors.
    for loader in (True,) if how != "cgo" else (True, False):
        extra = {"UKL_REWRITE": sites}
        got = inside.run(program, extra=extra, loader=loader, seconds=60)
        assert (got.stdout, got.stderr) == (host.stdout, host.stderr)
        assert got.returncode == 0


def test_go_is_rewritten(inside: Inside, tmp_path: Path) -> None:
    """Of a thousand calls at one site of Go's, most do not trap."""
    need("go", "strace")
    source = tmp_path / "often.go"
    source.write_text(
        'package main\nimport "syscall"\nfunc main() {\n'
        "for i := 0; i < 5000; i++ { syscall.Getppid() } }\n"
    )
    environment = os.environ | GO | {"CGO_ENABLED": "0"}
    program = tmp_path / "often"
    subprocess.run(["go", "build", "-o", program, source], env=environment, check=True)

    def traps(sites: str) -> int:
        log = tmp_path / f"strace-{sites}"
        line = ["strace", "-f", "-o", log, "-e", "trace=none", inside.shim]
        words = inside.environment({"UKL_REWRITE": sites}, str(program))
        subprocess.run(line, env=words, check=True)
        return log.read_text().count("SYS_USER_DISPATCH")

    assert traps("off") > 5000
    assert 0 < traps("now") < 1000


def test_a_chain_with_an_empty_environment(
    inside: Inside, compiled: Callable[..., Path], tmp_path: Path
) -> None:
    kinds = ("dynamic", "static", "musl-static", "static-pie", "musl", "asan")
    names = []
    for kind in (*kinds, "static", "dynamic"):
        name = tmp_path / kind
        if not name.exists():
            shutil.copy(compiled("chained", kind), name)
        names.append(name)
    made = inside.run("ip", "link", "add", "inside0", "type", "dummy")
    assert made.returncode == 0, made.stderr
    for first in range(2):
        line = names[first:]
        host = on_host(*line)
        assert host.returncode == 0, host.stdout + host.stderr
        assert host.stdout.endswith("host: 1\n")
        expected = host.stdout.replace("host: 1", "host: 0")
        # The first has what is not ours of the environment.
        expected = re.sub(r"word \S+=.*", "word", expected, count=1)
        for loader in (True, False) if not first else (True,):
            got = inside.run(*line, loader=loader)
            text = re.sub(r"word \S+=.*", "word", got.stdout, count=1)
            assert (text, got.stderr, got.returncode) == (expected, "", 0)


@pytest.mark.parametrize("loader", [True, False])
def test_what_a_shell_executes(
    inside: Inside, compiled: Callable[..., Path], tmp_path: Path, loader: bool
) -> None:
    """posix_spawn, vfork, pipes; a shell that is preloaded, and one that is not."""
    need("busybox")
    static = shutil.copy(compiled("chained", "static"), tmp_path / "static")
    script = tmp_path / "script"
    script.write_text("#!/bin/busybox sh\necho ${0##*/} $#; exec $1\n")
    script.chmod(0o755)
    lines = (
        f"for i in 1 2 3; do {static} {script} {static} | cat; done;"
        f"env -i {static}; {script} {static}"
    )
    host = on_host("sh", "-c", lines)
    got = inside.run("sh", "-c", lines, loader=loader)

    def without_environment(text: str) -> str:
        return re.sub(r"word \S+=.*", "word", text)

    assert without_environment(got.stdout) == without_environment(host.stdout)
    assert (got.stderr, got.returncode) == (host.stderr, host.returncode)


def until(what: Callable[[], bool], seconds: float = 10) -> None:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_busybox_serves_and_gets(inside: Inside, tmp_path: Path) -> None:
    need("busybox")
    busybox = shutil.which("busybox")
    assert busybox is not None
    facts = elf.read_facts(Path(busybox))
    assert facts.kind == "static", "busybox-static is what is meant"
    data = os.urandom(300_000)
    (tmp_path / "data").write_bytes(data)
    line = (busybox, "httpd", "-f", "-p", "8080", "-h", tmp_path)
    server = inside.start(*line, log=tmp_path / "log", loader=True)
    try:
        until(lambda: ":8080 " in inside.run("ss", "-Hltn").stdout)
        for loader in (True, False):
            out = tmp_path / f"out{loader}"
            line = (busybox, "wget", "-q", "-O", out, "http://127.0.0.1:8080/data")
            if not loader:
                # A preloaded shell executes it, and it executes itself.
                line = ("sh", "-c", " ".join(map(str, line)))
            got = inside.run(*line, loader=loader)
            assert got.returncode == 0, got.stderr
            assert out.read_bytes() == data
        text = "echo a b c | tr ' ' '\\n' | sort -r | head -2; ls /proc/self/exe"
        got = inside.run(busybox, "sh", "-c", text, loader=True)
        assert got.stdout == "c\nb\n/proc/self/exe\n"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == -signal.SIGTERM


def test_address_sanitizer_finds_what_it_finds(
    inside: Inside, compiled: Callable[..., Path], tmp_path: Path
) -> None:
    """Traffic, then an error and a leak, with symbols from /proc/self/exe."""
    got = inside.run(compiled("chained", "asan"), loader=True)
    assert (got.returncode, got.stderr) == (0, "")
    source = tmp_path / "wrong.c"
    # doc/limits.md: it looks at dead parts of the stack, too, which are wiped here.
    source.write_text(
        "#include <stdlib.h>\nstatic void wipe(void);\n"
        "int main(int argc, char **argv) {\n"
        "volatile char *p = malloc(10); if (argc > 1) return p[10 + argc];\n"
        "p = 0; wipe(); return 0; }\n"
        "static void wipe(void) { volatile char dead[1 << 16];\n"
        "for (unsigned i = 0; i < sizeof(dead); i++) dead[i] = 0; }\n"
    )
    program = tmp_path / "wrong"
    line = ["gcc", "-g", "-fsanitize=address", "-o", program, source]
    subprocess.run(line, check=True)
    for arguments, words in (
        (("x",), ("heap-buffer-overflow", "wrong.c:4")),
        ((), ("LeakSanitizer: detected memory leaks", "10 byte(s) in 1 object")),
    ):
        host = on_host(program, *arguments)
        got = inside.run(program, *arguments, loader=True)
        for word in words:
            assert word in host.stderr, host.stderr
            assert word in got.stderr, got.stderr
        assert got.returncode == host.returncode != 0


def test_capabilities_about_the_network_only(inside: Inside, tmp_path: Path) -> None:
    """Another user's ping works without them; other capabilities are refused."""
    need("setpriv", "ping")
    if os.geteuid():
        pytest.skip("only root can give a file capabilities")
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    for number, name in ((13, "raw"), (21, "admin")):
        path = shutil.copy("/bin/ping", tmp_path / name)
        value = struct.pack("<IIIII", 0x02000001, 1 << number, 0, 0, 0)
        os.setxattr(path, "security.capability", value)
    line = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c"]
    got = inside.run(*line, f"{tmp_path}/raw -c 1 127.0.0.1")
    assert " 0% packet loss" in got.stdout, got.stderr
    got = inside.run(*line, f"{tmp_path}/admin -c 1 127.0.0.1; echo $?")
    assert got.stdout == "126\n"
    assert "a program with file capabilities" in got.stderr
    # Set-id ones as well.
    (tmp_path / "raw").chmod(0o4755)
    got = inside.run(*line, f"{tmp_path}/raw -c 1 127.0.0.1; echo $?")
    assert (got.stdout, "a set-id program" in got.stderr) == ("126\n", True)


def test_without_a_program_or_an_instance(inside: Inside, tmp_path: Path) -> None:
    """The shim is a program that says what it is."""
    got = subprocess.run([inside.shim], capture_output=True, text=True, check=False)
    assert got.returncode == 125
    assert "start programs with ukl-run" in got.stderr
    words = inside.environment()
    del words["LD_PRELOAD"]
    got = subprocess.run(
        [inside.shim], env=words, capture_output=True, text=True, check=False
    )
    assert got.returncode == 125
    assert "executed without a program" in got.stderr
    for path, why in ((tmp_path / "none", "not there"), ("/etc/passwd", "not a prog")):
        got = inside.run(path, loader=True)
        assert got.returncode == 125
        assert why in got.stderr
