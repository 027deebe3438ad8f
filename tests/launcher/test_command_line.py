"""What people can type wrong, what they are told, and with which exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from desk import Desk

RUN = "ukl-run --help lists the options"
UKL = "ukl --help lists the verbs, ukl VERB --help its options"

RUN_ERRORS: list[tuple[list[str], int, str]] = [
    ([], 125, f"no command is given ({RUN})"),
    (["--"], 125, f"no command is given ({RUN})"),
    (["-x", "true"], 125, f"No such option '-x' ({RUN})"),
    (
        ["--nmae", "x", "true"],
        125,
        f"No such option '--nmae'. (Did you mean one of: '--name', '--trace'?) ({RUN})",
    ),
    (["--name"], 125, f"Option '--name' requires an argument ({RUN})"),
    (["-n"], 125, f"Option '-n' requires an argument ({RUN})"),
    (
        ["--dry-run=yes", "true"],
        125,
        f"Option '--dry-run' does not take a value ({RUN})",
    ),
    (
        ["--via", "magic", "true"],
        125,
        "Invalid value for '--via': 'magic' is not one of 'auto', 'preload', "
        f"'loader' ({RUN})",
    ),
    (
        ["-n", "a b", "true"],
        125,
        "'a b' cannot name an instance "
        "(use letters, digits, '.', '_' and '-', and no sign first)",
    ),
    (
        ["-n", "../x", "true"],
        125,
        "'../x' cannot name an instance "
        "(use letters, digits, '.', '_' and '-', and no sign first)",
    ),
    (
        ["-n", "", "true"],
        125,
        "'' cannot name an instance "
        "(use letters, digits, '.', '_' and '-', and no sign first)",
    ),
    (
        ["-n", "w" * 41, "true"],
        125,
        "wwwwwwwwwwww… cannot name an instance: it is too long "
        "(use at most 40 letters)",
    ),
    (["-e", "A", "true"], 125, f"'A' is not NAME=VALUE, as --env wants it ({RUN})"),
    (["-e", "=b", "true"], 125, f"'=b' is not NAME=VALUE, as --env wants it ({RUN})"),
    (
        ["-e", "UKL_INSTANCE=x", "true"],
        125,
        f"UKL_INSTANCE is ukl's own and cannot be set with --env ({RUN})",
    ),
    (
        ["-s", "memory", "true"],
        125,
        f"'memory' is not KEY=VALUE, as --set wants it ({RUN})",
    ),
    (
        ["-P", "80", "true"],
        125,
        f"'80' is not [ADDRESS:]HOSTPORT:PORT[/udp], as --publish wants it ({RUN})",
    ),
    (
        ["-P", "8080:80/sctp", "true"],
        125,
        "'8080:80/sctp' is not [ADDRESS:]HOSTPORT:PORT[/udp], as --publish wants it "
        f"({RUN})",
    ),
    (
        ["-P", "8080:http", "true"],
        125,
        "'8080:http' is not [ADDRESS:]HOSTPORT:PORT[/udp], as --publish wants it "
        f"({RUN})",
    ),
    (
        ["-P", "127.0.0.1:70000:80", "true"],
        125,
        f"'127.0.0.1:70000:80': 70000 is not a port (1 to 65535) ({RUN})",
    ),
    (
        ["-P", "0:80", "true"],
        125,
        f"'0:80': 0 is not a port (1 to 65535) ({RUN})",
    ),
    (
        ["--trace", "", "true"],
        125,
        f"--trace wants a set of calls, for instance: network ({RUN})",
    ),
    (
        ["--pcap", "/nowhere/x.pcapng", "true"],
        125,
        "--capture /nowhere/x.pcapng: No such file or directory",
    ),
    (["--keep=1", "true"], 125, f"Option '--keep' does not take a value ({RUN})"),
    (
        ["-s", "sysctls.net.ipv4.nothing=1", "true"],
        125,
        "-s sysctls.net.ipv4.nothing=1: sysctls.net.ipv4.nothing: the library kernel "
        "has no such sysctl",
    ),
    ([""], 127, "the command is empty (name a program)"),
    (
        ["no-such-program"],
        127,
        "no-such-program: command not found (give its path, or look at PATH)",
    ),
    (["./nothing"], 127, "./nothing: No such file or directory"),
    (["./plain/file"], 127, "./plain/file: Not a directory"),
    (["/"], 126, "/ is a directory (name a program in it)"),
    (["./plain"], 126, "./plain is not executable (chmod +x ./plain)"),
    (["/dev/null"], 126, "/dev/null is not a regular file"),
    (["./zeros"], 126, "zeros is not a program: Exec format error"),
    (
        ["./script"],
        127,
        "script: its interpreter /no/such/interpreter is not there",
    ),
    (["./loop"], 126, "./loop: Too many levels of symbolic links"),
    (["./round"], 126, "./round: Too many levels of symbolic links"),
    (
        ["./envscript"],
        127,
        "envscript: env: no-such-program: command not found",
    ),
]


def furnish(directory: Path) -> None:
    """The files that the table names."""
    (directory / "plain").write_text("echo hello\n")
    files = {
        "zeros": b"\0" * 64,
        "script": b"#!/no/such/interpreter\n",
        "round": f"#!{directory}/round\n".encode(),
        "envscript": b"#!/usr/bin/env no-such-program\n",
    }
    for name, data in files.items():
        (directory / name).write_bytes(data)
        (directory / name).chmod(0o755)
    (directory / "loop").symlink_to("loop")


@pytest.mark.parametrize(("arguments", "status", "words"), RUN_ERRORS)
def test_run_errors(desk: Desk, arguments: list[str], status: int, words: str) -> None:
    furnish(desk.directory)
    done = desk.run(*arguments)
    assert (done.status, done.out, done.err) == (status, "", f"ukl: {words}\n")
    desk.settle()


UKL_ERRORS: list[tuple[list[str], int, str]] = [
    ([], 125, f"Missing command ({UKL})"),
    (["nonsense"], 125, f"No such command 'nonsense' ({UKL})"),
    (["exec"], 125, f"Missing argument 'INSTANCE' ({UKL})"),
    (["exec", "web"], 125, f"no command is given ({UKL})"),
    (
        ["exec", "web", "true"],
        125,
        "no instance named web is running (ukl ps lists them)",
    ),
    (
        ["exec", "a/b", "true"],
        125,
        "'a/b' cannot name an instance "
        "(use letters, digits, '.', '_' and '-', and no sign first)",
    ),
    (["stop"], 125, f"no instance is named ({UKL})"),
    (["stop", "web"], 1, "no instance named web is running (ukl ps lists them)"),
    (["stop", "-a", "web"], 125, f"--all and names do not go together ({UKL})"),
    (
        ["stop", "-t", "soon", "web"],
        125,
        f"Invalid value for '-t' / '--timeout': 'soon' is not a valid float range "
        f"({UKL})",
    ),
    (["logs"], 125, f"Missing argument 'INSTANCE' ({UKL})"),
    (["logs", "web"], 1, "no instance named web is running (ukl ps lists them)"),
    (["logs", "a", "b"], 125, f"Got unexpected extra argument (b) ({UKL})"),
    (["exec", "-x", "web", "true"], 125, f"No such option '-x' ({UKL})"),
    (
        ["build", "--config", "huge"],
        125,
        "Invalid value for '--config': 'huge' is not one of 'base', 'debug', 'small', "
        f"'kunit' ({UKL})",
    ),
    (
        ["build", "--jobs", "0"],
        125,
        f"Invalid value for '--jobs': 0 is not in the range x>=1 ({UKL})",
    ),
    (["doctor", "x"], 125, f"Got unexpected extra argument (x) ({UKL})"),
    (["profile"], 125, f"Missing command ({UKL})"),
    (["profile", "nonsense"], 125, f"No such command 'nonsense' ({UKL})"),
    (
        ["ps", "--jsn"],
        125,
        f"No such option '--jsn'. Did you mean '--json'? ({UKL})",
    ),
    (["ps", "web"], 125, f"Got unexpected extra argument (web) ({UKL})"),
    (
        ["run", "no-such"],
        127,
        "no-such: command not found (give its path, or look at PATH)",
    ),
]


@pytest.mark.parametrize(("arguments", "status", "words"), UKL_ERRORS)
def test_ukl_errors(desk: Desk, arguments: list[str], status: int, words: str) -> None:
    done = desk.ukl(*arguments)
    assert (done.status, done.out, done.err) == (status, "", f"ukl: {words}\n")


PROFILE_ERRORS: list[tuple[list[str], str]] = [
    (["-p", "none.yaml"], "none.yaml: No such file or directory"),
    (["-p", "plain", "-p", "."], ".: Is a directory"),
    (
        ["-s", "hostnme=x"],
        "-s hostnme=x: hostnme: unknown key (did you mean hostname?)",
    ),
    (
        ["-s", "kernel.memory=1"],
        "-s kernel.memory=1: kernel.memory: '1' is not a size such as 64M",
    ),
    (["-s", "ports=5", "-P", "1:1"], "-s ports=5: ports: give a list, not '5'"),
    (
        ["-P", "8080:80", "-P", "8080:81"],
        "-P 8080:81: ports[1]: tcp port 8080 is published by ports[0] already",
    ),
    (
        ["-P", "[::1:80:80"],
        "-P [::1:80:80: ports[0]: '[::1:80:80' is not "
        "[ADDRESS:]HOST-PORT:PORT[/PROTOCOL]",
    ),
    (
        ["-s", "network.ethernets.eth0.backend=none", "-P", "80:80"],
        "-P 80:80: ports: published ports need an interface with backend: user",
    ),
]


@pytest.mark.parametrize(("arguments", "line"), PROFILE_ERRORS)
def test_errors_of_the_profile(desk: Desk, arguments: list[str], line: str) -> None:
    """Those of files and of words of the command line are told alike."""
    (desk.directory / "plain").write_text("hostname: web\n")
    done = desk.run(*arguments, "true")
    assert (done.status, done.out) == (125, "")
    assert done.err == (
        f"{line}\n"
        "ukl: the profile has 1 error (doc/ukl-profile.5 describes every key)\n"
    )
    desk.settle()


def test_there_are_enough_of_them() -> None:
    """A floor under the tables: forty mistakes on the command line alone."""
    assert len(RUN_ERRORS) + len(UKL_ERRORS) + len(PROFILE_ERRORS) >= 40


def test_help_is_no_error(desk: Desk) -> None:
    done = desk.run("--help")
    assert done.status == 0
    assert done.err == ""
    assert done.out.startswith("Usage: ukl-run [OPTIONS] [--] COMMAND [ARG]...\n")
    done = desk.ukl("--help")
    assert done.status == 0
    for verb in ("run", "exec", "ps", "stop", "logs", "build", "doctor"):
        assert f"\n  {verb} " in done.out


def test_a_shim_that_has_not_been_built(desk: Desk) -> None:
    desk.shim = desk.directory / "none.so"
    done = desk.run("true")
    assert (done.status, done.out) == (125, "")
    assert done.err == "ukl: the shim has not been built (ukl build makes it)\n"
    desk.settle()


def test_a_path_that_cannot_be_preloaded(desk: Desk) -> None:
    shim = desk.directory / "with space.so"
    shim.symlink_to(desk.shim)
    desk.shim = shim
    done = desk.run("true")
    assert done.status == 125
    assert done.err == (
        f"ukl: the shim cannot be preloaded: its path {shim} has a space or a colon "
        "(set XDG_CACHE_HOME to a directory without)\n"
    )
    desk.settle()


def test_a_runtime_directory_that_others_may_read(desk: Desk) -> None:
    base = desk.directory / "ukl"
    base.mkdir()
    base.chmod(0o755)
    done = desk.run("true")
    assert done.status == 125
    assert done.err == (
        f"ukl: {base} is open to other users (chmod 700 {base} closes it to them)\n"
    )
    base.rmdir()
    base.symlink_to(desk.directory)
    done = desk.run("true")
    assert done.status == 125
    assert done.err == (
        f"ukl: {base} is not a directory of yours "
        "(remove it, or set XDG_RUNTIME_DIR to a directory of yours)\n"
    )
    base.unlink()


def test_a_runtime_directory_with_a_long_path(desk: Desk) -> None:
    long = desk.directory / ("l" * 90)
    long.mkdir()
    desk.environment["XDG_RUNTIME_DIR"] = str(long)
    done = desk.run("true")
    assert done.status == 125
    assert done.err == (
        f"ukl: the path {long}/ukl is too long for an instance's socket "
        "(set XDG_RUNTIME_DIR to a shorter one)\n"
    )
    assert list((long / "ukl").iterdir()) == []
