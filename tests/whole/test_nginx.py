"""nginx ended, reloaded and asked a lot; on the host, too, with the same client."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from person import User, eventually
from tinytree import ROOT

REQUESTS = int(os.environ.get("UKL_TEST_REQUESTS", "50000"))
"""How many requests are a lot."""
CONF = ROOT / "examples" / "nginx-user.conf"
LEFT = {
    *("logs", "logs/access.log", "logs/error.log", "nginx.conf"),
    *("body", "proxy", "fastcgi", "uwsgi", "scgi"),
}
"""What nginx leaves in its directory, wherever it runs."""


@dataclass
class Nginx:
    """nginx in the foreground: on the host, or in the instance ``web``."""

    user: User
    port: int
    where: str
    directory: Path
    output: bytearray = field(default_factory=bytearray)
    process: subprocess.Popen[bytes] | None = None
    terminal: int = -1

    def words(self) -> list[str]:
        """nginx with its directory and configuration."""
        return [
            "nginx",
            "-p",
            str(self.directory),
            "-c",
            f"{self.directory}/nginx.conf",
        ]

    def start(self) -> subprocess.Popen[bytes]:
        """Start it on a terminal of its own, and wait until it serves."""
        text = CONF.read_text()
        line = [*self.words(), "-g", "daemon off;"]
        if self.where == "host":
            text = text.replace("listen 80;", f"listen 127.0.0.1:{self.port};")
            text = text.replace("listen [::]:80;", "")
        else:
            publish = f"127.0.0.1:{self.port}:80"
            profile = str(ROOT / "examples" / "nginx.yaml")
            ours = ["-n", "web", "-p", profile, "-s", "ports=[]", "-P", publish]
            line = [str(ROOT / "ukl-run"), *ours, *line]
        (self.directory / "logs").mkdir(parents=True)
        self.directory.chmod(0o755)
        (self.directory / "nginx.conf").write_text(text)
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *line],
            env=self.user.environment(),
            cwd=self.directory,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        threading.Thread(target=self._read, daemon=True).start()
        assert eventually(self.serves, 30), bytes(self.output)
        return self.process

    def _read(self) -> None:
        # The terminal's last user has gone: EIO.
        try:
            while part := os.read(self.terminal, 4096):
                self.output += part
        except OSError:
            pass

    def serves(self) -> bool:
        """Whether somebody answers on the host's port."""
        done = subprocess.run(
            ["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{self.port}/"],
            check=False,
        )
        return done.returncode == 0

    def beside(self, *line: str) -> list[str]:
        """The line that runs a command on nginx's own network."""
        if self.where == "host":
            return list(line)
        return [str(ROOT / "ukl"), "exec", "web", *line]

    def wrk(self, seconds: int, *extra: str, clients: int = 64) -> list[str]:
        """wrk with its connections: beside nginx, or through the published port."""
        here = self.where in ("host", "published")
        url = f"http://127.0.0.1:{self.port if here else 80}/"
        line = ["wrk", "-t2", f"-c{clients}", f"-d{seconds}", *extra, url]
        return line if here else self.beside(*line)

    def reload(self) -> None:
        """``nginx -s reload``."""
        subprocess.run(
            self.beside(*self.words(), "-s", "reload"),
            env=self.user.environment(),
            check=True,
            timeout=30,
        )

    def workers(self) -> set[int]:
        """The processes of its workers, those that are about to end too."""
        assert self.process is not None
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return {int(word) for word in text.split()}


Make = Callable[[str], Nginx]


@pytest.fixture
def make(user: User, free_port: int, tmp_path: Path) -> Generator[Make, None, None]:
    """make("host"), make("inside") or make("published"); a test makes one."""
    made: list[Nginx] = []

    def one(where: str) -> Nginx:
        made.append(Nginx(user, free_port, where, tmp_path / "web"))
        return made[-1]

    yield one
    for nginx in made:
        process = nginx.process
        if process is not None and process.poll() is None:
            process.terminate()
            process.wait(20)
        os.close(nginx.terminal)


def requests(said: str) -> int:
    """How many requests wrk has made; fails if there was an error."""
    assert "Socket errors" not in said, said
    assert "Non-2xx" not in said, said
    found = re.search(r"(\d+) requests in", said)
    assert found is not None, said
    return int(found[1])


def session(leader: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = one.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] not in "ZX" and int(words[3]) == leader:
            found.append(int(one.parent.name))
    return found


@pytest.mark.parametrize("where", ["host", "inside"])
@pytest.mark.parametrize("how", ["SIGTERM", "SIGQUIT", "SIGINT", "Ctrl-C", "Ctrl-\\"])
def test_it_ends_as_on_the_host(make: Make, where: str, how: str) -> None:
    """The same status, told on the terminal or not; no process and no file stays."""
    nginx = make(where)
    process = nginx.start()
    assert len(session(process.pid)) == 3
    if how.startswith("SIG"):
        process.send_signal(signal.Signals[how])
    else:
        os.write(nginx.terminal, b"\x03" if how == "Ctrl-C" else b"\x1c")
    assert process.wait(20) == 0
    assert eventually(lambda: session(process.pid) == [])
    # The terminal echoes a key; nobody said anything else.
    assert bytes(nginx.output).strip() in (b"", b"^C", b"^\\")
    found = {str(p.relative_to(nginx.directory)) for p in nginx.directory.rglob("*")}
    assert found == LEFT
    assert eventually(lambda: list(nginx.user.runtime.glob("ukl/*")) == [])
    assert not nginx.serves()


@pytest.mark.parametrize("where", ["host", "inside", "published"])
def test_reload_under_load_loses_nothing(make: Make, where: str) -> None:
    """A connection for each request, so that whatever fails is lost."""
    nginx = make(where)
    nginx.start()
    seen = nginx.workers()
    with subprocess.Popen(
        nginx.wrk(8, "-H", "Connection: close"),
        env=nginx.user.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as load:
        rounds = 0
        while load.poll() is None:
            nginx.reload()
            assert eventually(lambda old=seen: not old & nginx.workers())
            seen = nginx.workers()
            rounds += load.poll() is None
            time.sleep(0.3)
        said = load.communicate(timeout=60)[0]
    assert rounds >= 3
    assert requests(said) > 1000


@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
@pytest.mark.parametrize("where", ["inside", "published"])
def test_a_lot_of_requests(make: Make, where: str, close: bool) -> None:
    """Without an error; UKL_TEST_REQUESTS=1000000 makes it a million."""
    nginx = make(where)
    nginx.start()
    count, seconds = 0, 2
    while count < REQUESTS:
        done = subprocess.run(
            nginx.wrk(seconds, *(["-H", "Connection: close"] if close else [])),
            env=nginx.user.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        found = requests(done.stdout)
        count += found
        # As long as the rest may take, but not so long that nobody waits for it.
        seconds = max(1, min(60, (REQUESTS - count) * seconds // found + 1))


def test_a_thousand_at_once(make: Make) -> None:
    """Closed by the server, in order: none is reset for want of room."""
    nginx = make("inside")
    nginx.start()
    done = subprocess.run(
        nginx.wrk(3, "-H", "Connection: close", clients=1000),
        env=nginx.user.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert requests(done.stdout) > 1000
    text = nginx.user.ukl("exec", "web", "cat", "/proc/net/netstat")
    names, values = (line.split() for line in text.splitlines()[:2])
    assert values[names.index("TCPAbortOnMemory")] == "0"
    assert values[names.index("TCPTimeWaitOverflow")] == "0"
