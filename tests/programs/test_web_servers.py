"""Web servers and proxies, with clients in the instance and on the host."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from machine import BOTH, Machine, eventually, here, need, requests

HERE = Path(__file__).resolve().parent


def web(machine: Machine, big: bytes) -> Path:
    """A directory to be served: ``index.html`` and ``big``."""
    www = machine.directory / "www"
    www.mkdir()
    (www / "index.html").write_text("hello\n")
    (www / "big").write_bytes(big)
    return www


def gets(machine: Machine, big: bytes, url: str) -> None:
    """curl in the instance has both files, the second one as it is."""
    out = machine.directory / "out"
    said = machine.sh(
        'curl -gsSf "$0/"; curl -gsSf -o "$1" "$0/big"; '
        'curl -gs -o /dev/null -w "%{http_code}\\n" "$0/none"',
        url,
        out,
    )
    assert said == "hello\n404\n"
    assert out.read_bytes() == big


def gets_here(big: bytes, port: int, directory: Path) -> None:
    """So has curl on the host, at a published port."""
    url = f"http://127.0.0.1:{port}"
    assert here("curl", "-sSf", f"{url}/") == "hello\n"
    here("curl", "-sSf", "-o", directory / "out", f"{url}/big")
    assert (directory / "out").read_bytes() == big


def asked_a_lot(machine: Machine, url: str, *extra: str) -> None:
    """A second of wrk in the instance, without an error."""
    line = ["wrk", "-t1", "-c16", "-d1", *extra, url]
    assert requests(machine.run(*line)) > 100


NGINX = """
worker_processes 2; daemon off; pid {dir}/pid; error_log {dir}/error.log notice;
events {{ worker_connections 512; }}
http {{ access_log off; sendfile on; root {dir}/www;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
  uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  server {{ listen 80; listen [::]:80; }} }}
"""


@BOTH
def test_nginx(machine: Machine, big: bytes, port: int) -> None:
    need("nginx", "curl", "wrk")
    web(machine, big)
    conf = machine.directory / "nginx.conf"
    conf.write_text(NGINX.format(dir=machine.directory))
    line = ["nginx", "-e", machine.directory / "error.log", "-c", conf]
    server = machine.serve(*line, publish=[f"127.0.0.1:{port}:80"])
    machine.listens(80)
    gets(machine, big, "http://127.0.0.1")
    gets(machine, big, "http://[::1]")
    gets_here(big, port, machine.directory)
    asked_a_lot(machine, "http://127.0.0.1/")
    machine.run(*line, "-s", "reload")
    asked_a_lot(machine, "http://127.0.0.1/", "-H", "Connection: close")
    machine.end(server, how=signal.SIGQUIT)


APACHE = """
ServerRoot {dir}
ServerName localhost
DefaultRuntimeDir {dir}
Listen 80
PidFile {dir}/pid
ErrorLog {dir}/error.log
User nobody
Group nogroup
LoadModule mpm_{mpm}_module {modules}/mod_mpm_{mpm}.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule env_module {modules}/mod_env.so
LoadModule {cgi}_module {modules}/mod_{cgi}.so
ScriptAlias /git {git}
SetEnv GIT_PROJECT_ROOT {dir}/git
SetEnv GIT_HTTP_EXPORT_ALL 1
SetEnv REMOTE_USER somebody
ScriptAlias /cgi {dir}/cgi
DocumentRoot {dir}/www
<Directory />
Require all granted
</Directory>
"""
CGI = """\
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s %s ' "$REQUEST_METHOD" "$QUERY_STRING"
exec cat
"""


def apache(machine: Machine, mpm: str) -> list[str]:
    """apache2's command line, configured with one way to serve."""
    need("apache2")
    script = machine.directory / "cgi"
    script.write_text(CGI)
    script.chmod(0o755)
    cgi = "cgi" if mpm == "prefork" else "cgid"
    text = APACHE.format(
        dir=machine.directory,
        mpm=mpm,
        cgi=cgi,
        modules="/usr/lib/apache2/modules",
        git="/usr/lib/git-core/git-http-backend",
    )
    if cgi == "cgid":
        text += f"ScriptSock {machine.directory}/socket\n"
    conf = machine.directory / "apache.conf"
    conf.write_text(text)
    return ["apache2", "-f", str(conf)]


def serves(machine: Machine, mpm: str, big: bytes, port: int) -> None:
    """apache2 in one of its two ways."""
    need("curl", "wrk")
    web(machine, big)
    line = apache(machine, mpm)
    published = [f"127.0.0.1:{port}:80"]
    server = machine.serve(*line, "-DFOREGROUND", publish=published)
    machine.listens(80)
    gets(machine, big, "http://127.0.0.1")
    gets(machine, big, "http://[::1]")
    gets_here(big, port, machine.directory)
    posts = 'for i in 1 2 3; do curl -sSf -d "a=$i" "http://localhost/cgi?b"; done'
    assert machine.sh(posts) == "POST b a=1POST b a=2POST b a=3"
    asked_a_lot(machine, "http://127.0.0.1/", "-H", "Connection: close")
    machine.run(*line, "-k", "graceful")
    log = machine.directory / "error.log"
    assert eventually(lambda: log.read_text().count("resuming normal") == 2)
    asked_a_lot(machine, "http://127.0.0.1/")
    machine.end(server)
    assert "SIGKILL" not in log.read_text()


@BOTH
def test_apache2_prefork(machine: Machine, big: bytes, port: int) -> None:
    """A process for each connection, and one more for each CGI script."""
    serves(machine, "prefork", big, port)


@BOTH
def test_apache2_event(machine: Machine, big: bytes, port: int) -> None:
    """Threads and epoll; scripts are started by a daemon behind a Unix socket."""
    serves(machine, "event", big, port)


GIT = """
export GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0 GIT_{AUTHOR,COMMITTER}_NAME=a
export GIT_{AUTHOR,COMMITTER}_EMAIL=a@example.org
git clone -q http://127.0.0.1/git/r.git one
cp -r "$0" one/files
cd one
git add .
git commit -qm "$1"
git push -q origin HEAD
cd ..
git clone -q http://127.0.0.1/git/r.git two
git -C two log --format=%s
diff -r one/files two/files
! git ls-remote http://127.0.0.1/git/none.git
"""


@BOTH
def test_git_over_http(machine: Machine, tmp_path: Path, big: bytes) -> None:
    """A clone, a push in chunks, a clone again; git's own CGI program, and apache2."""
    need("git", "apache2")
    web(machine, big)
    files = tmp_path / "files"
    files.mkdir()
    (files / "big").write_bytes(big)
    for number in range(200):
        (files / f"file{number}").write_text(f"{number}\n" * number)
    repository = machine.directory / "git" / "r.git"
    here("git", "init", "-q", "--bare", repository)
    here("git", "-C", repository, "config", "http.receivepack", "true")
    if os.geteuid() == 0:
        here("chown", "-R", "nobody", repository)
    server = machine.serve(*apache(machine, "prefork"), "-DFOREGROUND")
    machine.listens(80)
    assert machine.sh(GIT, files, "the message") == "the message\n"
    here("git", "-C", repository, "-c", "safe.directory=*", "fsck", "--strict")
    machine.end(server)


HAPROXY = """
global
  stats socket {dir}/stats mode 600 level admin expose-fd listeners
  log stdout format raw local0 warning
  nbthread 2
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
  log global
listen web
  bind :80
  bind :::80 v6only
  option forwardfor
  option httpchk GET /
  server a 127.0.0.1:8001 check inter 100ms
  server b 127.0.0.1:8002 check inter 100ms
listen tcp
  mode tcp
  bind :81
  server a 127.0.0.1:8001
"""
UP = """
for i in $(seq 400); do
    [ $(echo show stat | socat - "UNIX:$0" | grep -c '^web,[ab],.*,UP,') = 2 ] && exit
    sleep 0.05
done
exit 1
"""


@BOTH
def test_haproxy(machine: Machine, big: bytes, port: int) -> None:
    """Two servers behind it; a reload hands the listening sockets on."""
    need("haproxy", "curl", "wrk", "socat")
    conf = machine.directory / "haproxy.cfg"
    conf.write_text(HAPROXY.format(dir=machine.directory))
    (machine.directory / "big").write_bytes(big)
    published = [f"127.0.0.1:{port}:80"]
    line = ["haproxy", "-W", "-S", machine.directory / "master", "-f", conf]
    server = machine.serve(*line, publish=published)
    machine.listens(80)
    behind = machine.serve("node", HERE / "behind.js", "8001", "8002")
    machine.listens(8002)
    machine.sh(UP, machine.directory / "stats")
    four = "for i in 1 2 3 4; do curl -gsSf http://[::1]/; done"
    assert sorted(machine.sh(four).split()) == [
        *("8001", "8001", "8002", "8002", "::1", "::1", "::1", "::1")
    ]
    assert "8001" in machine.run("curl", "-sSf", "http://127.0.0.1:81/")
    out = machine.directory / "out"
    here("curl", "-sSf", "-o", out, f"http://127.0.0.1:{port}/big")
    assert out.read_bytes() == big
    asked_a_lot(machine, "http://127.0.0.1/")
    master = f"UNIX:{machine.directory}/master"
    worker = machine.sh('echo show proc | socat - "$0"', master)
    (old,) = re.findall(r"^(\d+) +worker", worker, re.M)
    server.send_signal(signal.SIGUSR2)
    assert eventually(lambda: f"Former worker ({old}) exited" in machine.said())
    asked_a_lot(machine, "http://127.0.0.1/", "-H", "Connection: close")
    machine.end(server, how=signal.SIGUSR1)
    machine.end(behind, -signal.SIGTERM)
