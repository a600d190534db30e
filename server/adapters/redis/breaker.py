"""A circuit breaker: after a few failures in a row nobody asks for a while, then one tries again for all.

Closed, open, and half open while the one that tries has no answer yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES_MAX = 3
OPEN_SECONDS = 10.0


class Breaker:
    """Counts failures in a row. Shared by threads without a lock: the worst race lets one more try through."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether to leave it for now."""
        return self._failures >= FAILURES_MAX and self._monotonic() < self._open_until

    def may_ask(self) -> bool:
        """Whether to ask now. Of those who come when it has been open for long enough, the first one asks."""
        if self._failures < FAILURES_MAX:
            return True
        now = self._monotonic()
        if now < self._open_until:
            return False
        self._open_until = now + OPEN_SECONDS  # if nothing is heard of this one, the next comes after as long
        return True

    def failed(self) -> bool:
        """Count a failure; True when it is the one that opens the breaker, False when it only stays open."""
        self._failures += 1
        self._open_until = self._monotonic() + OPEN_SECONDS
        return self._failures == FAILURES_MAX

    def succeeded(self) -> bool:
        """Forget the failures; True when the breaker had been opened."""
        was_opened = self._failures >= FAILURES_MAX
        self._failures = 0
        return was_opened
