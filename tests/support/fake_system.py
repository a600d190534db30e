"""A device's machine that a test moves."""

from __future__ import annotations

import random
from threading import Event

from tests.support.toy import START_MS


class FakeSystem:
    """Time and randomness that a test moves and repeats."""

    def __init__(self, seed: int = 1) -> None:
        self.now = START_MS
        self.monotonic = 1_000
        self.boot = "boot-1"
        self.steps: list[str] = []
        self._random = random.Random(seed)

    def now_ms(self) -> int:
        return self.now

    def monotonic_ms(self) -> int:
        return self.monotonic

    def boot_id(self) -> str:
        return self.boot

    def random(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def wait(self, event: Event, seconds: float) -> bool:
        assert seconds >= 0
        return event.wait()

    def reached(self, failpoint: str) -> None:
        self.steps.append(failpoint)
