"""Shells: pipelines, job control on a terminal, tmux."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from types import TracebackType

from machine import ALONE, ALONE_UP, BOTH, SECONDS, Machine, need

PIPELINES = r"""
shopt -s lastpipe
seq 1000 | sort -rn | head -3 | paste -sd,
diff <(seq 5) <(seq 2 6) || echo $?
echo in | tee >(tr a-z A-Z >upper) >/dev/null; wait $!; cat upper
coproc up { tr -u a-z A-Z 2>/dev/null || sed -u 's/.*/\U&/'; }
echo words >&"${up[1]}"; read -r answer <&"${up[0]}"; echo "$answer"
kill $up_PID; wait $up_PID; echo $?
yes | head -1; echo "${PIPESTATUS[@]}"
(exit 3) | (exit 4) | true; echo "${PIPESTATUS[@]}"
for i in {1..9}; do { sleep 0.0$((i % 5)); echo $i; } & done | sort | paste -sd+ | bc
trap 'echo heard USR1' USR1; kill -USR1 $BASHPID
(trap 'echo leaving' EXIT; exit 9); echo $?
exec 5<>/dev/tcp/127.0.0.1/9 || echo no connection
python3 - <<'END' &
import socket
with socket.create_server(("127.0.0.1", 8000)) as server:
    one = server.accept()[0]
    one.sendall(one.makefile().readline().upper().encode())
END
until exec 5<>/dev/tcp/127.0.0.1/8000; do sleep 0.05; done 2>/dev/null
echo a line >&5; cat <&5; exec 5>&-; wait $!; echo $?
mkfifo fifo; (read -r line <fifo; echo "by fifo: $line") & echo text >fifo; wait
timeout -s KILL 0.1 sleep 3; echo $?
find /usr/include/linux -name 'if*.h' | xargs -P 4 -n 20 grep -l define | wc -l
printf '%s\n' "$(echo $(echo $(echo deep)))"; exit 7
"""


def without_pids(text: str) -> str:
    """What a shell says, without the numbers of processes."""
    return re.sub(r" *\d+ Killed", "PID Killed", text)


@BOTH
def test_bash_pipelines(machine: Machine) -> None:
    """Pipes, process substitution, coprocesses, traps, /dev/tcp: as on the host."""
    need("bash", "bc")
    host = machine.on_host("bash", "-c", f"mkdir -p h; cd h; {PIPELINES}")
    assert (host.returncode, "A LINE\n" in host.stdout) == (7, True), host.stderr
    got = machine.do("bash", "-c", f"mkdir -p h2; cd h2; {PIPELINES}")
    assert got.stdout == host.stdout
    assert got.returncode == 7
    assert without_pids(got.stderr) == without_pids(host.stderr)


class Terminal:
    """A program on a terminal of its own, as its session's leader."""

    def __init__(self, machine: Machine, line: list[str], kind: str = "dumb") -> None:
        self.said = ""
        self.at = 0
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *line],
            env=machine.environment() | {"PS1": "$ ", "TERM": kind},
            cwd=machine.directory,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def sees(self, pattern: str) -> str:
        """Wait for what matches behind what was seen last; the match."""
        end = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.said[self.at :], re.M)):
            assert time.monotonic() < end, f"no {pattern!r} in {self.said!r}"
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    part = os.read(self.terminal, 4096)
                except OSError:
                    part = b""
                assert part, f"no {pattern!r} in {self.said!r}"
                self.said += part.decode(errors="replace").replace("\r", "")
        self.at += found.end()
        return found[0]

    def types(self, text: str) -> None:
        """Type it."""
        os.write(self.terminal, text.encode())

    def starts(self, line: str) -> None:
        """Type a command; what is typed next is for that, not for the shell."""
        self.types(f"{line}\n")
        self.sees(re.escape(f"{line}\n"))
        time.sleep(0.3)


def job_control(machine: Machine, line: list[str]) -> None:
    """What a shell does with jobs, keys, and the end of the terminal's input."""
    with Terminal(machine, line) as one:
        one.sees(r"\$ ")
        one.starts("sleep 100")
        one.types("\x1a")
        one.sees(r"\[1\]\+ +Stopped +sleep 100")
        one.types("bg; jobs -l\n")
        one.sees(r"\[1\]\+ +\d+ Running +sleep 100 &")
        one.starts("cat | cat | cat")
        one.types("to three cats\n")
        one.sees("to three cats\nto three cats\n")
        one.types("\x1a")
        one.sees(r"\[2\]\+ +Stopped +cat \| cat \| cat")
        one.starts("fg")
        one.types("once more\n")
        one.sees("once more\nonce more\n")
        one.types("\x04")
        one.sees(r"\$ ")
        one.starts("fg %1")
        one.types("\x03")
        one.sees(r"\$ ")
        one.types("echo status $?\n")
        one.sees("^status 130$")
        # A background job that reads is stopped; one that is killed is told of.
        one.types("cat & sleep 0.3\n")
        one.sees(r"\[1\][-+] +Stopped +cat")
        one.types("kill %1; sleep 0.3\n")
        one.sees(r"\[1\][-+] +Terminated +cat")
        one.types("stty rows 33 cols 44; (trap 'stty size; exit' WINCH; kill -WINCH "
                  "$BASHPID; sleep 5)\n")  # fmt: skip
        one.sees("^33 44$")
        one.types("sh -c 'kill -STOP $$; echo went on'\n")
        one.sees("Stopped")
        one.types("fg\n")
        one.sees("^went on$")
        one.types("ps -o tpgid=,pgid= -p $$ | awk '{ print $1 != $2 }'\n")
        one.sees("^1$")
        one.types("exit 9\n")
        assert one.process.wait(SECONDS) == 9


@BOTH
def test_bash_job_control(machine: Machine) -> None:
    """On a terminal: stopped, continued, interrupted; the same talk on the host."""
    need("bash", "setsid", "ps", "awk")
    shell = ["bash", "--norc", "--noprofile", "-i"]
    job_control(machine, [*ALONE, ALONE_UP, "sh", *shell])
    job_control(machine, machine.words(*shell))


@BOTH
def test_tmux(machine: Machine) -> None:
    """A server that outlives its client, panes, sizes, keys, a client that attaches."""
    need("tmux", "curl", "python3")
    words = ["tmux", "-S", "tmux", "-f", "/dev/null"]

    def tmux(*line: object) -> str:
        return machine.run(*words, *line)

    def shows(pane: str, what: str) -> None:
        end = time.monotonic() + SECONDS
        while not re.search(what, text := tmux("capture-pane", "-p", "-t", pane), re.M):
            assert time.monotonic() < end, text
            time.sleep(0.1)

    shell = "env PS1='$ ' bash --norc --noprofile"
    # Its command ends at once; the server is what keeps the instance.
    machine.run(*words, "new-session", "-d", "-s", "one", "-x", 80, "-y", 24, shell)
    machine.kept = True
    tmux("split-window", "-t", "one", "python3 -u -m http.server 8000")
    shows("one.1", "Serving HTTP")
    tmux(
        "send-keys",
        "-t",
        "one.0",
        "curl -sS localhost:8000/tmux | grep -o 404",
        "Enter",
    )
    shows("one.0", "^404$")
    shows("one.1", '"GET /tmux HTTP/1.1" 404')
    tmux("send-keys", "-t", "one.1", "C-c")
    tmux("resize-window", "-t", "one", "-x", 100, "-y", 40)
    # It tells a pane of its size a little later.
    wide = "until stty size | grep -q ' 100'; do sleep 0.1; done; tput cols"
    tmux("send-keys", "-t", "one.0", wide, "Enter")
    shows("one.0", "^100$")
    with Terminal(
        machine, machine.words(*words, "attach", "-t", "one"), "xterm"
    ) as client:
        client.sees("404")
        # While it asks what the terminal is, and in a quick row, keys are no commands,
        # on the host neither.
        time.sleep(1)
        client.types("echo $((6 * 7))\r")
        client.sees("42")
        time.sleep(0.5)
        client.types("\x02")
        time.sleep(0.1)
        client.types("d")
        client.sees(r"\[detached \(from session one\)\]")
        assert client.process.wait(SECONDS) == 0
    tmux("kill-server")
    machine.kept = False
