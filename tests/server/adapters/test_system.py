"""Crash points of the server: the process dies at the armed step, at the right time, and otherwise lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

SCRIPT = """
from server.adapters.system import RealSystem
system = RealSystem()
for step in ("other", "here", "here", "here"):
    system.reached(step)
    print(step, flush=True)
"""


@pytest.mark.parametrize(("armed", "survived"), [("here", 1), ("here:1", 1), ("here:3", 3), ("here:4", 4), ("", 4)])
def test_a_process_is_killed_when_the_armed_step_is_reached_for_the_nth_time(armed: str, survived: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"TALLYSTICK_FAILPOINT": armed},
        capture_output=True,
        check=False,
    )

    assert len(run.stdout.split()) == survived
    assert run.returncode == (0 if survived == 4 else -signal.SIGKILL)
