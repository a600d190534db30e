"""The machine the server runs on: its clock, its randomness, and crash points when a test arms one.

`TALLYSTICK_FAILPOINT=apply.before_commit` kills the process at the first time this step is reached,
`...=apply.before_commit:3` at the third, as the power cord would: nothing is flushed, no handler runs.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

VARIABLE = "TALLYSTICK_FAILPOINT"


class RealSystem:
    """The `System` port on a real machine."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name, _, count = environment.get(VARIABLE, "").partition(":")
        self._armed = name
        self._left = int(count or 1)

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000

    def random(self, size: int) -> bytes:
        """`size` bytes that nobody can guess."""
        return os.urandom(size)

    def reached(self, failpoint: str) -> None:
        """Kill this process when the armed step is reached for the n-th time; otherwise do nothing."""
        if failpoint != self._armed:
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
