"""Crash points for kill tests: a named step at which the process is killed as the power cord would.

`TALLYSTICK_FAILPOINT=record.before_commit` kills at the first time this step is reached, `...=record.before_commit:3`
at the third. Nothing is flushed, no handler runs. Without the variable a step costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

VARIABLE = "TALLYSTICK_FAILPOINT"


class Failpoints:
    """The one armed step of this process, if any."""

    def __init__(self, armed: str = "") -> None:
        name, _, count = armed.partition(":")
        self._name = name
        self._left = int(count or 1)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Failpoints:
        """What `TALLYSTICK_FAILPOINT` arms; nothing when it is not set."""
        return cls(environment.get(VARIABLE, ""))

    def reached(self, name: str) -> None:
        """Kill this process when the armed step is reached for the n-th time; otherwise do nothing."""
        if name != self._name:
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
