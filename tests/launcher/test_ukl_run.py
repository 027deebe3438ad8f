"""``ukl-run`` becomes its target: pid, terminal, signals, status, environment."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from desk import Desk, wait_for

from hijack import runtime


def attached(desk: Desk) -> list[tuple[int, str]]:
    """What the stand-in noted: the pid and the name of each attached process."""
    log = Path(desk.environment["STANDIN_LOG"])
    rows = (line.split() for line in log.read_text().splitlines())
    return [(int(row[0]), row[1]) for row in rows]


@pytest.fixture
def noted(desk: Desk) -> Desk:
    """A desk on which the stand-in notes who was attached."""
    desk.environment["STANDIN_LOG"] = str(desk.directory / "attached")
    return desk


def test_the_target_is_attached_and_keeps_the_pid(noted: Desk) -> None:
    process = noted.start("sh", "-c", "echo $$; exec true")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert int(out) == process.pid
    assert attached(noted) == [(process.pid, "sh"), (process.pid, "true")]


@pytest.mark.parametrize("status", [0, 1, 7, 125, 255])
def test_the_exit_status_is_the_targets(desk: Desk, status: int) -> None:
    done = desk.run("sh", "-c", f"exit {status}")
    assert (done.status, done.out, done.err) == (status, "", "")


def test_standard_streams_are_the_targets(desk: Desk) -> None:
    done = desk.run("sh", "-c", "cat; echo error >&2", text="words\n")
    assert (done.status, done.out, done.err) == (0, "words\n", "error\n")


def test_options_stop_at_the_command(desk: Desk) -> None:
    assert desk.run("echo", "-n", "--name", "x").out == "--name x"
    assert desk.run("--", "echo", "--", "-p").out == "-- -p\n"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL]
)
def test_signals_reach_the_target(noted: Desk, number: signal.Signals) -> None:
    process = noted.start("sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    # A stand-in that attaches when the signal comes would take the instance along.
    wait_for(lambda: (process.pid, "sleep") in attached(noted), "no exec")
    time.sleep(0.1)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == -number
    noted.settle()


def test_a_shell_sees_143(desk: Desk) -> None:
    line = desk.line("run", "sh", "-c", "kill -TERM $$")
    done = subprocess.run(
        ["sh", "-c", '"$@"; echo $?', "sh", *line],
        env=desk.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "143\n"


def test_a_terminal_and_its_interrupt(desk: Desk) -> None:
    """The target has the terminal, in its own process group; Ctrl-C reaches it."""
    # A stand-in that attaches when the signal comes would take the instance along.
    script = "test -t 0 && test -t 1 && echo tty; "
    script += "trap 'kill $!; echo caught; exit 9' INT; "
    script += "sleep 60 & sleep 0.3; echo ready; wait"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(desk.directory)
        os.execve(sys.executable, desk.line("run", "sh", "-c", script), desk.env())
    said = b""
    deadline = time.monotonic() + 20
    interrupted = False
    while b"caught" not in said:
        assert time.monotonic() < deadline, said
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            said += os.read(terminal, 1024)
        except OSError:
            break
        if b"ready" in said and not interrupted:
            interrupted = True
            os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"tty" in said
    assert b"caught" in said
    assert os.waitstatus_to_exitcode(status) == 9


def test_dispositions_and_mask_are_what_they_were(desk: Desk) -> None:
    """Python ignores SIGPIPE; its targets must not."""
    command = ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    assert desk.run(*command).out == plain.stdout


def test_only_the_users_descriptors_are_there(desk: Desk) -> None:
    """The target has what was given to ukl-run, the kernel host does not."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            desk.line("run", "-n", "fds", "sh", "-c", "echo ready; sleep 60"),
            env=desk.env(),
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        inode = f"socket:[{os.fstat(theirs.fileno()).st_ino}]"
        held = [
            str(one.readlink()) for one in Path(f"/proc/{process.pid}/fd").iterdir()
        ]
        assert inode in held
        hosts = desk.hosts()
        assert len(hosts) == 2
        for host in hosts:
            links = [str(one.readlink()) for one in Path(f"/proc/{host}/fd").iterdir()]
            assert inode not in links
            for number in (0, 1):
                assert Path(f"/proc/{host}/fd/{number}").readlink() == Path("/dev/null")
            log = desk.directory / "ukl" / "fds" / "log"
            assert Path(f"/proc/{host}/fd/2").readlink() == log
            assert os.getsid(host) not in (os.getsid(0), os.getsid(process.pid))
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
        process.stdout.close()


def test_the_target_has_no_child_it_did_not_make(desk: Desk) -> None:
    done = desk.run("sh", "-c", "cat /proc/$$/task/$$/children; wait; echo $?")
    # cat itself is one.
    words = done.out.split()
    assert len(words) == 2
    assert words[1] == "0"


def test_the_environment(desk: Desk) -> None:
    desk.environment |= {"MINE": "1", "LD_PRELOAD": "libm.so.6", "PYTHONPATH": "/x"}
    done = desk.run("-e", "A=b=c", "-e", "MINE=2", "env")
    lines = dict(line.split("=", 1) for line in done.out.splitlines())
    expected = desk.env() | {"A": "b=c", "MINE": "2"}
    assert lines.pop("LD_PRELOAD") == f"{desk.shim}:libm.so.6"
    assert lines.pop("UKL_INSTANCE") == str(desk.directory / "ukl" / "env-1")
    assert "UKL_TRACE" not in lines
    # The shim's words are an even number: the stand-in does not take them out.
    assert lines.pop("UKL_PAD", "") == ""
    expected.pop("LD_PRELOAD")
    assert lines == expected
    assert "\nUKL_TRACE=net,file\n" in desk.run("--trace", "net,file", "env").out


def test_the_shims_words_are_even(desk: Desk) -> None:
    """A variable that only looks like one of the shim's is not counted.

    Go programs with cgo find their auxiliary vector by it: fill_gap() in attach.c.
    """
    desk.environment.pop("LD_PRELOAD", None)
    for more in ({}, {"UKL_LINUX_SOURCE": "/x"}, {"UKL_TEST_A": "", "UKL_TEST_B": ""}):
        desk.environment |= more
        out = desk.run("env").out
        names = [line.split("=")[0] for line in out.splitlines()]
        gone = [name for name in names if name in runtime.SHIM_WORDS]
        gone += [name for name in names if name == "LD_PRELOAD"]
        assert len(gone) % 2 == 0, gone
        assert len(gone) > 0


def test_path_is_the_targets(desk: Desk) -> None:
    """A command is looked for as a shell with the new environment would."""
    tool = desk.directory / "tool"
    tool.write_text("#!/bin/sh\necho $0\n")
    tool.chmod(0o755)
    assert desk.run("-e", f"PATH={desk.directory}:/bin", "tool").out == f"{tool}\n"
    assert desk.run("-e", "PATH=:/bin", "tool").out == "./tool\n"
    assert desk.run("./tool").out == "./tool\n"
    tool.write_text("echo text $0 $1\n")
    assert desk.run("./tool", "x").out == "text ./tool x\n"
    # As a shell: what is found and cannot be run gives 126, not 127.
    tool.chmod(0o644)
    done = desk.run("-e", f"PATH={desk.directory}", "tool")
    assert (done.status, done.err) == (
        126,
        f"ukl: {tool} is not executable (chmod +x {tool})\n",
    )


def test_the_instance_lives_as_long_as_its_processes(desk: Desk) -> None:
    """A daemon: ukl-run returns when its target does, the instance stays."""
    # The stand-in attaches the daemon only when it is executed.
    script = "sleep 30 </dev/null >/dev/null 2>&1 & sleep 0.5"
    done = desk.run("-n", "web", "sh", "-c", script)
    assert done.status == 0
    (row,) = json.loads(desk.ukl("ps", "--json").out)
    assert (row["name"], row["state"], len(row["processes"])) == ("web", "running", 1)
    assert desk.ukl("stop", "web").status == 0
    desk.settle()


def test_keep(desk: Desk) -> None:
    assert desk.run("--keep", "-n", "kept", "true").status == 0
    (row,) = json.loads(desk.ukl("ps", "--json").out)
    assert (row["name"], row["processes"]) == ("kept", [])
    assert desk.ukl("stop", "kept").status == 0
    desk.settle()


def test_a_directory_is_private_and_complete(desk: Desk) -> None:
    process = desk.start("-n", "web", "sh", "-c", "echo ready; exec sleep 30")
    assert process.stdout is not None
    process.stdout.readline()
    directory = desk.directory / "ukl" / "web"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
    record = json.loads((directory / "instance.json").read_text())
    assert record["argv"] == ["sh", "-c", "echo ready; exec sleep 30"]
    assert record["pid"] == process.pid
    assert abs(record["started"] - time.time()) < 20
    time.sleep(0.2)
    process.terminate()
    process.communicate(timeout=20)


def test_generated_names(desk: Desk) -> None:
    processes = [desk.start("sleep", "30") for _ in range(3)]
    wait_for(lambda: len(desk.instances) == 3, "they do not start")
    assert desk.instances == ["sleep-1", "sleep-2", "sleep-3"]
    for process in processes:
        wait_for(
            lambda pid=process.pid: Path(f"/proc/{pid}/comm").read_text() == "sleep\n",
            "no exec",
        )
    time.sleep(0.2)
    for process in processes:
        process.terminate()
        process.communicate(timeout=20)


def test_a_name_that_is_taken(desk: Desk) -> None:
    process = desk.start("-n", "web", "sh", "-c", "echo ready; exec sleep 30")
    assert process.stdout is not None
    process.stdout.readline()
    done = desk.run("-n", "web", "true")
    assert (done.status, done.err) == (
        125,
        "ukl: an instance named web is running already (ukl stop web ends it)\n",
    )
    # It has not been touched.
    assert desk.ukl("stop", "web").status == 0
    process.communicate(timeout=20)


def test_one_winner(desk: Desk) -> None:
    """Of several that start one name at once, one runs, the others say why not."""
    racers = [desk.start("-n", "web", "sleep", "5") for _ in range(6)]
    ended = []
    wait_for(
        lambda: sum(one.poll() is not None for one in racers) == 5, "too many run", 20
    )
    for racer in racers:
        if racer.poll() is not None:
            _, err = racer.communicate(timeout=20)
            ended.append((racer.returncode, err))
    words = {
        "ukl: an instance named web is running already (ukl stop web ends it)\n",
        "ukl: an instance named web is being started by another ukl-run "
        "(give another name with --name)\n",
    }
    assert len(ended) == 5
    assert all(status == 125 and err in words for status, err in ended), ended
    assert desk.ukl("stop", "web").status == 0
    for racer in racers:
        racer.communicate(timeout=20)


def test_twenty_at_once(noted: Desk) -> None:
    script = "echo $UKL_INSTANCE; read word"
    processes = [noted.start("sh", "-c", script) for _ in range(20)]
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline())
    for process in processes:
        out, err = process.communicate("word\n", timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    assert len(set(said)) == 20
    assert len(attached(noted)) == 20


def test_a_dead_instance_gives_its_name_back(desk: Desk) -> None:
    """What is left of a kernel host that was killed is cleared away."""
    process = desk.start("-n", "web", "sh", "-c", "echo ready; exec sleep 30")
    assert process.stdout is not None
    process.stdout.readline()
    for pid in desk.hosts():
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate(timeout=20)
    assert (desk.directory / "ukl" / "web" / "control").exists()
    assert desk.run("-n", "web", "echo", "again").out == "again\n"


def test_dead_instances_are_swept(desk: Desk) -> None:
    base = desk.directory / "ukl"
    base.mkdir(mode=0o700)
    for name, words in (("old", ""), ("died", "ukl: instance died: of this\n")):
        (base / name).mkdir()
        (base / name / "instance.json").write_text("{}")
        (base / name / "control").touch()
        (base / name / "log").write_text(words)
        os.utime(base / name, (1, 1))
    assert desk.run("true").status == 0
    wait_for(lambda: desk.instances == ["died"], "old stays")
    # The log of one that died is kept for a day.
    assert desk.ukl("logs", "died").out == "ukl: instance died: of this\n"
    assert "died" not in desk.ukl("ps").out
    assert "of this" in desk.ukl("ps", "--all").out
    assert desk.run("-n", "died", "true").status == 0
    desk.settle()


def test_a_kernel_host_that_does_not_start(desk: Desk) -> None:
    """Its own words are shown, and nothing is left."""
    image = desk.directory / "image"
    image.write_bytes(b"no kernel")
    script = (
        "import sys; from pathlib import Path; "
        "from hijack import runtime; from launcher import run; "
        "real = runtime.built(Path(sys.argv[1])); "
        "runtime.built = lambda shim: real.replace("
        "image=Path(sys.argv[2])); "
        "sys.exit(run.main(['true']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, desk.shim, image],
        env=desk.env() | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 125
    assert done.stderr == (
        f"ukl: {image}: not a library kernel (ukl build makes one)\n"
    )
    desk.settle()


def test_a_refused_program_leaves_nothing(desk: Desk) -> None:
    done = desk.run("--via", "preload", "/sbin/ldconfig", "-p")
    assert (done.status, done.out) == (126, "")
    assert done.err == (
        "ukl: /sbin/ldconfig is statically linked, and only a dynamic loader preloads "
        "the shim (leave out --via preload; --allow-host runs it on the "
        "host's kernel)\n"
    )
    assert desk.instances == []
    assert desk.hosts() == []


def test_allow_host(noted: Desk) -> None:
    line = ("--allow-host", "--via", "preload", "/sbin/ldconfig", "--version")
    done = noted.run(*line)
    assert done.status == 0
    assert done.out.startswith("ldconfig ")
    assert done.err == (
        "ukl: warning: /sbin/ldconfig is statically linked, and only a dynamic loader "
        "preloads the shim; it runs on the host's kernel, outside any instance "
        "(--allow-host)\n"
    )
    # Nothing changes for a program that can take the shim.
    done = noted.run("--allow-host", "true")
    assert (done.status, done.err) == (0, "")
    assert [name for _, name in attached(noted)] == ["true"]


def test_dry_run_starts_nothing(desk: Desk) -> None:
    done = desk.run("--dry-run", "-n", "web", "-e", "A=b", "echo", "two words")
    assert (done.status, done.err) == (0, "")
    rows = [line.split(None, 1) for line in done.out.splitlines()]
    assert ["instance", str(desk.directory / "ukl" / "web")] in rows
    assert ["door", "preload: a dynamic program of glibc"] in rows
    assert any(row[-1].endswith(": echo 'two words'") for row in rows)
    assert ["environment", "A=b"] in rows
    assert [f"UKL_INSTANCE={desk.directory}/ukl/web"] in rows
    assert desk.instances == []
    assert desk.hosts() == []
    done = desk.run("--dry-run", "--via", "preload", "/sbin/ldconfig")
    assert done.status == 0
    assert "none: /sbin/ldconfig is statically linked" in done.out


def nothing_stays(desk: Desk) -> None:
    """A kernel host ends with its launcher; an empty directory is swept later."""
    wait_for(lambda: not desk.hosts(), "the kernel host stays", 5)
    wait_for(lambda: desk.ukl("ps").status == 0 and not desk.instances, "not swept")


def test_interrupted_while_it_starts(desk: Desk) -> None:
    """Ctrl-C before the target runs: ended by SIGINT without a word."""
    for delay in (0.06, 0.08, 0.1):
        process = desk.start("sleep", "30")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT, err
        nothing_stays(desk)


def test_killed_while_it_starts(desk: Desk) -> None:
    """The kernel host does not wait for one who cannot come any more."""
    process = desk.start("sleep", "30")
    wait_for(desk.hosts, "no kernel host")
    process.kill()
    process.communicate(timeout=20)
    nothing_stays(desk)


def test_capture(desk: Desk) -> None:
    done = desk.run("--pcap", "frames.pcapng", "true")
    assert (done.status, done.err) == (0, "")
    data = (desk.directory / "frames.pcapng").read_bytes()
    assert data[:4] == b"\x0a\x0d\x0d\x0a"
