"""The kernel builder: its cache, its words when something is missing, its locks.

Most tests build a tiny kernel (see ``conftest.Site``); the last ones use the
real one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tinytree import ROOT, TINY_MAKEFILE, Site, make_tarball

from hijack import fragments, mesonbuild, source, tools
from hijack.errors import UklError
from hijack.kernelbuild import KernelBuild, Request
from hijack.progress import PlainProgress

# --- fragments ------------------------------------------------------------


def test_fragment_with_a_mistake_is_refused_with_its_place() -> None:
    with pytest.raises(UklError, match=r"x\.config:2: not a Kconfig line: CONFIG_A "):
        fragments.parse("# reason\nCONFIG_A\n", "x.config")


def test_fragment_that_repeats_itself_is_refused() -> None:
    with pytest.raises(UklError, match=r"x\.config:2: CONFIG_A is there already"):
        fragments.parse("CONFIG_A=y\n# CONFIG_A is not set\n", "x.config")


def test_every_demand_is_compared_with_the_answer() -> None:
    demands = fragments.parse(
        'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x"\nCONFIG_D=12\n', "asked"
    )
    assert fragments.refused(demands, 'CONFIG_A=y\nCONFIG_C="x"\nCONFIG_D=12\n') == []
    assert fragments.refused(demands, "CONFIG_B=y\nCONFIG_D=13\n") == [
        "  CONFIG_A: asked for y, got not set",
        "  CONFIG_B: asked for not set, got y",
        '  CONFIG_C: asked for "x", got not set',
        "  CONFIG_D: asked for 12, got 13",
    ]


@pytest.mark.parametrize("config", list(fragments.CONFIGS))
def test_the_fragments_we_ship_can_be_read(config: str) -> None:
    loaded = fragments.load(ROOT / "kernel" / "configs", config)
    assert [f.name for f in loaded] == list(fragments.CONFIGS[config])
    assert fragments.merged(loaded)["EXPERT"] == "y"
    assert fragments.parse(fragments.as_config(fragments.merged(loaded)), "merged")


@pytest.mark.parametrize("path", sorted((ROOT / "kernel/configs").glob("*.config")))
def test_every_group_of_a_fragment_states_its_reason(path: Path) -> None:
    for group in path.read_text().split("\n\n"):
        first = group.strip().splitlines()[0]
        assert first.startswith("# ")
        assert not first.startswith("# CONFIG_"), group


def test_unknown_configuration() -> None:
    with pytest.raises(UklError, match="no kernel configuration named huge"):
        fragments.load(ROOT / "kernel" / "configs", "huge")


def test_a_dropped_option_fails_the_build_with_a_list(site: Site) -> None:
    with site.fragment.open("a") as stream:
        stream.write("CONFIG_DROPPED_ONE=y\nCONFIG_DROPPED_TWO=m\n")
    done = site.build()
    assert done.returncode == 125
    assert "  CONFIG_DROPPED_ONE: asked for y, got not set\n" in done.stderr
    assert "  CONFIG_DROPPED_TWO: asked for m, got not set\n" in done.stderr
    assert "ukl: Kconfig refused options" in done.stderr
    # And again: the refused answer must not pass for a finished one.
    assert site.build().returncode == 125
    assert not list(site.cache.glob("ukl/kernel/images/small-*"))


# --- the cache ------------------------------------------------------------


def key_of(site: Site, **changes: object) -> str:
    fields: dict[str, object] = {
        "checkout": site.root,
        "cache": site.cache / "ukl",
        "config": "small",
        "tarball": site.tarball,
    }
    return KernelBuild(Request(**(fields | changes))).key  # type: ignore[arg-type]


def append(path: Path, text: str) -> None:
    with path.open("a") as stream:
        stream.write(text)


CHANGES: dict[str, Callable[[Site], object]] = {
    "a file of the port": lambda s: append(s.port / "a.c", "\n"),
    "a new file": lambda s: (s.port / "include.h").write_text(""),
    "a removed file": lambda s: (s.port / "a.c").unlink(),
    "an executable bit": lambda s: (s.port / "a.c").chmod(0o755),
    "a fragment": lambda s: append(s.fragment, "CONFIG_INET=y\n"),
    "a patch": lambda s: (s.patches / "0001-x.patch").write_text("x"),
    "the tarball": lambda s: append(s.tarball, "x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_key_follows_every_input(site: Site, change: str) -> None:
    before = key_of(site)
    CHANGES[change](site)
    assert key_of(site) != before


def test_the_key_ignores_what_does_not_matter(site: Site) -> None:
    before = key_of(site)
    os.utime(site.port / "a.c", (1, 1))
    (site.port / ".a.c.swp").write_text("an editor's")
    (site.port / "a.c~").write_text("an editor's")
    append(site.fragment, "\n# A longer reason.\n")
    assert key_of(site) == before
    assert key_of(site, jobs=7) == before


def test_the_key_follows_the_compiler(site: Site, tmp_path: Path) -> None:
    before = key_of(site)
    other = tmp_path / "bin"
    other.mkdir()
    (other / "gcc").write_text("#!/bin/sh\necho gcc 99.0\n")
    (other / "gcc").chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{other}:{path}"
    try:
        assert key_of(site) != before
    finally:
        os.environ["PATH"] = path


def status_of(image: Path) -> int:
    """Run a tiny kernel, which is an ordinary program; an image is not executable."""
    copy = image.with_name("runnable")
    shutil.copyfile(image, copy)
    copy.chmod(0o755)
    return subprocess.run([copy], check=False).returncode


def test_build_then_cached(site: Site) -> None:
    first = site.build("--output", str(site.root / "result.json"))
    assert first.returncode == 0, first.stderr
    path, size, took = first.stdout.rstrip("\n").split("  ")
    assert Path(path).stat().st_size > 1000
    assert size.endswith("kB")
    assert took.endswith(" s")
    result = json.loads((site.root / "result.json").read_text())
    assert result["image"] == path
    assert result["cached"] is False
    manifest = json.loads((site.entry() / "manifest.json").read_text())
    assert manifest["kernel_version"] == "6.12.1"
    assert manifest["size"] == Path(path).stat().st_size
    # It runs, so it is the program that was linked.
    assert status_of(Path(path)) == 1

    begun = time.monotonic()
    second = site.build()
    assert time.monotonic() - begun < 1
    assert second.stdout == f"{path}  {size}  cached\n"
    assert second.stderr == ""


def test_what_is_not_needed_stays_packed(site: Site) -> None:
    assert site.build().returncode == 0
    (tree,) = site.cache.glob("ukl/kernel/work/*/tree")
    assert not list(tree.rglob("*.rst"))
    assert not (tree / "arch/arm/kernel/arm.c").exists()
    assert (tree / "arch/arm/Kconfig").exists()


def truncate(entry: Path) -> None:
    image = entry / "ukl-kernel.elf"
    os.truncate(image, image.stat().st_size - 1)


def flip_a_byte(entry: Path) -> None:
    image = entry / "ukl-kernel.elf"
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"its image has \d+ bytes instead of \d+"),
    "altered": (flip_a_byte, "its image has been altered"),
    "gone": (lambda e: (e / "ukl-kernel.elf").unlink(), "its image is missing"),
    "no manifest": (lambda e: (e / "manifest.json").unlink(), "manifest is unreadable"),
    "half a manifest": (
        lambda e: os.truncate(e / "manifest.json", 40),
        "manifest is unreadable",
    ),
    "another manifest": (
        lambda e: (e / "manifest.json").write_text('{"format": 99}'),
        "its manifest has other fields",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_entry_is_noticed_and_rebuilt(site: Site, kind: str) -> None:
    damage, words = DAMAGE[kind]
    assert site.build().returncode == 0
    good = (site.entry() / "ukl-kernel.elf").read_bytes()
    damage(site.entry())
    done = site.build()
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "damaged" in line]
    assert re.search(words, line)
    assert (site.entry() / "ukl-kernel.elf").read_bytes() == good
    assert site.build().stdout.endswith("  cached\n")
    assert site.leftovers() == []


def test_force_builds_from_nothing(site: Site) -> None:
    assert site.build().returncode == 0
    done = site.build("--force")
    assert done.returncode == 0, done.stderr
    assert "cached" not in done.stdout
    assert site.compiled() == ["a.o", "b.o", "version.o"]


def test_only_what_changed_is_compiled_again(site: Site) -> None:
    assert site.build().returncode == 0
    assert site.compiled() == ["a.o", "b.o", "version.o"]
    append(site.port / "a.c", "int another = 2;\n")
    done = site.build()
    assert done.returncode == 0, done.stderr
    assert site.compiled() == ["a.o"]
    (site.port / "a.c").unlink()
    (site.port / "c.c").write_text("int a(void);\nint a(void) { return 3; }\n")
    done = site.build()
    assert done.returncode == 0, done.stderr
    assert site.compiled() == ["c.o"]
    assert status_of(Path(done.stdout.split("  ")[0])) == 3


def test_a_reverted_change_is_cached(site: Site) -> None:
    original = (site.port / "a.c").read_text()
    first = site.build().stdout.split("  ")[0]
    append(site.port / "a.c", "int another = 2;\n")
    assert site.build().stdout.split("  ")[0] != first
    (site.port / "a.c").write_text(original)
    assert site.build().stdout.startswith(f"{first}  ")
    assert site.build().stdout.endswith("  cached\n")


def test_an_interrupted_build_continues(site: Site) -> None:
    append(site.port / "b.c", "// SLOW\n")
    with site.start("--jobs=1") as builder:
        wait_for(lambda: list(site.cache.glob("ukl/kernel/work/*/out-small/slow")))
        builder.send_signal(signal.SIGTERM)
        _, errors = builder.communicate(timeout=10)
    assert builder.returncode == 130
    assert errors.endswith("ukl: interrupted; the next build continues here\n")
    assert not list(site.cache.glob("ukl/kernel/images/small-*"))
    (site.port / "b.c").write_text("int main(void) { return 0; }\n")
    done = site.build()
    assert done.returncode == 0, done.stderr
    assert site.compiled() == ["b.o", "version.o"]


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_two_builds_at_once_make_one(site: Site) -> None:
    append(site.port / "b.c", "// SLOW\n")
    first = site.start()
    wait_for(lambda: list(site.cache.glob("ukl/kernel/work/*/out-small/slow")))
    second = site.start()
    assert second.stderr is not None
    assert second.stderr.readline() == (
        f"ukl: waiting for another build (process {first.pid})\n"
    )
    (out,) = site.cache.glob("ukl/kernel/work/*/out-small")
    (out / "go").touch()
    first_out, first_errors = first.communicate(timeout=60)
    second_out, second_errors = second.communicate(timeout=60)
    assert first.returncode == 0, first_errors
    assert second.returncode == 0, second_errors
    assert second_out.endswith("  cached\n")
    assert second_out.split("  ")[0] == first_out.split("  ")[0]


# --- what is missing, what is wrong ----------------------------------------


def stand_in(directory: Path, name: str, script: str) -> None:
    """Put a program of our own on a PATH that has nothing else."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def test_missing_source_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PACKAGE_TARBALL", tmp_path / "absent.tar.xz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UklError) as caught:
        source.find_tarball(None, tmp_path / "memo.json")
    assert str(caught.value) == (
        "ukl: the package linux-source-6.12 is missing; "
        "install it with: apt-get install linux-source-6.12 (it comes with Debian "
        "12's security updates: the suite bookworm-security must be among apt's "
        "sources)"
    )


def test_missing_source_package_is_installed_by_root(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    tarball = tmp_path / "linux.tar.xz"
    stand_in(tmp_path / "bin", "apt-get", f'echo "$@" >>{tmp_path}/said; >{tarball}')
    monkeypatch.setattr(source, "PACKAGE_TARBALL", tarball)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert source.find_tarball(None, tmp_path / "memo.json").path == tarball
    line = "install -y --no-install-recommends linux-source-6.12\n"
    assert (tmp_path / "said").read_text() == line
    assert capfd.readouterr().err == f"ukl: running apt-get {line}"


def test_missing_tools_without_privilege(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    for name in ("gcc", "ld", "make", "xz", "tar", "patch", "bc", "pkg-config"):
        stand_in(bin_, name, "exit 0")
    stand_in(bin_, "sudo", "exit 1")
    stand_in(bin_, "apt-get", f"touch {tmp_path}/ran")
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UklError) as caught:
        tools.ensure(tools.BUILD_TOOLS)
    assert str(caught.value) == (
        "ukl: the packages bison, flex are missing; "
        "install them with: apt-get install bison flex"
    )
    assert not (tmp_path / "ran").exists()


def test_missing_tool_with_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    stand_in(bin_, "sudo", '[ "$1" = -n ] && shift && exec "$@"')
    stand_in(bin_, "true", "exit 0")
    stand_in(
        bin_,
        "apt-get",
        f'echo "$@" >>{tmp_path}/said\n'
        f"[ $1 = install ] && [ -e {tmp_path}/updated ] && >{bin_}/flexx\n"
        f"[ $1 = update ] && >{tmp_path}/updated\n"
        f"[ -e {bin_}/flexx ] && /bin/chmod +x {bin_}/flexx",
    )
    monkeypatch.setenv("PATH", str(bin_))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    tools.ensure((tools.Requirement("flexx", "flexx-tools"),))
    install = "install -y --no-install-recommends flexx-tools"
    assert (tmp_path / "said").read_text().splitlines() == [install, "update", install]


def test_apt_that_fails_leaves_the_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stand_in(tmp_path / "bin", "apt-get", "echo E: no such package; exit 100")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UklError, match="the package b is missing; install it with"):
        tools.ensure((tools.Requirement("a", "b"),))
    assert "E: no such package" in capfd.readouterr().err


def test_source_that_is_not_linux(site: Site) -> None:
    make_tarball(site.tarball, {"README": "nothing"})
    done = site.build()
    assert done.returncode == 125
    assert done.stderr.splitlines()[-1] == (
        "ukl: linux-tiny.tar.xz does not hold a Linux source tree "
        "(--source takes the tarball of linux-source-6.12)"
    )
    assert site.leftovers() == []


def test_source_that_is_cut_short(site: Site) -> None:
    os.truncate(site.tarball, site.tarball.stat().st_size // 2)
    done = site.build()
    assert done.returncode == 125
    assert f"ukl: cannot unpack {site.tarball}" in done.stderr
    assert site.leftovers() == []


@pytest.mark.parametrize("name", ["absent.tar.xz", "linux.zip"])
def test_source_that_cannot_be_read(site: Site, name: str) -> None:
    if name.endswith("zip"):
        (site.root / name).write_text("")
    site.tarball = site.root / name
    done = site.build()
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("ukl: ")
    assert name in done.stderr


def test_patches_are_applied_in_order(site: Site) -> None:
    for number, old, new in ((2, 2, 3), (1, 1, 2)):
        (site.patches / f"000{number}-version.patch").write_text(
            "--- a/init/version.c\n+++ b/init/version.c\n@@ -1 +1 @@\n"
            f"-int version = {old};\n+int version = {new};\n"
        )
    assert site.build().returncode == 0
    (tree,) = site.cache.glob("ukl/kernel/work/*/tree")
    assert (tree / "init/version.c").read_text() == "int version = 3;\n"


def test_patch_that_does_not_apply(site: Site) -> None:
    (site.patches / "0001-old.patch").write_text(
        "--- a/init/version.c\n+++ b/init/version.c\n@@ -1 +1 @@\n"
        "-int other = 2;\n+int other = 3;\n"
    )
    done = site.build()
    assert done.returncode == 125
    assert "ukl: kernel/patches/0001-old.patch does not apply" in done.stderr
    assert not list(site.cache.glob("ukl/kernel/work/*/tree*"))


def test_compile_error_is_shown_with_the_log(site: Site) -> None:
    append(site.port / "a.c", "int x = nonsense;\n")
    done = site.build()
    assert done.returncode == 125
    assert "a.c:3:9: error:" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ukl: make vmlinux failed with status 2 (the build log is ")
    assert "nonsense" in Path(last.split("log is ")[1].rstrip(")")).read_text()
    # Once mended, it goes on from there.
    (site.port / "a.c").write_text("int a(void);\nint a(void) { return 1; }\n")
    assert site.build().returncode == 0


def test_bad_arguments_reach_nobody(site: Site) -> None:
    for arguments in (["--jobs=0"], ["--config=huge"], ["--nonsense"]):
        done = site.build(*arguments)
        assert done.returncode == 2
        assert "usage:" in done.stderr
    assert not site.cache.exists()


def test_dry_run_prints_and_does_nothing(site: Site) -> None:
    done = site.build("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "tar -x" in done.stdout
    assert "make " in done.stdout
    assert " olddefconfig\n" in done.stdout
    assert not (site.cache / "ukl/kernel/work").exists()


def test_surroundings_do_not_leak_into_the_build(site: Site) -> None:
    site.environment = {"MAKEFLAGS": "-n", "CFLAGS": "-nonsense", "ARCH": "x86"}
    done = site.build()
    assert done.returncode == 0, done.stderr


# --- a full disk ----------------------------------------------------------


def on_small_disk(
    site: Site, megabytes: int, script: str
) -> subprocess.CompletedProcess[str]:
    """Run a shell script with the site's cache on a tmpfs of its own."""
    site.cache.mkdir()
    rootless = [] if os.geteuid() == 0 else ["--map-root-user"]
    mount = shlex.join(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(site.cache)]
    )
    done = subprocess.run(
        ["unshare", "--mount", *rootless, "sh", "-c", f"{mount} || exit 77\n{script}"],
        cwd=site.root,
        env=site.env(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr}")
    return done


def test_too_little_space_is_refused_before_anything_is_written(site: Site) -> None:
    done = on_small_disk(
        site, 8, f"{shlex.join(site.command())}; echo $?; ls $XDG_CACHE_HOME/ukl/kernel"
    )
    status, *left = done.stdout.splitlines()
    assert status == "125"
    line = done.stderr.splitlines()[-1]
    assert line.startswith("ukl: the build needs ")
    assert "but only 8.4 MB are free (free some space or set XDG_CACHE_HOME" in line
    assert sorted(left) == ["digests.json", "work"]


NO_ESTIMATE = """
import pathlib, sys
from hijack.errors import UklError
from hijack.kernelbuild import KernelBuild, Request, SpaceNeed
from hijack import progress
root, cache, tarball = map(pathlib.Path, sys.argv[1:])
request = Request(root, cache / "ukl", "small", tarball=tarball,
                  space=SpaceNeed(0, 0, 0))
try:
    KernelBuild(request).run(progress.for_stream)
except UklError as error:
    print(error)
for path in sorted(cache.rglob("*")):
    if path.is_file():
        print(path.relative_to(cache))
"""


def full_disk_run(site: Site, megabytes: int) -> list[str]:
    line = shlex.join(
        [
            sys.executable,
            "-c",
            NO_ESTIMATE,
            str(site.root),
            str(site.cache),
            str(site.tarball),
        ]
    )
    done = on_small_disk(site, megabytes, line)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_disk_that_fills_up_while_compiling(site: Site) -> None:
    append(site.port / "a.c", "// FILL\n")
    lines = full_disk_run(site, 8)
    assert any(line.startswith("ukl: the disk is full: ") for line in lines)
    assert not any("/out-small/" in line for line in lines)
    assert not any("/images/" in line for line in lines)


def test_disk_that_fills_up_while_unpacking(site: Site) -> None:
    make_tarball(site.tarball, {"Makefile": TINY_MAKEFILE, "big": "x" * 20_000_000})
    lines = full_disk_run(site, 8)
    assert lines[0].startswith("ukl: the disk is full: ")
    assert not any("/tree" in line for line in lines)


def test_cache_that_may_not_be_written(site: Site) -> None:
    site.environment = {"XDG_CACHE_HOME": "/dev/null"}
    done = site.build()
    assert done.returncode == 125
    assert done.stderr.splitlines()[-1].startswith("ukl: cannot write below /dev/null")


# --- progress -------------------------------------------------------------


def test_a_build_directory_of_another_python_is_set_up_anew(tmp_path: Path) -> None:
    (tmp_path / "build.ninja").write_text("")
    assert not mesonbuild.is_set_up(tmp_path)
    (tmp_path / "ukl-python").write_text("/gone/venv/bin/python")
    assert not mesonbuild.is_set_up(tmp_path)
    (tmp_path / "ukl-python").write_text(sys.executable)
    assert mesonbuild.is_set_up(tmp_path)
    (tmp_path / "build.ninja").unlink()
    assert not mesonbuild.is_set_up(tmp_path)


def test_plain_progress_says_one_line_per_tenth(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream, PlainProgress(stream) as shown:
        shown.stage("compile", 1000)
        for step in range(1, 1001):
            shown.reach(step)
        shown.stage("link", None)
    assert (tmp_path / "out").read_text().splitlines() == [
        "ukl: compile",
        *(f"ukl: compile {tenth}0 %" for tenth in range(1, 11)),
        "ukl: link",
    ]


def test_terminal_gets_a_bar(site: Site) -> None:
    """Under a terminal of its own (script(1)), the builder draws with escapes."""
    done = subprocess.run(
        ["script", "-qec", shlex.join(site.command()), "/dev/null"],
        cwd=site.root,
        env=site.env() | {"TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "\x1b[" in done.stdout
    assert "compile" in done.stdout
    assert "3/3" in done.stdout


# --- the real kernel ------------------------------------------------------


def test_the_second_build_of_the_real_kernel_is_instant(kernel_image: Path) -> None:
    times = []
    for _ in range(3):
        begun = time.monotonic()
        done = subprocess.run(
            [ROOT / "ukl", "build"], capture_output=True, text=True, check=False
        )
        times.append(time.monotonic() - begun)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{kernel_image}  ")
        assert done.stdout.endswith("  cached\n")
    assert min(times) < 1


def test_real_kconfig_refuses_what_cannot_be(
    kernel_image: Path, tmp_path: Path
) -> None:
    """The real tree and Kconfig, asked for an option that needs an MMU."""
    checkout = tmp_path / "checkout"
    for part in ("hijack", "kernel"):
        shutil.copytree(ROOT / part, checkout / part)
    append(checkout / "kernel/configs/small.config", "\n# No.\nCONFIG_SHMEM=y\n")
    done = subprocess.run(
        [sys.executable, "-m", "hijack.build", "--config=small"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    listed = [line for line in done.stderr.splitlines() if "CONFIG_" in line]
    assert listed == ["  CONFIG_SHMEM: asked for y, got not set"]
