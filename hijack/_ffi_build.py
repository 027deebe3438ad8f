"""Writes the C source of ``hijack._libukl``, the binding of libukl.

Run by meson: ``_ffi_build.py UKL_H ABI_H OUTPUT``.  The functions and constants
are read from the headers themselves; of the shared structures only the fields
that Python looks at are named, and the C compiler fills in where they are.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cffi  # type: ignore[import-untyped]

# Fields that hijack.instance and hijack.running read; everything else stays opaque.
STRUCTURES = """
struct ukl_thread { unsigned int id, state; int tid, ktid; ...; };
struct ukl_proc { unsigned int state, flags; int pid; ...; };
struct ukl_shared {
    unsigned int dead;
    char last_words[...];
    unsigned long log_head;
    char log[...];
    struct ukl_proc proc[...];
    struct ukl_thread thread[...];
    ...;
};
struct ukl_image {
    unsigned long magic;
    unsigned int version;
    struct ukl_shared *shared;
    char release[...];
    ...;
};
"""

# Calls whose waits end for the signals that Python handles.  Python's handlers
# only set a flag, so they run first and the poke sends the call home to them.
CALLS = """
long ukl_py_syscall(struct ukl_thread *th, long nr, long a, long b, long c,
                    long d, long e, long f);
int ukl_py_catch(int sig);
void ukl_py_release(int sig);
"""

SOURCE = """
#include <signal.h>
#include <ukl/ukl.h>

static __thread struct ukl_thread *calling;
static struct sigaction before[65];

static void on_signal(int sig, siginfo_t *info, void *context)
{
    struct ukl_thread *th = calling;

    if (before[sig].sa_flags & SA_SIGINFO)
        before[sig].sa_sigaction(sig, info, context);
    else
        before[sig].sa_handler(sig);
    if (th)
        ukl_poke(th);
}

/* Wraps the handler of @sig, if it has one; -1 if not. */
static int ukl_py_catch(int sig)
{
    struct sigaction act;

    if (sigaction(sig, NULL, &act) || act.sa_handler == SIG_DFL ||
        act.sa_handler == SIG_IGN || act.sa_sigaction == on_signal)
        return -1;
    before[sig] = act;
    act.sa_sigaction = on_signal;
    act.sa_flags |= SA_SIGINFO | SA_ONSTACK;
    return sigaction(sig, &act, NULL);
}

static void ukl_py_release(int sig)
{
    struct sigaction act;

    if (!sigaction(sig, NULL, &act) && act.sa_sigaction == on_signal)
        sigaction(sig, &before[sig], NULL);
}

static long ukl_py_syscall(struct ukl_thread *th, long nr, long a, long b,
                           long c, long d, long e, long f)
{
    long ret;

    calling = th;
    ret = ukl_syscall(th, nr, a, b, c, d, e, f);
    calling = NULL;
    return ret;
}
"""

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CONSTANT = re.compile(r"^#define[ \t]+(UKL_\w+)[ \t]+\S", re.MULTILINE)
_DIRECTIVE = re.compile(r"^#.*$", re.MULTILINE)
_EXTERN_C = re.compile(r"#ifdef __cplusplus.*?#endif", re.DOTALL)
_LENGTH = re.compile(r"\[\w+\]")


def constants(header: str) -> list[str]:
    """The names of a header's object-like macros that have a value."""
    return _CONSTANT.findall(_COMMENT.sub(" ", header))


def declarations(header: str) -> str:
    """What a C parser without a preprocessor can read of a header.

    Array lengths are left to the compiler: they are macros.
    """
    text = _COMMENT.sub(" ", header)
    text = _EXTERN_C.sub("", text)
    text = _DIRECTIVE.sub("", text)
    return _LENGTH.sub("[...]", text)


def builder(ukl_h: str, abi_h: str) -> cffi.FFI:
    """The declarations of both headers; ``emit_c_code`` makes C of them."""
    ffi = cffi.FFI()
    names = dict.fromkeys(constants(abi_h) + constants(ukl_h))
    ffi.cdef("\n".join(f"#define {name} ..." for name in names))
    ffi.cdef(STRUCTURES)
    ffi.cdef(declarations(ukl_h))
    ffi.cdef(CALLS)
    ffi.set_source("hijack._libukl", SOURCE)
    return ffi


def main() -> int:
    """Entry of the build step."""
    ukl_h, abi_h, output = sys.argv[1:]
    builder(Path(ukl_h).read_text(), Path(abi_h).read_text()).emit_c_code(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
