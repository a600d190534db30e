"""The SDK's `System` port as tests want it: time moves when the test moves it, and every named step can be armed."""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Event

NOON_MS = 1_795_262_400_000  # 2026-11-21T12:00:00Z


class StillSystem:
    """A machine whose clock stands still."""

    def __init__(self, now_ms: int = NOON_MS, seed: int = 1) -> None:
        self.clock_ms = now_ms
        self.steps: list[str] = []
        self.armed: dict[str, Callable[[], None]] = {}
        self._random = random.Random(seed)

    def now_ms(self) -> int:
        """The time that the test has set."""
        return self.clock_ms

    def monotonic_ms(self) -> int:
        """As `now_ms`, on a clock with another zero."""
        return self.clock_ms - NOON_MS + 1_000_000

    def boot_id(self) -> str:
        """Always the same boot."""
        return "still"

    def random(self, size: int) -> bytes:
        """Bytes that are the same in every run."""
        return self._random.randbytes(size)

    def wait(self, event: Event, seconds: float) -> bool:
        """Time does not pass: only the event ends the wait."""
        assert seconds >= 0
        return event.wait()

    def reached(self, failpoint: str) -> None:
        """Keep the step; do what is armed there."""
        self.steps.append(failpoint)
        if failpoint in self.armed:
            self.armed[failpoint]()
