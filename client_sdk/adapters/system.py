"""The machine: its clocks, its boot id, its randomness, and crash points when a test arms one."""

from __future__ import annotations

import os
import time
from functools import cached_property
from pathlib import Path
from threading import Event
from uuid import uuid4

from client_sdk.adapters.failpoints import Failpoints

# It goes on while the machine sleeps; elsewhere than on Linux the plain one does.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RealSystem:
    """The `System` port on a real machine."""

    def __init__(self, failpoints: Failpoints | None = None) -> None:
        self._failpoints = failpoints or Failpoints.from_environment()

    def now_ms(self) -> int:
        """Device time in milliseconds since 1970; wrong when the user's clock is."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds on a clock that nobody can set; also not by sleeping; comparable within one boot."""
        return time.clock_gettime_ns(_CLOCK) // 1_000_000

    def boot_id(self) -> str:
        """Names this boot of the machine."""
        return self._boot_id

    def random(self, size: int) -> bytes:
        """`size` bytes that nobody can guess."""
        return os.urandom(size)

    def wait(self, event: Event, seconds: float) -> bool:
        """Wait until the event is set, at most so long; whether it is set."""
        return event.wait(seconds)

    def reached(self, failpoint: str) -> None:
        """A named step is reached; kills the process when `TALLYSTICK_FAILPOINT` says so."""
        self._failpoints.reached(failpoint)

    @cached_property
    def _boot_id(self) -> str:
        try:
            return _BOOT_ID.read_text().strip()
        except OSError:
            # Elsewhere than on Linux each process counts as a boot: times are then verified only within one run.
            return str(uuid4())
