"""Runs one of CPython's test modules, and writes what became of each test.

``python cpython_each.py FILE MODULE SECONDS``: a line of JSON a test goes to FILE as it
ends, and a line when it begins, so that one that takes the process along is known; what
FILE names is not run again. A test that takes longer than SECONDS ends the process.
It runs as by ``python -m test -u network``, in a directory of its own.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class Written(unittest.TestResult):
    """Each test's outcome, at once."""

    def __init__(self, stream: IO[str], seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.file = stream
        self.outcome = ""
        self.why = ""

    def put(self, **words: str) -> None:
        self.file.write(json.dumps(words) + "\n")
        self.file.flush()

    def end(self, outcome: str, why: str = "") -> None:
        """The first that is not a success stays."""
        if self.outcome in ("", "ok"):
            self.outcome, self.why = outcome, why

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.outcome = ""
        self.put(begins=test.id())
        faulthandler.dump_traceback_later(self.seconds, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        self.put(test=test.id(), outcome=self.outcome or "ok", why=self.why)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().addSuccess(test)
        self.end("ok")

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self.failed(test, err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self.failed(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed(test, err)

    def failed(self, test: Any, err: Any) -> None:
        why = self._exc_info_to_string(err, test)  # type: ignore[attr-defined]
        if isinstance(test, unittest.TestCase):
            self.end("failed", why)
        else:
            # setUpClass and the like: no test of its own begins.
            self.put(test=str(test), outcome="failed", why=why)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        if isinstance(test, unittest.TestCase) and self.outcome is not None:
            self.end("skipped", reason)
        else:
            self.put(test=str(test), outcome="skipped", why=reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        self.end("ok")

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        self.end("failed", "unexpected success")


def flat(suite: Any) -> Iterator[Any]:
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from flat(part)
        else:
            yield part


def main() -> None:
    name, module, seconds = sys.argv[1:]
    from test import support

    # Of these, what works without one on the host is compared.
    support.use_resources = ["network"]
    support.verbose = 0
    record = Path(name).resolve()
    before = record.read_text().splitlines() if record.exists() else []
    seen = {json.loads(line).get("begins") for line in before}
    with record.open("a") as stream, tempfile.TemporaryDirectory() as where:
        # Some modules write there as they are imported.
        os.chdir(where)
        suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
        left = unittest.TestSuite(test for test in flat(suite) if test.id() not in seen)
        result = Written(stream, float(seconds))
        left.run(result)
        result.put(done=module)
        os.chdir("/")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
