"""What all tests share: no silent skips in CI, a small kernel tree, one real image."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from tinytree import ROOT, TINY_MAKEFILE, Site, make_tarball

IN_CI = os.environ.get("CI", "") not in ("", "0", "false")


def pytest_configure() -> None:
    """What the keyboard sends arrives, also in what a shell has in its background.

    Such a job ignores it, and so would all programs that the tests end that way.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """In CI a test that cannot run has failed (an expected failure may stay)."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    """In CI a module that skips itself has failed as well."""
    report = yield
    if IN_CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A fresh site with an empty cache."""
    root = tmp_path / "checkout"
    made = Site(root, tmp_path / "cache", tmp_path / "linux-tiny.tar.xz")
    shutil.copytree(
        ROOT / "hijack", root / "hijack", ignore=shutil.ignore_patterns("__pycache__")
    )
    made.port.mkdir(parents=True)
    made.patches.mkdir(parents=True)
    made.fragment.parent.mkdir(parents=True)
    (made.port / "Kconfig").write_text("config LKL\n\tdef_bool y\n")
    (made.port / "a.c").write_text("int a(void);\nint a(void) { return 1; }\n")
    (made.port / "b.c").write_text("int a(void);\nint main(void) { return a(); }\n")
    made.fragment.write_text("# Why.\nCONFIG_NET=y\n# CONFIG_TTY is not set\n")
    make_tarball(
        made.tarball,
        {
            "Makefile": TINY_MAKEFILE,
            "init/version.c": "int version = 1;\n",
            "arch/arm/kernel/arm.c": "#error not for us\n",
            "arch/arm/Kconfig": "config ARM\n",
            "Documentation/index.rst": "words\n",
        },
    )
    return made


@pytest.fixture(scope="session")
def kernel_image() -> Path:
    """The real library kernel, built once per session (or taken from the cache)."""
    done = subprocess.run(
        [ROOT / "ukl", "build"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.split("  ")[0])
    manifest = json.loads((path.parent / "manifest.json").read_text())
    assert manifest["config"] == "base"
    return path
