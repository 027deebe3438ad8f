"""Builds the library kernel: source, port and configuration in, cached image out."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hijack import fragments, source, tools
from hijack.cache import (
    CorruptEntryError,
    Image,
    ImageCache,
    Manifest,
    exclusive,
)
from hijack.errors import UklError
from hijack.files import (
    digest_of,
    disk_errors,
    free_bytes,
    full_disk,
    human_size,
    sha256_of,
    write_atomically,
)
from hijack.progress import Progress

RECIPE = 1
"""Raise when the same inputs must give a new image."""

_MB = 1_000_000
_OBJECT = re.compile(r"^  (CC|AS|HOSTCC) +\S")
_DRY_OBJECT = re.compile(r"echo '  (CC|AS|HOSTCC) ")
_LINK = re.compile(r"^  LD +(\.tmp_)?vmlinux")
_FULL = ("No space left on device", "Disk quota exceeded")
_COMPLAINT = re.compile(
    r"error:|Error \d|fatal|undefined reference|multiple definition|"
    r"relocation truncated|No rule to make|\*\*\*|warning: override"
)
_SHOWN_COMPLAINTS = 12


@dataclass(frozen=True)
class SpaceNeed:
    """Bytes a stage writes below the cache: measured for base, and some to spare."""

    tree: int = 550 * _MB
    objects: int = 350 * _MB
    image: int = 40 * _MB


@dataclass(frozen=True)
class Request:
    """What to build, from where, and how."""

    checkout: Path
    cache: Path
    config: str = "base"
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    tarball: Path | None = None
    force: bool = False
    space: SpaceNeed = field(default_factory=SpaceNeed)


@dataclass(frozen=True)
class Outcome:
    """A verified image, and whether this call had to build it."""

    image: Image
    cached: bool


class KernelBuild:
    """One request, with its inputs read once so that key and tree agree."""

    def __init__(self, request: Request) -> None:
        kernel = request.checkout / "kernel"
        self._request = request
        self._fragments = fragments.load(kernel / "configs", request.config)
        self._demands = fragments.merged(self._fragments)
        self._overlay = source.read_overlay(kernel / "arch" / "lkl")
        self._patches = source.read_patches(kernel / "patches")
        self._cache = ImageCache(request.cache / "kernel")
        tools.ensure(tools.BUILD_TOOLS)
        self._tarball = source.find_tarball(request.tarball, self._cache.digests)
        self._compiler = _first_line(["gcc", "--version"])
        self._linker = _first_line(["ld", "--version"])
        self.key = self._make_key()
        self._work = self._cache.work(source.tree_key(self._tarball, self._patches))
        self._tree = self._work / "tree"
        self._out = self._work / f"out-{request.config}"
        self._complete = self._out / ".ukl-complete"
        self.log = self._work / f"build-{request.config}.log"

    def _make_key(self) -> str:
        return digest_of(
            {
                "source": self._tarball.sha256,
                "excluded": source.EXCLUDED,
                "patches": [
                    [p.name, hashlib.sha256(p.data).hexdigest()] for p in self._patches
                ],
                "overlay": {p: f.digest() for p, f in self._overlay.items()},
                "config": self._demands,
                "compiler": self._compiler,
                "linker": self._linker,
                "make": self._make_variables(),
                "recipe": RECIPE,
            }
        )

    def find(self) -> Image | None:
        """The cached image of exactly these inputs, verified; None if there is none.

        A damaged entry counts as none.
        """
        try:
            return self._cache.lookup(self._request.config, self.key)
        except CorruptEntryError:
            return None

    def run(self, progress: Callable[[], Progress]) -> Outcome:
        """Return the image, built now if the cache does not hold it intact."""
        if not self._request.force:
            image = self._lookup(lambda text: progress().note(text))
            if image is not None:
                return Outcome(image, cached=True)
        with progress() as shown:
            begun = time.monotonic()
            with exclusive(self._work / "lock", shown.note) as lock:
                # Whoever held the lock may have built just this.
                if not self._request.force:
                    image = self._lookup(shown.note)
                    if image is not None:
                        return Outcome(image, cached=True)
                return Outcome(self._build(shown, lock, begun), cached=False)

    def plan(self) -> list[str]:
        """The command lines of a build from nothing, as a shell would take them."""
        unpack = source.unpack_lines(self._tarball, self._tree)
        lines = [
            f"{shlex.join(unpack[0])} < {shlex.quote(str(self._tarball.path))} | "
            + shlex.join(unpack[1])
        ]
        lines += [
            f"patch -p1 -d {shlex.quote(str(self._tree))} < kernel/patches/{p.name}"
            for p in self._patches
        ]
        lines.append(
            f"cp -rL kernel/arch/lkl {shlex.quote(str(self._tree / 'arch/lkl'))}"
        )
        parts = " ".join(f"kernel/configs/{f.name}.config" for f in self._fragments)
        lines.append(f"cat {parts} > {shlex.quote(str(self._out / '.config'))}")
        lines.append(shlex.join(self._make("olddefconfig")))
        lines.append(shlex.join(self._make("vmlinux")))
        lines.append(shlex.join(self._strip()))
        return lines

    def _lookup(self, note: Callable[[str], None]) -> Image | None:
        try:
            return self._cache.lookup(self._request.config, self.key)
        except CorruptEntryError as error:
            entry = self._cache.entry(self._request.config, self.key)
            note(f"the cache entry {entry} is damaged: {error}; building it again")
            self._cache.discard(self._request.config, self.key)
            return None

    def _build(self, shown: Progress, lock: int, begun: float) -> Image:
        if self._request.force:
            shutil.rmtree(self._out, ignore_errors=True)
        self._check_space()
        with disk_errors(self._cache.directory):
            try:
                self._unpack(shown)
                source.sync_overlay(self._overlay, self._tree / "arch" / "lkl")
                self._out.mkdir(exist_ok=True)
                self.log.write_bytes(b"")
                self._configure(shown, lock)
                incremental = self._complete.exists()
                self._compile(shown, lock, incremental)
                stripped = self._link_result(shown, lock)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    self._give_back_space()
                raise
            self._complete.touch()
        manifest = Manifest(
            config=self._request.config,
            key=self.key,
            sha256=sha256_of(stripped),
            size=stripped.stat().st_size,
            kernel_version=source.kernel_version(self._tree),
            package_version=source.package_version(),
            source_sha256=self._tarball.sha256,
            compiler=self._compiler,
            build_seconds=round(time.monotonic() - begun, 1),
            incremental=incremental,
        )
        return self._cache.install(stripped, self._out / ".config", manifest)

    def _check_space(self) -> None:
        need = self._request.space.image
        if not self._tree.is_dir():
            need += self._request.space.tree
        if not self._complete.exists():
            need += self._request.space.objects
        free = free_bytes(self._cache.directory)
        if free < need:
            raise UklError(
                f"the build needs {human_size(need)} below {self._cache.directory}, "
                f"but only {human_size(free)} are free",
                "free some space or set XDG_CACHE_HOME to a larger disk",
            )

    def _give_back_space(self) -> None:
        """After a full disk: what is half made is worth less than the room."""
        shutil.rmtree(self._out, ignore_errors=True)
        if not (self._tree / "Makefile").is_file():
            shutil.rmtree(self._tree, ignore_errors=True)

    def _unpack(self, shown: Progress) -> None:
        if self._tree.is_dir():
            return
        shown.stage("unpack", self._tarball.path.stat().st_size // _MB)
        source.unpack(
            self._tarball,
            self._patches,
            self._tree,
            lambda done: shown.reach(done // _MB),
        )

    def _configure(self, shown: Progress, lock: int) -> None:
        """Answer Kconfig with the fragments, unless nothing it reads has changed."""
        kconfig = {
            path: file.digest()
            for path, file in self._overlay.items()
            if Path(path).name.startswith("Kconfig")
        }
        answered = digest_of(
            {"demands": self._demands, "kconfig": kconfig, "cc": self._compiler}
        )
        stamp = self._out / ".ukl-configured"
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == answered:
            return
        shown.stage("configure", None)
        stamp.unlink(missing_ok=True)
        config = self._out / ".config"
        config.write_text(fragments.as_config(self._demands), encoding="utf-8")
        self._run(self._make("olddefconfig"), lock)
        fragments.verify(
            self._demands, config.read_text(encoding="utf-8"), self._request.config
        )
        write_atomically(stamp, answered.encode())

    def _compile(self, shown: Progress, lock: int, incremental: bool) -> None:
        total = None
        if not incremental:
            shown.stage("count", None)
            total = self._count_objects()
        shown.stage("compile", total)
        done = 0
        linking = False

        def on_line(line: str) -> None:
            nonlocal done, linking
            if not linking and _OBJECT.match(line):
                done += 1
                shown.reach(done)
            elif not linking and _LINK.match(line):
                linking = True
                shown.stage("link", None)

        self._run(self._make("vmlinux"), lock, on_line)

    def _count_objects(self) -> int | None:
        """How many files make would compile; None if make cannot tell yet."""
        line = [*self._make("vmlinux"), "--dry-run", "--keep-going"]
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
            text=True,
            errors="replace",
            check=False,
        )
        return len(_DRY_OBJECT.findall(done.stdout)) or None

    def _link_result(self, shown: Progress, lock: int) -> Path:
        linked = self._out / "vmlinux"
        if not linked.is_file():
            raise UklError(
                "make succeeded but left no vmlinux", f"the build log is {self.log}"
            )
        self._run(self._strip(), lock)
        return self._out / "ukl-kernel.elf"

    def _make_variables(self) -> list[str]:
        """Settings of make that are the same wherever and whenever we build."""
        return [
            "ARCH=lkl",
            "KBUILD_BUILD_USER=ukl",
            "KBUILD_BUILD_HOST=ukl",
            "KBUILD_BUILD_VERSION=1",
        ]

    def _make(self, target: str) -> list[str]:
        return [
            "make",
            f"--directory={self._tree}",
            f"O={self._out}",
            f"--jobs={self._request.jobs}",
            "--no-print-directory",
            *self._make_variables(),
            # Not the time of the build: equal inputs give equal images.
            f"KBUILD_BUILD_TIMESTAMP={self._source_date()}",
            target,
        ]

    def _strip(self) -> list[str]:
        # Symbols stay: debuggers and profilers want them.
        result = self._out / "ukl-kernel.elf"
        return ["strip", "--strip-debug", "-o", str(result), str(self._out / "vmlinux")]

    def _source_date(self) -> str:
        """When the source was made: the time tar gave to its Makefile."""
        makefile = self._tree / "Makefile"
        seconds = int(makefile.stat().st_mtime) if makefile.is_file() else 0
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

    def _environment(self) -> dict[str, str]:
        """Only what programs need: nobody's CFLAGS or MAKEFLAGS reach Kbuild."""
        kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
        environment = {k: os.environ[k] for k in kept if k in os.environ}
        return environment | {"LC_ALL": "C"}

    def _run(
        self,
        line: list[str],
        lock: int,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Run a step, its output to the log; raise UklError when it fails."""
        last: deque[str] = deque(maxlen=4000)
        with (
            self.log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                text=True,
                errors="replace",
                pass_fds=(lock,),
                process_group=0,
            ) as child,
        ):
            assert child.stdout is not None
            log.write(shlex.join(line) + "\n")
            try:
                for output in child.stdout:
                    log.write(output)
                    last.append(output.rstrip("\n"))
                    on_line(output)
            except BaseException:
                # make deletes the targets it was writing when it is told to
                # end, so the next build continues from here.
                os.killpg(child.pid, signal.SIGTERM)
                raise
        if child.returncode == 0:
            return
        if any(word in text for text in last for word in _FULL):
            self._give_back_space()
            raise full_disk(self._cache.directory)
        complaints = [text for text in last if _COMPLAINT.search(text)]
        shown = complaints[:_SHOWN_COMPLAINTS] or list(last)[-_SHOWN_COMPLAINTS:]
        step = next((w for w in reversed(line) if not w.startswith("-")), line[0])
        raise UklError(
            f"{line[0]} {Path(step).name} failed with status {child.returncode}",
            f"the build log is {self.log}",
            details=tuple(shown),
        )


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.partition("\n")[0]
