"""redis: published, driven from both sides, saved under load, and loaded again."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

from person import User, eventually

KEYS = 50_000


def cli(port: int, *words: str, text: bytes | None = None) -> str:
    """redis-cli on the host, at the published port."""
    done = subprocess.run(
        ["redis-cli", "-p", str(port), *words],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout.decode().strip() + done.stderr.decode()


def command(*words: str) -> bytes:
    """A command in redis's protocol."""
    parts = [f"*{len(words)}\r\n"]
    parts += [f"${len(word)}\r\n{word}\r\n" for word in words]
    return "".join(parts).encode()


def start(user: User, port: int, directory: Path) -> subprocess.Popen[str]:
    """A server in the instance ``kv``, published; it answers."""
    process = user.start(
        *("-n", "kv", "-P", f"127.0.0.1:{port}:6379", "-s", "kernel.memory=128M"),
        *("redis-server", "--dir", directory, "--save", "", "--protected-mode", "no"),
    )
    assert eventually(lambda: cli(port, "ping") == "PONG", 30)
    return process


def test_redis_saves_under_load(user: User, free_port: int, tmp_path: Path) -> None:
    """BGSAVE forks while 50 clients write; the dump has every key of before."""
    data = tmp_path / "data"
    data.mkdir()
    server = start(user, free_port, data)
    fill = b"".join(command("SET", f"k{i}", f"value {i}") for i in range(KEYS))
    assert f"errors: 0, replies: {KEYS}" in cli(free_port, "--pipe", text=fill)

    load = ["-q", "-r", "10000", "-t", "set,get,incr,lpush", "-n"]
    inside = user.start_ukl("exec", "kv", "redis-benchmark", *load, "30000")
    assert eventually(lambda: cli(free_port, "exists", "mylist") == "1", 60)
    assert "Background saving started" in cli(free_port, "bgsave")
    # From the host, meanwhile.
    outside = subprocess.run(
        ["redis-benchmark", "-p", str(free_port), *load, "2000"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(re.findall("requests per second", outside.stdout)) == 4
    state = "rdb_bgsave_in_progress:0"
    assert eventually(lambda: state in cli(free_port, "info", "persistence"), 60)
    assert "rdb_last_bgsave_status:ok" in cli(free_port, "info", "persistence")
    said = inside.communicate(timeout=60)[0]
    assert inside.returncode == 0, said
    assert len(re.findall("requests per second", said)) == 4, said
    assert "rror" not in said + outside.stdout + outside.stderr

    server.terminate()
    assert server.wait(20) == 0
    assert [one.name for one in data.iterdir()] == ["dump.rdb"]
    again = start(user, free_port, data)
    asked = "".join(f"GET k{i}\n" for i in range(KEYS)).encode()
    values = cli(free_port, text=asked).split("\n")
    assert values == [f"value {i}" for i in range(KEYS)]
    again.send_signal(signal.SIGINT)
    assert again.wait(20) == 0
