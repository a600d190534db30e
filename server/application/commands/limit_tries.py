"""Tries at something that could be guessed: each is counted before it is made, and taken back unless it has failed.

Many at once are no way around the lock, and whoever cannot be counted is not let try: the limiter fails closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from server.application.ports import System
from server.application.rate_ports import Tries
from server.domain.people import TRIES_FORGOTTEN_SECONDS
from server.domain.rates import RateLimited
from sync.kernel.clock import format_time, parse_time


@asynccontextmanager
async def counted_try(
    tries: Tries, system: System, *, subject: bytes, delays_seconds: Sequence[int], failure: type[Exception]
) -> AsyncIterator[None]:
    """Make one try inside; it stays counted when it ends in a `failure`, or not at all.

    Raises `RateLimited` while the subject is locked, and what the store raises.
    """
    now_ms = system.now_ms()
    now, forgotten = format_time(now_ms), format_time(now_ms - TRIES_FORGOTTEN_SECONDS * 1000)
    locked_until = await tries.count_try(subject, delays_seconds, now, forgotten)
    if locked_until is not None:
        raise RateLimited(wait_seconds=(parse_time(locked_until) - now_ms) / 1000)
    try:
        yield
    except failure:
        raise
    except Exception:
        await tries.take_back_try(subject, now)
        raise
    await tries.take_back_try(subject, now)
