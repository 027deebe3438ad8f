"""The stress test and the kill tests; they print their counts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hijack.instance import Instance

STRESS_SECONDS = int(os.environ.get("UKL_STRESS_SECONDS", "60"))
KILLS = int(os.environ.get("UKL_KILLS", "1000"))


def test_stress(instance: Instance, run: Any, capsys: Any) -> None:
    said = run("stress", instance, "stress", STRESS_SECONDS).passes(STRESS_SECONDS + 60)
    with capsys.disabled():
        print("", *[line for line in said.splitlines() if line[:8] == "# stress"])


def test_polite_kills(instance: Instance, run: Any, capsys: Any) -> None:
    """Kills that hold the CPU leave the instance alive, and nothing behind."""
    said = run("kill", instance, "polite", KILLS).passes(300)
    with capsys.disabled():
        print("", *[line for line in said.splitlines() if line[:8] == "# polite"])


def test_a_kill_before_each_instruction(instance: Instance, run: Any) -> None:
    """Whoever is killed outside the kernel, wherever that is, leaves it whole."""
    said = run("kill", instance, "step").passes(400)
    assert int(said.split("# steps: ")[1].split()[0]) > 100
    assert instance.messages() == ""


def busy_process(program: Path, instance: Instance, seed: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [program, instance.control, "busy", str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == "ready\n", f"{said}{instance.messages()}"
    return process


def test_rude_kills(
    boot: Callable[..., Instance],
    program: Callable[[str], Path],
    run: Any,
    capsys: Any,
) -> None:
    """SIGKILL from outside: the instance goes on whole, or ends within 100 ms."""
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    survived = ended = 0
    empty = (0, 0)
    slowest = 0.0
    instance = None
    workers: list[subprocess.Popen[str]] = []
    binary = program("kill")
    for _ in range(KILLS):
        if instance is None:
            instance = boot(name="rude", memory="32M")
            empty = instance.records()
        while len(workers) < 2:
            workers.append(busy_process(binary, instance, dice.randrange(1 << 32)))
        time.sleep(dice.random() * 0.003)
        victim = workers.pop(dice.randrange(2))
        began = time.monotonic()
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        words = "was killed inside the library kernel"
        # Whether the kernel host has looked at it is seen in its tables.
        while instance.running and instance.records()[0] > 2:
            if words in instance.messages():
                break
            assert time.monotonic() - began < 5, f"neither went on nor ended ({seed})"
            time.sleep(0.001)
        if words not in instance.messages():
            survived += 1
            if survived % 10 == 0:
                # Nothing is left of the dead once the living have gone too.
                with instance.attach() as attached:
                    for worker in workers:
                        attached.kill(worker.pid, signal.SIGKILL)
                        worker.wait()
                workers.clear()
                run("kill", instance, "settled", *empty).passes()
            continue
        for worker in workers:
            worker.wait(5)
            # Killed; or its call came back with EOWNERDEAD just before.
            assert worker.returncode in (-signal.SIGKILL, 1)
        assert instance.process.wait(5) == 1
        slowest = max(slowest, time.monotonic() - began)
        assert instance.messages().count("\n") == 1, instance.messages()
        ended += 1
        workers.clear()
        instance.stop()
        instance = None
    for worker in workers:
        worker.kill()
        worker.wait()
    with capsys.disabled():
        print(
            f"\n # rude kills: {survived + ended}; the instance lived on after "
            f"{survived}, ended after {ended}, at most {slowest * 1e3:.0f} ms later; "
            f"seed {seed}"
        )
    assert slowest < 0.1
