"""A network namespace with servers, and instances whose way out leads there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from attached import configure
from scene import NAMESERVER, NAMESPACE, Scene

from hijack import instance as api
from hijack.instance import Attachment, Instance

_NOBODY = 65534


@pytest.fixture(scope="session")
def programs() -> Generator[Path, None, None]:
    """The kernel host and the image, where nobody may read them."""
    where = Path(tempfile.mkdtemp(prefix="ukl-test-"))
    where.chmod(0o755)
    host = os.environ.get("UKL_TEST_HOST") or api.default_host()
    image = os.environ.get("UKL_TEST_IMAGE") or api.default_image()
    shutil.copy(host, where / "ukl-host")
    shutil.copy(image, where / "image")
    (where / "image").chmod(0o644)
    yield where
    shutil.rmtree(where)


@pytest.fixture(params=["root", "nobody"])
def scene(
    request: pytest.FixtureRequest, programs: Path, tmp_path: Path
) -> Generator[Scene, None, None]:
    """A fresh network namespace.  Making one and its other user needs root."""
    if os.geteuid() != 0:
        pytest.skip("root makes the namespace that the test's servers are in")
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(f"nameserver {NAMESERVER}\n")
    resolv.chmod(0o644)
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "sh", "-ec", NAMESPACE, "sh", str(resolv)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    where = Path(tempfile.mkdtemp(prefix="ukl-test-"))
    where.chmod(0o777)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        unprivileged = request.param == "nobody"
        drop = (
            f"setpriv --reuid {_NOBODY} --regid {_NOBODY} --clear-groups "
            "--bounding-set=-all --inh-caps=-all -- "
            if unprivileged
            else ""
        )
        wrapper = where / "ukl-host"
        wrapper.write_text(
            f"#!/bin/sh\nexec nsenter --target {holder.pid} --net --mount --root -- "
            f'{drop}{programs / "ukl-host"} "$@"\n'
        )
        wrapper.chmod(0o755)
        made = Scene(holder.pid, where, unprivileged)
        yield made
        for one in made.sockets:
            one.close()
    finally:
        holder.kill()
        holder.wait()
        shutil.rmtree(where)


@pytest.fixture
def boot(
    scene: Scene, programs: Path
) -> Generator[Callable[..., Instance], None, None]:
    """boot(SPEC) starts an instance with ``user,SPEC``, in the scene."""
    booted: list[Instance] = []

    def start(spec: str = "", device: str = "user") -> Instance:
        number = len(booted) + 1
        made = Instance.boot(
            image=programs / "image",
            host=scene.where / "ukl-host",
            name=f"test{number}",
            directory=scene.where / f"i{number}",
            keep=True,
            devices=[f"{device},{spec}" if spec else device],
        )
        booted.append(made)
        return made

    yield start
    for made in booted:
        made.stop()


@pytest.fixture
def attached(
    boot: Callable[..., Instance],
) -> Generator[Attachment, None, None]:
    """An instance with the defaults, configured, and this process in it."""
    with boot().attach() as made:
        configure(made)
        yield made
