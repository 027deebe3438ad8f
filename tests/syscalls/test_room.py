"""The laws of the shim's room (libhijack_c/README.md), looked up in what was built."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from inside import Inside, need
from tinytree import ROOT

MAY_BE_ASKED = {"environ", "gnu_get_libc_version"}
"""Weak: whichever libc there is, or none."""


def output(*line: object) -> str:
    return subprocess.run(
        [str(word) for word in line], capture_output=True, text=True, check=True
    ).stdout


def test_it_needs_no_library(shim: Path) -> None:
    need("readelf", "nm")
    assert "NEEDED" not in output("readelf", "-d", shim)
    undefined = output("nm", "-D", "--undefined-only", shim).split("\n")
    names = {line.split()[-1] for line in undefined if line.strip()}
    assert names <= MAY_BE_ASKED


def test_it_exports_nothing(shim: Path) -> None:
    assert output("nm", "-D", "--defined-only", shim) == ""


def test_no_thread_local_storage_and_no_vector_register(shim: Path) -> None:
    need("objdump")
    assert " TLS " not in output("readelf", "-lW", shim)
    code = output("objdump", "-d", "--no-show-raw-insn", shim)
    assert "%fs:" not in code
    assert not re.search(r"%[xyz]mm\d|%st|%mm\d|%k\d", code)


def test_system_calls_only_in_the_stub_page(shim: Path) -> None:
    symbols = {
        name: int(value, 16)
        for value, _, name in (
            line.split()
            for line in output("nm", shim).splitlines()
            if len(line.split()) == 3
        )
    }
    begin, end = symbols["stub_start"], symbols["stub_end"]
    trap = symbols["ukl_deliver_trap"] - 2
    code = output("objdump", "-d", "--no-show-raw-insn", shim)
    found = [
        int(match[1], 16)
        for match in re.finditer(r"^\s*([0-9a-f]+):\s+syscall", code, re.M)
    ]
    assert len(found) > 5
    assert [at for at in found if not begin <= at < end] == [trap]


LOOK = """
import ctypes, os
tid = os.getpid()
own = f"/proc/{tid}/task/{tid}/fd"
for place in "/proc/self/fd", "/dev/fd", "/proc/self/fdinfo", own:
    print(*sorted(int(name) for name in os.listdir(place)))
for fd in range(5000):
    if os.path.lexists(f"/proc/self/fd/{fd}"):
        print(fd, os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
fd = os.open("/proc/self/fd", os.O_RDONLY)
room = ctypes.create_string_buffer(4096)
got = ctypes.CDLL(None).syscall(78, fd, room, 4096)  # getdents
print(got, *sorted(word for word in room.raw[:got].split(b"\\0") if word.isdigit()))
"""


def test_the_program_sees_nothing_of_it(inside: Inside) -> None:
    script = "env | grep -E 'UKL_(INSTANCE|STATE|REWRITE|TRACE)|PRELOAD'"
    assert inside.run("bash", "-c", script).stdout == ""
    line = ["python3", "-c", LOOK]
    host = subprocess.run(line, input="", capture_output=True, text=True, check=True)
    assert len(host.stdout.splitlines()) == 8
    for loader in False, True:
        assert inside.run(*line, loader=loader).stdout == host.stdout
    mine = {"LD_PRELOAD": f"{inside.shim}:/usr/lib/x86_64-linux-gnu/libm.so.6"}
    got = inside.run(
        "sh", "-c", "echo $LD_PRELOAD; sh -c 'echo $LD_PRELOAD'", extra=mine
    )
    assert got.stdout == "/usr/lib/x86_64-linux-gnu/libm.so.6\n" * 2


def test_rewriting_really_rewrites(inside: Inside, tmp_path: Path) -> None:
    source = tmp_path / "s.c"
    source.write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        "int main(void) { for (int i = 0; i < 1000; i++) { getppid(); read(-1, 0, 0); }"
        'printf("%d %d", *(unsigned char *)getppid == 0xe9,'
        "*(unsigned char *)read == 0xe9); }\n"
    )
    subprocess.run(["gcc", "-o", tmp_path / "s", source], check=True)
    for how, sees in ("off", "0 0"), ("now", "1 1"), ("", "1 1"):
        got = inside.run(tmp_path / "s", extra={"UKL_REWRITE": how})
        assert got.stdout == sees


INLINED = """
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
extern char site_put[], site_get[], site_odd[];
static int fd;
static char before[3][40];
#define CALL(label, nr, a, b, c) ({ long ret_; \
    register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0; \
    __asm__ volatile(label ": syscall" : "=a"(ret_) : "a"(nr), "D"(a), "S"(b), \
        "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory"); ret_; })
static __attribute__((noinline)) long both(long n) {
    long v = n;
    if (CALL("site_put", SYS_write, (long)fd, &v, 8L) != 8) return -1;
    v = 0;
    return CALL("site_get", SYS_read, (long)fd, &v, 8L) == 8 ? v : -1;
}
/* Nothing here is long enough to become a jump. */
__asm__("odd: push %rdi; pop %rax; site_odd: syscall; ret");
extern long odd(long nr);
int main(void) {
    char *site[3] = { site_put, site_get, site_odd };
    long i, sum = 0;
    fd = eventfd(0, 0);
    for (i = 0; i < 3; i++) memcpy(before[i], site[i] - 40, 40);
    for (i = 1; i <= 1000; i++) { sum += both(i); odd(SYS_getppid); }
    printf("%ld", sum);
    for (i = 0; i < 3; i++)
        printf(" %d", !!memcmp(before[i], site[i] - 40, 40));
}
"""


def test_inlined_calls_are_rewritten(inside: Inside, tmp_path: Path) -> None:
    """What a compiler puts between the number and the call is moved with it."""
    source = tmp_path / "s.c"
    source.write_text(INLINED)
    for words in (["-O2"], ["-O2", "-static"], ["-O2", "-no-pie"], ["-O1"]):
        subprocess.run(["gcc", *words, "-o", tmp_path / "s", source], check=True)
        loader = "-static" in words
        for how, sees in ("off", "0 0 0"), ("now", "1 1 0"), ("", "1 1 0"):
            extra = {"UKL_REWRITE": how}
            got = inside.run(tmp_path / "s", extra=extra, loader=loader)
            assert got.stdout == f"500500 {sees}", (words, how, got.stderr)


DECODER = """
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
typedef unsigned char u8;
FUNCTION
int main(void)
{
    char line[512], *p;
    long known = 0;
    int rel, n, len;
    while (fgets(line, sizeof(line), stdin)) {
        u8 b[64] = { 0 };
        for (len = 0, p = line; *p && *p != '\\n'; len++) {
            b[len] = strtol(p, &p, 16);
            while (*p == ' ')
                p++;
        }
        n = simple(b, b + 48, &rel);
        known += n > 0;
        if (n && n != len)
            printf("%d for %s", n, line);
    }
    printf("%ld\\n", known);
}
"""


def test_the_decoder_knows_what_it_moves(tmp_path: Path) -> None:
    """It agrees with objdump about every instruction that it knows, in all of libc."""
    need("objdump")
    room = (ROOT / "libhijack_c" / "rewrite.c").read_text()
    function = re.search(r"^static int simple\(.*?^}$", room, re.M | re.S)
    assert function is not None
    source = tmp_path / "d.c"
    source.write_text(DECODER.replace("FUNCTION", function[0]))
    subprocess.run(["gcc", "-O1", "-w", "-o", tmp_path / "d", source], check=True)
    libc = next(Path("/usr/lib/x86_64-linux-gnu").glob("libc.so.6"))
    rows = output("objdump", "-dw", libc).splitlines()
    code = [row.split("\t")[1] for row in rows if row.count("\t") >= 2]
    assert len(code) > 100_000
    said = subprocess.run(
        [tmp_path / "d"],
        input="\n".join(code) + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wrong, known = said.splitlines()[:-1], int(said.splitlines()[-1])
    assert wrong == []
    assert known > len(code) / 3


def test_trace(inside: Inside, tmp_path: Path) -> None:
    program = "import socket; socket.socket().close(); open('/etc/passwd').close()"
    got = inside.run("/usr/bin/python3", "-c", program, extra={"UKL_TRACE": "ukl"})
    lines = got.stderr.splitlines()
    assert all(re.match(r"\[ukl\]  \d+ \w+\(.*\) = ", line) for line in lines)
    assert any(" socket(2, " in line for line in lines)
    where = tmp_path / "trace"
    extra = {"UKL_TRACE": f"all,{where}"}
    assert inside.run("/usr/bin/python3", "-c", program, extra=extra).stderr == ""
    text = where.read_text()
    assert re.search(
        r'^\[host\] \d+ openat\(-100, "/etc/passwd", .*\) = \d+$', text, re.M
    )
    assert re.search(r"^\[host\] \d+ exit_group\(0\) = \?$", text, re.M)
    wrong = inside.run("true", extra={"UKL_TRACE": "nonsense"})
    assert wrong.returncode == 125


def test_what_is_near_fits_a_page(shim: Path) -> None:
    """A fork copies it, and an exec fetches it, by one page fault."""
    (size, address) = next(
        (int(words[1]), int(words[2]))
        for words in map(str.split, output("size", "-A", shim).splitlines())
        if words[:1] == [".data"]
    )
    assert 0 < size <= 4096
    assert address % 4096 == 0
