"""Databases and caches, with their own clients as traffic."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
from pathlib import Path

from machine import BOTH, Machine, as_user, eventually, here, need


@BOTH
def test_redis(machine: Machine, port: int) -> None:
    """The append-only file is rewritten by a child process under load."""
    need("redis-server", "redis-cli", "redis-benchmark")
    line = ["redis-server", "--dir", machine.directory, "--save", ""]
    line += ["--appendonly", "yes", "--protected-mode", "no"]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:6379"])
    machine.listens(6379)
    cli = ["redis-cli", "-p", str(port)]
    assert here(*cli, "set", "key", "value") == "OK\n"
    script = (
        "redis-cli bgrewriteaof; redis-benchmark -q -n 20000 -P 8 -t set,get,lpush;"
        "redis-cli subscribe news >heard & sleep 0.1;"
        "until [ $(redis-cli publish news today) = 1 ]; do sleep 0.1; done;"
        "until grep -q today heard; do sleep 0.1; done; kill $!"
    )
    assert len(re.findall(r"requests per second", machine.sh(script))) == 3
    assert (machine.directory / "heard").read_text().split()[-1] == "today"

    def done() -> bool:
        said = here(*cli, "info", "persistence")
        assert "aof_last_bgrewrite_status:ok" in said
        return "aof_rewrite_in_progress:0" in said

    assert eventually(done)
    length = here(*cli, "llen", "mylist")
    machine.end(server)
    # What was written is there again.
    machine.nothing_is_left()
    again = machine.serve(*line)
    machine.listens(6379)
    assert machine.run("redis-cli", "llen", "mylist") == length
    assert machine.run("redis-cli", "get", "key") == "value\n"
    machine.end(again)


MEMCACHED = """
exec 3<>"/dev/tcp/127.0.0.1/11211"
for i in $(seq 500); do
    printf 'set key%d 0 0 %d\\r\\nvalue %d\\r\\n' $i $((6 + ${#i})) $i
done >&3
printf 'get key500\\r\\nincr none 1\\r\\nquit\\r\\n' >&3
cat <&3 | sort | uniq -c
dd if="$0" bs=1000000 count=1 status=none >part
{
    printf 'set big 0 0 1000000\\r\\n'; cat part
    printf '\\r\\nget big\\r\\nquit\\r\\n'
} | nc -N ::1 11211 | tail -c +$((8 + 21 + 1)) | head -c 1000000 | cmp - part
printf '\\0\\1\\0\\0\\0\\1\\0\\0get key7\\r\\n' | socat -t 1 - UDP:127.0.0.1:11211 |
    tail -c +9
"""


@BOTH
def test_memcached(machine: Machine, big: bytes) -> None:
    """Threads that libevent wakes, TCP of both families, UDP."""
    need("memcached", "nc", "socat")
    (machine.directory / "big").write_bytes(big)
    line = ["memcached", "-l", "127.0.0.1,::1", "-p", "11211", "-U", "11211", "-t", "2"]
    line += ["-I", "2m", *(["-u", "nobody"] if os.geteuid() == 0 else [])]
    server = machine.serve(*line)
    machine.listens(11211)
    said = machine.sh(MEMCACHED, machine.directory / "big").replace("\r", "")
    assert said.splitlines() == [
        "      1 END",
        "      1 NOT_FOUND",
        "    500 STORED",
        "      1 VALUE key500 0 9",
        "      1 value 500",
        *("VALUE key7 0 7", "value 7", "END"),
    ]
    machine.end(server)


POSTGRES = """
bin=$0 data=$1
"$bin/initdb" -D "$data" -A trust -N >init.log
cat >>"$data/postgresql.conf" <<END
listen_addresses = '*'
unix_socket_directories = '$data'
fsync = off
END
echo "host all all all trust" >>"$data/pg_hba.conf"
exec "$bin/postgres" -D "$data"
"""
QUERIES = """
create table t as select i, md5(i::text) as sum from generate_series(1, 100000) i;
create index on t (sum);
set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0;
set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
select count(*), md5(string_agg(sum, '' order by i)) from t where i % 2 = 0;
copy t to stdout;
"""


def md5(text: object) -> str:
    """The digest as PostgreSQL prints it."""
    return hashlib.md5(str(text).encode()).hexdigest()


def postgres_programs() -> Path:
    """The directory of PostgreSQL's programs, of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert found, "not installed: postgresql (./ukl-test installs it)"
    return found[-1].parent


@BOTH
def test_postgresql(machine: Machine, port: int) -> None:
    """initdb, then psql and pgbench by TCP and by the Unix socket; never as root."""
    programs = postgres_programs()
    data = machine.directory / "data"
    data.mkdir()
    who = as_user("postgres")
    if who:
        here("chown", "-R", "postgres", machine.directory)
    line = [*who, "bash", "-ec", POSTGRES, programs, data]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:5432"])
    machine.listens(5432)
    words = ["-U", "postgres" if who else here("id", "-un").strip(), "postgres"]
    words += ["-v", "ON_ERROR_STOP=1", "-qAtX"]
    psql = [str(programs / "psql"), *words]
    said = machine.run(*psql, "-h", "::1", text=QUERIES).splitlines()
    assert said[0] == f"50000|{md5(''.join(md5(i) for i in range(2, 100_001, 2)))}"
    assert len(said) == 100_001
    assert said[-1].split("\t")[0] == "100000"
    # The same, from the host.
    whole = here(*psql, "-h", "127.0.0.1", "-p", str(port), "-c", "copy t to stdout")
    assert whole.splitlines() == said[1:]
    bench = [programs / "pgbench", *words[:2], "-h", "127.0.0.1"]
    machine.run(*bench, "-i", "-q", "postgres")
    done = machine.run(*bench, "-n", "-c", "8", "-j", "2", "-t", "50", "postgres")
    assert "transactions actually processed: 400/400" in done
    done = machine.run(*bench, "-n", "-S", "-C", "-c", "4", "-t", "5", "postgres")
    assert "transactions actually processed: 20/20" in done
    count = ["-h", data, "-c", "select count(*), sum(delta) = (select sum(abalance) "
             "from pgbench_accounts) from pgbench_history"]  # fmt: skip
    assert machine.run(*psql, *count) == "400|t\n"
    # A session that waits for a lock is ended by its server, another one by itself.
    waiting = subprocess.Popen(
        machine.words(*psql, "-h", "127.0.0.1", "-c", "select pg_sleep(1000)"),
        env=machine.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = ["-h", "127.0.0.1", "-c", "select pg_terminate_backend(pid) from "
           "pg_stat_activity where query like 'select pg_sleep%'"]  # fmt: skip
    assert eventually(lambda: machine.run(*psql, *end) == "t\n")
    said = waiting.communicate(timeout=30)[0]
    assert "terminating connection due to administrator command" in said
    assert waiting.returncode == 2
    machine.end(server, how=signal.SIGINT)
    assert "database system is shut down" in machine.said()
