"""What limits need from outside: buckets that all processes share, and tries that are counted for certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.domain.rates import Asked


class SharedRates(Protocol):
    """Buckets that all processes take from."""

    async def take(self, asked: Sequence[Asked]) -> float:
        """Take one request out of each bucket and return 0, or take none and return the seconds to wait.

        All in one atomic step. Raises `Unavailable` at once or in a moment, never after a long wait.
        """
        ...


class Tries(Protocol):
    """Tries that failed, in the database: where it is away, what is tried cannot succeed either."""

    async def count_try(self, subject: bytes, delays_seconds: Sequence[int], now: str, forgotten: str) -> str | None:
        """Count a try before it is made; None, or until when the subject is locked (`Sessions.count_try`)."""
        ...

    async def take_back_try(self, subject: bytes, now: str) -> None:
        """The try that was counted at `now` had not failed."""
        ...
