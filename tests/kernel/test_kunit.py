"""The kernel's own unit tests: KUnit suites that run while an instance boots."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hijack.instance import Instance

ROOT = Path(__file__).resolve().parent.parent.parent


def test_kunit(boot: Callable[..., Instance], tmp_path: Path, capsys: Any) -> None:
    """Every suite of ``kernel/configs/kunit.config`` passes in the library kernel."""
    result = tmp_path / "kunit.json"
    build = [sys.executable, "-m", "hijack.build", "--config=kunit"]
    subprocess.run([*build, f"--output={result}"], cwd=ROOT, check=True)
    image = json.loads(result.read_text())["image"]
    log = boot(image=image, memory="128M").log()
    lines = [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in log.splitlines()]
    (plan,) = [line for line in lines if re.fullmatch(r"1\.\.\d+", line)]
    passed = [line for line in lines if line.startswith("ok ")]
    assert not [line for line in lines if line.lstrip().startswith("not ok")], log
    assert len(passed) == int(plan[3:]), log
    assert any(line.endswith(" ukl") for line in passed), log
    totals = [re.search(r"# Totals: pass:(\d+) fail:0", line) for line in lines]
    count = sum(int(found[1]) for found in totals if found)
    with capsys.disabled():
        print(f"\n # KUnit: {len(passed)} suites, {count} cases passed")
    assert count > 60
