# Brings up what the commands need; sourced by ukl, ukl-run and ukl-test.
#
# Wants $here (the checkout).  Sets $venv and exports nothing: the environment is
# the target's.  Warm, it costs one fork: the name of the virtual environment
# holds the checksum of pyproject.toml, and a stamp in it says that it is complete.

ukl_die() {
	printf 'ukl: %s\n' "$1" >&2
	exit 125
}

# ukl_apt PACKAGE...: installs, or names the one command that would.
ukl_apt() {
	if [ "$(id -u)" = 0 ]; then
		ukl_root=
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		ukl_root='sudo -n'
	else
		ukl_die "something is missing; install it with: apt-get install $*"
	fi
	command -v apt-get >/dev/null ||
		ukl_die "something is missing and there is no apt-get; install: $*"
	printf 'ukl: running %sapt-get install %s\n' \
		"${ukl_root:+$ukl_root }" "$*" >&2
	# Servers are installed for instances: none is to start on the machine, by
	# init scripts (RUNLEVEL) or by systemd.
	ukl_apt_line="$ukl_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
		SYSTEMD_OFFLINE=1 apt-get -q \
		-o DPkg::Lock::Timeout=300"
	$ukl_apt_line install -y --no-install-recommends "$@" \
		</dev/null >/dev/null 2>&1 && return
	# The lists may be missing or old.
	$ukl_apt_line update </dev/null >/dev/null 2>&1
	$ukl_apt_line install -y --no-install-recommends "$@" </dev/null >&2 ||
		ukl_die "apt-get failed; install with: apt-get install $*"
}

# A Python that is new enough and can make virtual environments.
ukl_find_python() {
	for ukl_python in python3 python3.13 python3.12 python3.11; do
		"$ukl_python" -c 'import sys, venv, ensurepip
sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
	done
	ukl_apt python3 python3-venv
	ukl_python=/usr/bin/python3
	"$ukl_python" -c 'import sys, venv, ensurepip
sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
		ukl_die 'Python 3.11 or newer is needed, with its venv module'
}

# ukl_pip STAMP [EXTRA]: installs the dependencies that pyproject.toml names.
ukl_pip() {
	"$venv/bin/python" - "$here/pyproject.toml" "${2-}" \
		>"$venv/requirements.txt" <<'PYTHON' ||
import sys, tomllib

with open(sys.argv[1], "rb") as stream:
    project = tomllib.load(stream)["project"]
wanted = project["dependencies"]
if sys.argv[2]:
    wanted = project["optional-dependencies"][sys.argv[2]]
print("\n".join(wanted))
PYTHON
		ukl_die "cannot read $here/pyproject.toml"
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
		--requirement "$venv/requirements.txt" \
		</dev/null >"$venv/pip.log" 2>&1 || {
		tail -n 5 "$venv/pip.log" >&2
		ukl_die "pip cannot install the Python packages; its log is $venv/pip.log"
	}
	: >"$venv/$1"
}

# ukl_locked FUNCTION [ARGUMENT...]: one set-up at a time.
ukl_locked() {
	mkdir -p "$ukl_cache" ||
		ukl_die "cannot write $ukl_cache; set XDG_CACHE_HOME to a directory you may write to"
	exec 9>"$venv.lock" || ukl_die "cannot write $venv.lock"
	flock -n 9 || {
		echo 'ukl: waiting for another set-up' >&2
		flock 9
	}
	"$@"
	exec 9>&-
}

ukl_make_venv() {
	[ -e "$venv/.complete" ] && return
	ukl_find_python
	echo 'ukl: setting up Python packages (once)' >&2
	rm -rf "$venv"
	"$ukl_python" -m venv "$venv" >&2 || ukl_die "cannot make $venv"
	ukl_pip .complete
}

ukl_make_test_venv() {
	[ -e "$venv/.complete-test" ] || ukl_pip .complete-test test
}

case ${XDG_CACHE_HOME-} in
/*) ukl_cache=$XDG_CACHE_HOME/ukl ;;
*) ukl_cache=$HOME/.cache/ukl ;;
esac
ukl_sum=$(cksum <"$here/pyproject.toml") || ukl_die "cannot read $here/pyproject.toml"
venv=$ukl_cache/venv-${ukl_sum%% *}
# The interpreter below the environment may have been removed since.
if ! [ -e "$venv/.complete" ] || ! [ -x "$venv/bin/python" ]; then
	[ -x "$venv/bin/python" ] || rm -f "$venv/.complete" "$venv/.complete-test"
	ukl_locked ukl_make_venv
fi

# ukl_exec MODULE [ARGUMENT]...: becomes launcher.MODULE.  Python is isolated from
# the user's PYTHON* variables, which are for the target.
ukl_exec() {
	# Python ignores some signals, and cannot tell afterwards which were before.
	ukl_ignored=0
	while read -r ukl_key ukl_value; do
		[ "$ukl_key" = SigIgn: ] && ukl_ignored=$ukl_value && break
	done </proc/self/status
	ukl_module=$1
	shift
	# In the C locale it also sets LC_CTYPE (PEP 538); the target shall not see it.
	set -- -c 'import _signal, os, sys
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
_, path, module, ignored, locale, *arguments = sys.argv
os.environ.pop("LC_CTYPE", None)
if locale:
    os.environ["LC_CTYPE"] = locale[1:]
sys.path.insert(0, path)
from importlib import import_module
main = import_module(f"launcher.{module}").main
sys.exit(main(arguments, ignored=int(ignored, 16)))' \
		"$here" "$ukl_module" "$ukl_ignored" "${LC_CTYPE+=$LC_CTYPE}" "$@"
	# Somebody else's checkout: compiled modules go into our own cache.
	[ -w "$here/launcher" ] ||
		set -- -X "pycache_prefix=$ukl_cache/pycache" "$@"
	exec "$venv/bin/python" -I "$@"
}
