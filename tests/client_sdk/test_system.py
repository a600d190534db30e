"""The real machine and its crash points."""

from __future__ import annotations

import subprocess
import sys

import pytest

from client_sdk.adapters.system import RealSystem
from tests.support.desk import ROOT


def test_clocks_go_forward_and_one_boot_has_one_id() -> None:
    system = RealSystem()
    assert (system.now_ms() > 1_700_000_000_000, len(system.random(16))) == (True, 16)
    assert system.monotonic_ms() <= system.monotonic_ms()
    assert system.boot_id() == system.boot_id() == RealSystem().boot_id()


@pytest.mark.parametrize(
    ("armed", "steps_done", "code"), [("", 3, 0), ("other", 3, 0), ("step", 0, -9), ("step:3", 2, -9)]
)
def test_an_armed_step_kills_the_process_the_nth_time(armed: str, steps_done: int, code: int) -> None:
    script = """
from client_sdk.adapters.failpoints import Failpoints
failpoints = Failpoints.from_environment()
for _ in range(3):
    failpoints.reached("step")
    print("done", flush=True)
"""
    environment = {"TALLYSTICK_FAILPOINT": armed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.count("done"), done.returncode) == (steps_done, code)
