"""Which programs are let in, and what is said about the others."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tinytree import ROOT

from hijack import elf
from hijack.errors import UklError

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
MAIN = "int main(void) { return 0; }\n"
NET_RAW, SYS_ADMIN = 13, 21
DROP = 65534


@pytest.fixture
def memory(tmp_path: Path) -> elf.Memory:
    return elf.Memory(tmp_path / "programs")


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A directory that another user can look into."""
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    return tmp_path


def compiled(directory: Path, *options: str, source: str = MAIN) -> Path:
    """A program made of ``source``; skips if the compiler cannot make it."""
    path = directory / "program"
    (directory / "program.c").write_text(source)
    done = subprocess.run(
        ["gcc", *options, "-o", path, directory / "program.c"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"gcc {' '.join(options)}: {done.stderr.strip()[-80:]}")
    return path


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def check(
    path: object, standin: Path, memory: elf.Memory, via: str = "auto"
) -> elf.Verdict:
    return elf.check([str(path), "arg"], ENVIRONMENT, standin, via=via, memory=memory)


@pytest.mark.parametrize("options", [[], ["-no-pie"], ["-pie"], ["-g"]])
def test_dynamic_programs(
    tmp_path: Path, standin: Path, memory: elf.Memory, options: list[str]
) -> None:
    path = compiled(tmp_path, *options)
    verdict = check(path, standin, memory)
    assert verdict == elf.Verdict(
        "preload",
        "a dynamic program of glibc",
        "",
        path,
        str(path),
        (str(path), "arg"),
    )


@pytest.mark.parametrize(
    ("options", "kind"), [(["-static"], "static"), (["-static-pie"], "static-pie")]
)
def test_static_programs(
    tmp_path: Path, standin: Path, memory: elf.Memory, options: list[str], kind: str
) -> None:
    path = compiled(tmp_path, *options)
    assert elf.read_facts(path).kind == kind
    verdict = check(path, standin, memory)
    shape = "static-PIE" if kind == "static-pie" else "static"
    assert verdict == elf.Verdict(
        "loader",
        f"a {shape} program",
        "",
        path,
        str(path),
        (str(path), "arg"),
        shape,
        str(standin),
        (("UKL_PROGRAM", str(path)),),
    )
    assert verdict.door_and_why == f"loader ({shape})"
    verdict = check(path, standin, memory, via="preload")
    assert verdict.door == ""
    assert verdict.reason == (
        f"{path} is statically linked, and only a dynamic loader preloads the shim"
    )
    assert "--allow-host" in verdict.mend
    with pytest.raises(elf.CannotRunError) as caught:
        verdict.must_be_open()
    assert caught.value.status == 126


def test_the_loader_door_is_asked_for(
    tmp_path: Path, standin: Path, memory: elf.Memory
) -> None:
    path = compiled(tmp_path)
    verdict = check(path, standin, memory, via="loader")
    assert (verdict.door, verdict.why) == ("loader", "--via")
    assert verdict.words == (("UKL_PROGRAM", str(path)), ("UKL_VIA", "loader"))
    # It must be possible to execute the shim.
    shim = shutil.copy(standin, tmp_path / "shim.so")
    shim.chmod(0o644)
    verdict = check(path, shim, memory, via="loader")
    assert (verdict.door, verdict.mend) == ("", f"chmod +x {shim}")
    assert check(path, shim, memory).door == "preload"


def test_a_go_program(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    """One that has Go's note; no Go compiler is needed to write one."""
    note = (
        '.section .note.go.buildid, "a", @note\n'
        '.long 4, 4, 4\n.asciz "Go\\0"\n.long 7\n'
    )
    path = compiled(tmp_path, "-static", source=f"asm({_c_string(note)});\n{MAIN}")
    facts = elf.read_facts(path)
    assert facts.go
    verdict = check(path, standin, memory)
    assert (verdict.door, verdict.reason) == ("loader", "a static Go program")
    assert check(path, standin, memory, via="preload").reason.startswith(
        f"{path} is a Go program and statically linked"
    )


def _c_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def test_address_sanitizer(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    path = compiled(tmp_path, "-fsanitize=address")
    verdict = check(path, standin, memory)
    assert verdict.door == "loader"
    assert "AddressSanitizer" in verdict.reason
    assert check(path, standin, memory, via="preload").door == "preload"


def test_thread_sanitizer(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    path = compiled(tmp_path, "-fsanitize=thread")
    for via in ("auto", "preload", "loader"):
        verdict = check(path, standin, memory, via)
        assert verdict.door == ""
        assert "ThreadSanitizer" in verdict.reason


def patched(tmp_path: Path, offset: int, data: bytes) -> Path:
    """true(1) with other bytes at ``offset``."""
    path = tmp_path / "patched"
    whole = bytearray(Path("/bin/true").read_bytes())
    whole[offset : offset + len(data)] = data
    path.write_bytes(whole)
    path.chmod(0o755)
    return path


def test_foreign_programs(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    path = patched(tmp_path, 18, struct.pack("<H", 183))
    verdict = check(path, standin, memory)
    assert verdict.door == ""
    assert verdict.reason == (
        f"{path} is a program for AArch64; ukl runs x86-64 programs"
    )


def test_32_bit_programs(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    """A header of one; the whole need not be there to be refused."""
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack(
        "<HHIIIIIHHHHHH", 2, 3, 1, 0x8048000, 0, 0, 0, 52, 32, 0, 40, 0, 0
    )
    path = tmp_path / "old"
    path.write_bytes(header)
    path.chmod(0o755)
    verdict = check(path, standin, memory)
    assert verdict.door == ""
    assert verdict.reason == f"{path} is a program for x86; ukl runs x86-64 programs"


def test_loaders(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    path = compiled(tmp_path, "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")
    assert elf.read_facts(path).libc == "musl"
    if not Path("/lib/ld-musl-x86_64.so.1").exists():
        with pytest.raises(elf.NotFoundError) as caught:
            check(path, standin, memory)
        assert str(caught.value) == (
            f"ukl: {path} cannot start: its loader /lib/ld-musl-x86_64.so.1 is not "
            "there (install musl)"
        )
    strange = tmp_path / "loader.so"
    path = compiled(tmp_path, f"-Wl,--dynamic-linker={strange}")
    with pytest.raises(elf.NotFoundError):
        check(path, standin, memory)
    strange.symlink_to("/lib64/ld-linux-x86-64.so.2")
    verdict = check(path, standin, memory)
    assert (verdict.door, verdict.why) == ("loader", "no known libc")
    assert verdict.reason == f"a program without a libc that ukl knows, of {strange}"
    # Go makes such programs: position-independent, and of no library.
    alone = compiled(tmp_path, "-nostdlib", "-pie", source="void _start(void) {}\n")
    assert (elf.read_facts(alone).kind, elf.read_facts(alone).libc) == ("dynamic", "")
    assert check(alone, standin, memory).door == "loader"
    # A loader is a program, too.
    verdict = check("/lib64/ld-linux-x86-64.so.2", standin, memory)
    assert (verdict.door, verdict.why) == ("loader", "static-PIE")


def test_not_programs(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    torn = patched(tmp_path, 18, b"")
    torn.write_bytes(torn.read_bytes()[:100])
    for path, words in (
        (torn, f"ukl: {torn} is not a program: {os.strerror(errno.ENOEXEC)}"),
        (
            compiled(tmp_path, "-shared", "-fPIC"),
            f"ukl: {tmp_path}/program is a shared library, not a program",
        ),
        (script(tmp_path / "empty", ""), "ukl: {} is not a program: Exec format error"),
        (
            script(tmp_path / "bang", "#!\n"),
            "ukl: {} is not a program: Exec format error",
        ),
    ):
        with pytest.raises(elf.CannotRunError) as caught:
            check(path, standin, memory)
        assert str(caught.value) == words.format(path)


# -- scripts -------------------------------------------------------------------


def test_scripts(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    for first in (
        "#!/bin/sh",
        "#! /bin/sh -e",
        "#!/usr/bin/env sh",
        "#!/usr/bin/env -S A=b sh -e",
        "#!/usr/bin/env -i sh",
        "words without a first line",
    ):
        path = script(tmp_path / "script", f"{first}\n")
        assert check(path, standin, memory).door == "preload", first


def test_a_script_of_a_static_program(
    tmp_path: Path, standin: Path, memory: elf.Memory
) -> None:
    static = compiled(tmp_path, "-static")
    (tmp_path / "bin").mkdir()
    shutil.copy(static, tmp_path / "bin" / "interp")
    one = script(tmp_path / "one", f"#!{static} a  b \n")
    two = script(tmp_path / "two", f"#!{one}\n")
    three = script(tmp_path / "three", "#!/usr/bin/env interp\n")
    environment = {"PATH": f"{tmp_path}/bin:/bin"}

    def look(path: Path) -> elf.Verdict:
        return elf.check([str(path), "x"], environment, standin, memory=memory)

    # As the host would begin the interpreter; that knows the script by its name.
    for path, argv in (
        (one, (str(static), "a  b", str(one), "x")),
        (two, (str(static), "a  b", str(one), str(two), "x")),
    ):
        verdict = look(path)
        assert (verdict.door, verdict.program, verdict.argv) == ("loader", static, argv)
        assert verdict.words == (
            ("UKL_PROGRAM", str(path)),
            ("UKL_IMAGE", str(static)),
        )
    # env comes by its own door, and executes the other.
    assert (look(three).door, look(three).argv) == ("preload", (str(three), "x"))


def test_nesting_ends_where_the_kernels_does(
    tmp_path: Path, standin: Path, memory: elf.Memory
) -> None:
    """The host is the oracle: what it refuses with ELOOP, we do as well."""
    last = Path("/bin/true")
    seen = set()
    for depth in range(1, 9):
        last = script(tmp_path / f"s{depth}", f"#!{last}\n")
        try:
            host = subprocess.run([last], check=False).returncode
        except OSError as error:
            host = -(error.errno or 0)
        try:
            ours = 0 if check(last, standin, memory).door else 1
        except elf.CannotRunError as error:
            ours = -errno.ELOOP if os.strerror(errno.ELOOP) in error.message else 2
        assert ours == host, depth
        seen.add(ours)
    assert seen == {0, -errno.ELOOP}


# -- privilege -----------------------------------------------------------------


def vfs_capabilities(*numbers: int) -> bytes:
    """The value of security.capability, revision 2, effective."""
    bits = sum(1 << number for number in numbers)
    return struct.pack("<IIIII", 0x02000001, bits & 0xFFFFFFFF, 0, bits >> 32, 0)


def verdict_of_another_user(path: Path, standin: Path) -> str:
    """The door, reason and line for a user without rights, as JSON."""
    code = (
        "import sys, os; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from hijack import elf; os.setgroups([]);"
        f"os.setresgid({DROP}, {DROP}, {DROP}); os.setresuid({DROP}, {DROP}, {DROP});"
        "v = elf.check([sys.argv[2], 'x'], {'PATH': '/bin'}, Path(sys.argv[3]),"
        " memory=elf.Memory(Path('/nonexistent')));"
        "print(v.door, v.reason, v.mend, *v.argv, sep='|')"
    )
    # The interpreter may be where that user cannot look: import before.
    code = "import elftools.elf.elffile, subprocess, hashlib, ctypes;" + code
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT, path, standin],
        capture_output=True,
        text=True,
        env={"PATH": "/bin", "PYTHONPATH": str(ROOT), "HOME": "/"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_where_root_s_commands_are(
    tmp_path: Path, standin: Path, memory: elf.Memory
) -> None:
    """Looked for last, and by nobody else: env looks into PATH only."""
    ordinary = {"PATH": "/usr/bin:/bin"}
    assert elf.find("nologin", ordinary) == "/usr/sbin/nologin"
    mine = tmp_path / "nologin"
    mine.write_text("#!/usr/bin/env chroot\n")
    mine.chmod(0o755)
    assert elf.find("nologin", {"PATH": f"{tmp_path}:/bin"}) == str(mine)
    with pytest.raises(elf.NotFoundError, match="env: chroot: command not found"):
        elf.check([str(mine)], ordinary, standin, memory=memory)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="sets ids and capabilities")


@needs_root
def test_a_directory_of_path_that_may_not_be_looked_into(tmp_path: Path) -> None:
    """The search goes on behind it, as a shell's does."""
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from hijack import elf;"
        f"os.setgroups([]); os.setresgid({DROP}, {DROP}, {DROP});"
        f"os.setresuid({DROP}, {DROP}, {DROP});"
        "print(elf.find('true', {'PATH': sys.argv[2] + ':/bin'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT, closed],
        capture_output=True,
        text=True,
        env={"PATH": "/bin", "PYTHONPATH": str(ROOT), "HOME": "/"},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("/bin/true\n", "")


@needs_root
def test_set_id_programs(public: Path, standin: Path, memory: elf.Memory) -> None:
    path = compiled(public)
    shim = shutil.copy(standin, public / "shim.so")
    path.chmod(0o4755)
    # The owner gains nothing by it, so the loader loads the shim.
    assert check(path, shim, memory).door == "preload"
    door, reason, mend, *_ = verdict_of_another_user(path, shim).split("|")
    assert (door, reason) == (
        "",
        f"{path} is set-user-ID, and the host loads no shim into such programs",
    )
    assert mend.startswith("run ukl-run as its owner")
    path.chmod(0o2755)
    door, reason, *_ = verdict_of_another_user(path, shim).split("|")
    assert (door, reason) == (
        "",
        f"{path} is set-group-ID, and the host loads no shim into such programs",
    )
    path.chmod(0o755)
    assert verdict_of_another_user(path, shim).split("|")[0] == "preload"


@needs_root
def test_file_capabilities(public: Path, standin: Path, memory: elf.Memory) -> None:
    path = compiled(public)
    shim = shutil.copy(standin, public / "shim.so")
    os.setxattr(path, "security.capability", vfs_capabilities(NET_RAW))
    assert elf.capabilities(path) == {"cap_net_raw"}
    # Root gains nothing by it.
    assert check(path, shim, memory).argv == (str(path), "arg")
    door, reason, _, *argv = verdict_of_another_user(path, shim).split("|")
    assert (door, reason, argv) == (
        "loader",
        "a program with capabilities about the network only (cap_net_raw)",
        [str(path), "x"],
    )
    os.setxattr(path, "security.capability", vfs_capabilities(NET_RAW, SYS_ADMIN))
    door, reason, *_ = verdict_of_another_user(path, shim).split("|")
    assert (door, reason) == (
        "",
        f"{path} has file capabilities (cap_net_raw, cap_sys_admin), and the host "
        "loads no shim into such programs",
    )


# -- preflight and memory ------------------------------------------------------


def test_a_shim_that_the_loader_refuses(tmp_path: Path, memory: elf.Memory) -> None:
    path = compiled(tmp_path)
    foreign = tmp_path / "foreign.so"
    whole = bytearray(Path("/bin/true").read_bytes())
    whole[18:20] = struct.pack("<H", 183)
    foreign.write_bytes(whole)
    torn = tmp_path / "torn.so"
    torn.write_bytes(b"\x7fELF")
    for shim in (foreign, torn):
        verdict = check(path, shim, memory)
        assert verdict.door == ""
        assert verdict.reason.startswith(f"{path} does not take the shim: ERROR: ld.so")


def test_a_program_that_misses_a_library(
    tmp_path: Path, standin: Path, memory: elf.Memory
) -> None:
    """It fails by itself, with its loader's own words and status."""
    (tmp_path / "lib.c").write_text("int f(void) { return 0; }\n")
    library = tmp_path / "libgone.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "lib.c"], check=True
    )
    (tmp_path / "main.c").write_text("int f(void); int main(void) { return f(); }\n")
    path = tmp_path / "needs"
    subprocess.run(["gcc", "-o", path, tmp_path / "main.c", library], check=True)
    library.unlink()
    assert check(path, standin, memory).door == "preload"


def test_what_is_remembered(tmp_path: Path, standin: Path, memory: elf.Memory) -> None:
    path = compiled(tmp_path)
    code = (
        "import sys; from pathlib import Path; from hijack import elf;"
        "v = elf.check([sys.argv[1]], {'PATH': '/bin'}, Path(sys.argv[2]),"
        " memory=elf.Memory(Path(sys.argv[3])));"
        "print(v.door, 'elftools' in sys.modules, 'subprocess' in sys.modules)"
    )

    def look() -> str:
        line = [sys.executable, "-c", code, path, standin, tmp_path / "programs"]
        done = subprocess.run(
            line,
            env={"PYTHONPATH": str(ROOT), "PATH": "/bin", "HOME": "/"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert look() == "preload True True"
    assert look() == "preload False False"
    # Another program in its place is another program.
    (tmp_path / "x").mkdir()
    compiled(tmp_path / "x", "-static").rename(path)
    assert look() == "loader True False"
    assert look() == "loader False False"
    assert check(path, standin, memory).door == "loader"
    # What is unreadable is forgotten.
    for kept in (tmp_path / "programs").iterdir():
        kept.write_text("{")
    assert check(path, standin, memory).door == "loader"


def test_a_cache_that_cannot_be_written(tmp_path: Path, standin: Path) -> None:
    path = compiled(tmp_path)
    assert check(path, standin, elf.Memory(Path("/proc/none"))).door == "preload"


def test_errors_have_a_shells_status() -> None:
    assert UklError("x").status == 125
    assert elf.CannotRunError("x").status == 126
    assert elf.NotFoundError("x").status == 127
