"""The kernel builder as a program; meson's kernel target runs it.

Standard output gets one line per result; progress and errors go to standard
error.  The exit status is 0, 125 for a failure, 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from hijack import fragments, paths, progress
from hijack.cache import describe
from hijack.errors import EXIT_FAILURE, UklError
from hijack.files import human_time, write_json
from hijack.kernelbuild import KernelBuild, Request

EXTRA_ARGUMENTS = "UKL_BUILD_ARGS"
"""Environment variable with further arguments, because ninja passes none."""

EXIT_INTERRUPTED = 130


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parser() -> argparse.ArgumentParser:
    """The builder's own command line."""
    result = argparse.ArgumentParser(
        prog="hijack.build", description="Build the library kernel into the cache."
    )
    result.add_argument("--config", choices=fragments.CONFIGS, default="base")
    result.add_argument("--jobs", type=_positive)
    result.add_argument("--source", type=Path, help="tarball of linux-source-6.12")
    result.add_argument("--force", action="store_true", help="build from nothing")
    result.add_argument("--dry-run", action="store_true", help="print command lines")
    result.add_argument("--output", type=Path, help="write the result here as JSON")
    return result


def request_from(options: argparse.Namespace) -> Request:
    """The request that the command line and ``UKL_LINUX_SOURCE`` describe."""
    tarball: Path | None = options.source
    if tarball is None and (given := os.environ.get("UKL_LINUX_SOURCE")):
        tarball = Path(given)
    fields = {} if options.jobs is None else {"jobs": options.jobs}
    return Request(
        checkout=paths.checkout_root(),
        cache=paths.cache_root(),
        config=options.config,
        tarball=tarball,
        force=options.force,
        **fields,
    )


def run(options: argparse.Namespace) -> None:
    """Build, print the result line, and write the result file."""
    begun = time.monotonic()
    build = KernelBuild(request_from(options))
    if options.dry_run:
        print("\n".join(build.plan()))
        return
    outcome = build.run(progress.for_stream)
    took = "cached" if outcome.cached else human_time(time.monotonic() - begun)
    line = f"{describe(outcome.image)}  {took}"
    print(line)
    if options.output is not None:
        write_json(
            options.output,
            {
                "line": line,
                "image": str(outcome.image.path),
                "config": options.config,
                "cached": outcome.cached,
            },
        )


def _on_terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Entry of ``python -m hijack.build``; the exit status."""
    extra = shlex.split(os.environ.get(EXTRA_ARGUMENTS, ""))
    options = parser().parse_args([*sys.argv[1:], *extra])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_terminate)
    try:
        run(options)
        return 0
    except UklError as error:
        print(error, file=sys.stderr)
        status = EXIT_FAILURE
    except KeyboardInterrupt:
        print("ukl: interrupted; the next build continues here", file=sys.stderr)
        status = EXIT_INTERRUPTED
    if options.output is not None:
        # On a full disk even this may fail; the message is out already.
        with suppress(OSError, UklError):
            write_json(options.output, {"status": status})
    return status


if __name__ == "__main__":
    sys.exit(main())
