"""Looks at a program before it is started: which door leads into the instance?

A dynamic program's own loader preloads the shim.  Where it would not, or where
nobody knows, the shim is executed and loads the program itself.  A program that
would run on the host without anybody noticing is refused with its reason.

What is in the file is remembered by path, inode, times and size, and pyelftools
is imported only for a file that is new.  What depends on the user (set-id bits,
permission) is asked each time.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hijack import paths
from hijack.errors import UklError
from hijack.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXIT_CANNOT_RUN = 126
EXIT_NOT_FOUND = 127

DOORS = ("preload", "loader")
"""The ways in that this version has, see doc/design.md."""

_FORMAT = 2
_LINE = 256  # what the kernel reads of a script (BINPRM_BUF_SIZE)
_MOST_INTERPRETERS = 5  # nested scripts, see fs/exec.c
_PATIENCE = 10.0

_NETWORK_CAPABILITIES = frozenset(
    {"cap_net_bind_service", "cap_net_broadcast", "cap_net_admin", "cap_net_raw"}
)
# capabilities(7), in the order of their numbers.
# fmt: off
_CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid",
    "setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast",
    "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio",
    "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write",
    "audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm",
    "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
)
# fmt: on


class CannotRunError(UklError):
    """A program that is there and cannot be run; exit status 126, as a shell's."""

    status = EXIT_CANNOT_RUN


class NotFoundError(UklError):
    """A program that is not there; exit status 127, as a shell's."""

    status = EXIT_NOT_FOUND


# -- what is in a file ---------------------------------------------------------


class Facts(Record):
    """What a program's file says; the same for every user."""

    kind: str
    """dynamic, static, static-pie, library, script, text, or unknown."""
    machine: str = ""
    """x86-64, or the architecture it was built for instead."""
    bits: int = 0
    loader: str = ""
    """The path of its dynamic loader, or of its script's interpreter."""
    argument: str = ""
    """What follows the interpreter in a script's first line."""
    libc: str = ""
    """glibc or musl; empty if it is neither, or needs no library."""
    go: bool = False
    sanitizer: str = ""
    """address or thread, if it is linked with that runtime's shared library."""


def identity(path: Path) -> list[object]:
    """What changes when a file does: path, device, inode, times in ns, size."""
    status = path.stat()
    return [
        str(path),
        status.st_dev,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
    ]


def read_facts(path: Path) -> Facts:
    """Read a program's file.

    Raises OSError if it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(_LINE)
        if head.startswith(b"#!"):
            return _script(head)
        if head.startswith(b"\x7fELF"):
            return _elf(stream)
    if head and b"\0" not in head:
        return Facts("text")
    return Facts("unknown")


def _script(head: bytes) -> Facts:
    """The first line of a script, cut as the kernel cuts it."""
    line = head[2:].split(b"\n")[0].strip(b" \t")
    words = line.split(None, 1)
    if not words:
        return Facts("unknown")
    rest = words[1] if len(words) > 1 else b""
    return Facts("script", loader=os.fsdecode(words[0]), argument=os.fsdecode(rest))


def _elf(stream: Any) -> Facts:
    # Imported here: it costs more than a whole warm start.
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        return _facts(ELFFile(stream))
    except (ELFError, ValueError, KeyError, struct.error, UnicodeDecodeError):
        return Facts("unknown")


def _facts(elf: Any) -> Facts:
    machine = elf["e_machine"]
    name = "x86-64" if machine == "EM_X86_64" else elf.get_machine_arch()
    if machine == "EM_X86_64" and elf.elfclass == 32:
        name = "x32"
    loader, needed, pie, dynamic = "", [], False, False
    go = False
    for segment in elf.iter_segments():
        kind = segment["p_type"]
        if kind == "PT_INTERP":
            loader = segment.get_interp_name()
        elif kind == "PT_DYNAMIC":
            dynamic = True
            for tag in segment.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(tag.needed)
                elif tag.entry.d_tag == "DT_FLAGS_1":
                    pie = bool(tag.entry.d_val & 0x08000000)  # DF_1_PIE
        elif kind == "PT_NOTE":
            go = go or any(note["n_name"] == "Go" for note in segment.iter_notes())
    if loader:
        shape = "dynamic"
    elif elf["e_type"] == "ET_DYN":
        # ld.so itself has no interpreter, but it has an entry.
        runs = pie or not dynamic or elf["e_entry"]
        shape = "static-pie" if runs else "library"
    elif elf["e_type"] == "ET_EXEC":
        shape = "static"
    else:
        shape = "unknown"
    base = Path(loader).name
    libc = "glibc" if base.startswith("ld-linux") else ""
    libc = "musl" if base.startswith("ld-musl") else libc
    if not needed:
        # Nobody would tell the shim of the environment.
        libc = ""
    sanitizer = ""
    for library in needed:
        if library.startswith(("libasan.so", "libclang_rt.asan")):
            sanitizer = "address"
        elif library.startswith(("libtsan.so", "libclang_rt.tsan")):
            sanitizer = "thread"
    return Facts(
        shape,
        machine=name,
        bits=elf.elfclass,
        loader=loader,
        libc=libc,
        go=go or elf.get_section_by_name(".go.buildinfo") is not None,
        sanitizer=sanitizer,
    )


class Memory:
    """What was found out about programs, below the cache; one file for each.

    A cache that cannot be written to is no error: the work is done again.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or paths.cache_root() / "programs"

    def _file(self, path: Path) -> Path:
        from hashlib import sha256

        return self._directory / sha256(os.fsencode(path)).hexdigest()[:24]

    def get(self, path: Path, key: list[object]) -> dict[str, Any] | None:
        """What was kept for a file with this identity."""
        try:
            kept = json.loads(self._file(path).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.get("key") != [_FORMAT, *key]:
            return None
        return kept

    def put(self, path: Path, key: list[object], value: Mapping[str, Any]) -> None:
        """Keep ``value`` for a file with this identity."""
        where = self._file(path)
        partial = where.with_name(f".{where.name}.{os.getpid()}")
        with suppress(OSError):
            where.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({**value, "key": [_FORMAT, *key]}))
            partial.rename(where)


def facts_of(path: Path, memory: Memory) -> Facts:
    """The facts of a program, remembered or read.

    Raises OSError if it cannot be read.
    """
    key = identity(path)
    kept = memory.get(path, key)
    if kept is not None:
        with suppress(TypeError, KeyError):
            return Facts(**kept["facts"])
    facts = read_facts(path)
    memory.put(path, key, {"facts": facts.as_dict()})
    return facts


# -- what the user may do ------------------------------------------------------


def find(command: str, environment: Mapping[str, str]) -> str:
    """The file that ``command`` names: a shell's choice, or else root's.

    Raises NotFoundError and CannotRunError, as a shell's 127 and 126.
    """
    return _find(command, paths.search_path(environment))


def _find(command: str, search: str) -> str:
    if not command:
        raise NotFoundError("the command is empty", "name a program")
    if "/" in command:
        _runnable(command)
        return command
    refused: CannotRunError | None = None
    for entry in search.split(":"):
        path = f"{entry.rstrip('/') or entry or '.'}/{command}"
        try:
            _runnable(path)
            return path
        except CannotRunError as error:
            refused = refused or (None if _is_directory(path) else error)
        except NotFoundError:
            continue
    raise refused or NotFoundError(
        f"{command}: command not found", "give its path, or look at PATH"
    )


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(Path(path).stat().st_mode)
    except OSError:
        return False


def _runnable(path: str) -> None:
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFoundError(f"{path}: {error.strerror}") from None
        raise CannotRunError(f"{path}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise CannotRunError(f"{path} is a directory", "name a program in it")
    if not stat.S_ISREG(mode):
        raise CannotRunError(f"{path} is not a regular file")
    if not os.access(path, os.X_OK, effective_ids=True):
        if not mode & 0o111:
            raise CannotRunError(f"{path} is not executable", f"chmod +x {path}")
        raise CannotRunError(f"{path}: {os.strerror(errno.EACCES)}")


def capabilities(path: Path) -> frozenset[str]:
    """The file capabilities of a program, by the names of capabilities(7)."""
    try:
        data = os.getxattr(path, "security.capability")
    except OSError:
        return frozenset()
    if len(data) < 12:
        return frozenset()
    words = struct.unpack_from("<4I" if len(data) >= 20 else "<2I", data, 4)
    bits = words[0] | words[1]
    if len(words) == 4:
        bits |= (words[2] | words[3]) << 32
    return frozenset(
        f"cap_{_CAPABILITIES[n]}" if n < len(_CAPABILITIES) else f"cap_{n}"
        for n in range(64)
        if bits >> n & 1
    )


def _powerless(path: Path) -> bool:
    """Whether set-id bits and capabilities of the file mean nothing here."""
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        return True
    with suppress(OSError):
        return "\nNoNewPrivs:\t1\n" in Path("/proc/self/status").read_text()
    return False


# -- the verdict ---------------------------------------------------------------


class Verdict(Record):
    """How a command can be run; see :func:`check`."""

    door: str
    """``preload`` or ``loader``; empty if there is none."""
    reason: str
    """Why that door, or why none, in one clause."""
    mend: str
    """For a refusal: what the user can do."""
    program: Path
    """The program that decides: the last interpreter of a script."""
    run: str
    """What the program is called, in the words a shell would use."""
    argv: tuple[str, ...]
    """Its arguments, the first of which is its name."""
    why: str = ""
    """The reason in a word, where it is not that every program is so."""
    execute: str = ""
    """What is executed, if it is not ``run``."""
    words: tuple[tuple[str, str], ...] = ()
    """What the shim must be told in the environment."""

    def must_be_open(self) -> None:
        """Raise CannotRunError if there is no door."""
        if not self.door:
            raise CannotRunError(self.reason, self.mend)

    @property
    def door_and_why(self) -> str:
        """The door as ``ukl ps`` shows it."""
        return f"{self.door} ({self.why})" if self.why else self.door


_HOST = "--allow-host runs it on the host's kernel"


class _Look(Record):
    """What the steps of a check share."""

    run: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    shim: Path
    via: str
    memory: Memory
    name: str = ""
    """What the file that is looked at is called."""
    loaded: tuple[str, ...] = ()
    """The arguments if the loader door is taken, which knows no scripts."""

    def refuse(self, path: Path, reason: str, mend: str = _HOST) -> Verdict:
        """There is no door for ``path``."""
        return Verdict("", f"{path} {reason}", mend, path, self.run, self.argv)

    def load(self, path: Path, reason: str, why: str) -> Verdict:
        """The loader door for ``path``."""
        if not os.access(self.shim, os.X_OK):
            return self.refuse(
                path,
                f"is {reason}, and the shim {self.shim} that loads it is not "
                "executable",
                f"chmod +x {self.shim}",
            )
        words = [("UKL_PROGRAM", self.run)]
        if self.name != self.run:
            words.append(("UKL_IMAGE", self.name))
        if self.via == "loader":
            words.append(("UKL_VIA", "loader"))
        return Verdict(
            "loader",
            reason,
            "",
            path,
            self.run,
            self.loaded,
            why,
            str(self.shim),
            tuple(words),
        )


def check(
    command: Sequence[str],
    environment: Mapping[str, str],
    shim: Path,
    *,
    via: str = "auto",
    memory: Memory | None = None,
) -> Verdict:
    """Find a command's program and the door for it.

    ``environment`` is the target's.  ``via`` is a door, or ``auto``: a door
    that is named is used in spite of doubts, but not if the shim could not be
    loaded.  ``loader`` holds for all that the target executes, too.  Raises
    NotFoundError, and CannotRunError for a file that nobody could run; a program
    that could run, but not with the shim, is a verdict.
    """
    run = find(command[0], environment)
    argv = tuple(command)
    look = _Look(run, argv, environment, shim, via, memory or Memory(), run, argv)
    return _judge(Path(run), look, 0)


def _judge(path: Path, look: _Look, depth: int) -> Verdict:
    """The verdict on ``path``, one of those that the command leads to."""
    if depth > _MOST_INTERPRETERS:
        raise CannotRunError(f"{look.run}: {os.strerror(errno.ELOOP)}")
    try:
        facts = facts_of(path, look.memory)
    except OSError as error:
        return look.refuse(path, f"cannot be read: {error.strerror}")
    if facts.kind == "script":
        return _judge_script(path, facts, look, depth)
    if facts.kind == "text" and path == Path(look.run):
        # As execvp() does.
        shell = "/bin/sh"
        line = (shell, look.run, *look.argv[1:])
        look = look.replace(run=shell, argv=line, name=shell, loaded=line)
        return _judge(Path(shell), look, depth + 1)
    if facts.kind in ("unknown", "text"):
        raise CannotRunError(f"{path} is not a program: {os.strerror(errno.ENOEXEC)}")
    if facts.kind == "library":
        raise CannotRunError(f"{path} is a shared library, not a program")
    if facts.machine != "x86-64":
        return look.refuse(
            path, f"is a program for {facts.machine}; ukl runs x86-64 programs"
        )
    if facts.loader and not os.access(facts.loader, os.X_OK):
        mend = f"install {facts.libc}" if facts.libc else ""
        raise NotFoundError(
            f"{path} cannot start: its loader {facts.loader} is not there", mend
        )
    if facts.sanitizer == "thread":
        return look.refuse(
            path,
            "is built with ThreadSanitizer, which wants the library kernel's "
            "addresses for itself",
            f"build it without; {_HOST}",
        )
    if facts.kind != "dynamic" and look.via == "preload":
        what = "a Go program and " if facts.go else ""
        return look.refuse(
            path,
            f"is {what}statically linked, and only a dynamic loader preloads the shim",
            f"leave out --via preload; {_HOST}",
        )
    return _judge_privilege(path, facts, look)


def _why_loader(facts: Facts, look: _Look) -> tuple[str, str]:
    """Why a program does not go by the preload door, in a clause and a word.

    Both are empty if it does.
    """
    if facts.kind != "dynamic":
        shape = "static-PIE" if facts.kind == "static-pie" else "static"
        if facts.go:
            return f"a {shape} Go program", "Go"
        return f"a {shape} program", shape
    if look.via == "loader":
        return "a dynamic program, and --via loader", "--via"
    if look.via == "preload":
        return "", ""
    if facts.sanitizer == "address":
        return (
            "a program built with AddressSanitizer, which must be loaded first",
            "AddressSanitizer",
        )
    if not facts.libc:
        return (
            f"a program without a libc that ukl knows, of {facts.loader}",
            "Go" if facts.go else "no known libc",
        )
    return "", ""


def _judge_script(path: Path, facts: Facts, look: _Look, depth: int) -> Verdict:
    interpreter = Path(facts.loader)
    try:
        _runnable(facts.loader)
    except NotFoundError:
        raise NotFoundError(
            f"{path}: its interpreter {facts.loader} is not there"
        ) from None
    except CannotRunError as error:
        raise CannotRunError(f"{path}: its interpreter {error.message}") from None
    arguments = (facts.argument,) if facts.argument else ()
    loaded = (facts.loader, *arguments, look.name, *look.loaded[1:])
    inner = look.replace(name=facts.loader, loaded=loaded)
    first = _judge(interpreter, inner, depth + 1)
    if not first.door or interpreter.name != "env":
        return first
    command = _env_command(facts.argument)
    if command is None:
        return first
    try:
        behind = _find(command, look.environment.get("PATH", paths.DEFAULT_PATH))
    except NotFoundError:
        raise NotFoundError(f"{path}: env: {command}: command not found") from None
    # That is executed by env, whose door is the one that opens first.
    second = _judge(Path(behind), look.replace(name=behind), depth + 1)
    return first if second.door else second


def _env_command(argument: str) -> str | None:
    """The command in the argument of ``#!/usr/bin/env``; None: cannot tell."""
    split = argument.startswith("-S")
    words = argument.removeprefix("-S").split() if split else [argument]
    for word in words:
        if word.startswith("-"):
            return None
        if word and "=" not in word:
            return word
    return None


def _judge_privilege(path: Path, facts: Facts, look: _Look) -> Verdict:
    """The door, with regard to the rights that the host would give a program.

    ld.so drops LD_PRELOAD for one that gets more than the user has (man 8 ld.so).
    """
    reason, why = _why_loader(facts, look)
    if not _powerless(path):
        status = path.stat()
        unshimmed = "and the host loads no shim into such programs"
        if status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid():
            return look.refuse(
                path,
                f"is set-user-ID, {unshimmed}",
                f"run ukl-run as its owner; {_HOST}",
            )
        group = stat.S_ISGID | stat.S_IXGRP
        if status.st_mode & group == group and status.st_gid != os.getegid():
            return look.refuse(
                path,
                f"is set-group-ID, {unshimmed}",
                f"run ukl-run with its group; {_HOST}",
            )
        granted = capabilities(path) if os.getuid() != 0 else frozenset()
        names = ", ".join(sorted(granted))
        if granted - _NETWORK_CAPABILITIES:
            return look.refuse(
                path,
                f"has file capabilities ({names}), {unshimmed}",
                f"run ukl-run as root; {_HOST}",
            )
        if granted and look.via == "preload":
            return look.refuse(
                path,
                f"has file capabilities ({names}), {unshimmed}",
                f"leave out --via preload; {_HOST}",
            )
        if granted and not why:
            # Loaded by us it has none of them, and needs none: the library kernel
            # grants what is about the network.
            reason = f"a program with capabilities about the network only ({names})"
            why = "capabilities"
    if why:
        return look.load(path, reason, why)
    refused = preflight(path, facts, look)
    if refused:
        return look.refuse(path, f"does not take the shim: {refused}")
    reason = f"a dynamic program of {facts.libc or 'an unknown libc'}"
    return Verdict("preload", reason, "", path, look.run, look.argv)


def preflight(path: Path, facts: Facts, look: _Look) -> str:
    """Whether the program's own loader takes the shim; empty, or what it said.

    The loader lists what it would load, and runs nothing of it.
    """
    memory = look.memory
    key = identity(path)
    loader = Path(facts.loader)
    subject = [identity(loader), identity(look.shim)]
    kept = memory.get(path, key) or {}
    if kept.get("loaded") == subject:
        return ""
    # Imported here: a warm start does without.
    import subprocess

    line = [facts.loader, "--list", str(path)]
    environment = {
        name: value for name, value in look.environment.items() if name[:3] != "LD_"
    }
    if "LD_LIBRARY_PATH" in look.environment:
        environment["LD_LIBRARY_PATH"] = look.environment["LD_LIBRARY_PATH"]
    environment["LD_PRELOAD"] = str(look.shim)
    try:
        done = subprocess.run(
            line,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"its loader cannot be asked: {error}"
    listed = [row.strip() for row in done.stdout.splitlines()]
    if any(row.startswith(str(look.shim)) for row in listed):
        memory.put(path, key, {"facts": facts.as_dict(), "loaded": subject})
        return ""
    if done.returncode and "oading shared librar" in done.stderr:
        # A library of its own is missing: it would not start on the host either,
        # and says so itself.
        return ""
    said = done.stderr.strip().splitlines()
    return said[0] if said else "its loader leaves it out without a word"
