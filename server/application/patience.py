"""How long a request waits for what it could do without: one allowance for all of it, however often it asks.

What is kept or counted in Redis is asked in several places of a request, each with a limit of its own. Limits add up;
an allowance does not. Outside of a request (`patience`) each question has its own limit alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

PATIENCE_SECONDS: Final = 0.08
"""What a request waits in all. Nobody shall wait for more than 0.1, and a timer is late on a machine that is busy."""


class OutOfPatience(Exception):
    """This request has waited enough; it was not asked."""


@dataclass(slots=True)
class _Patience:
    left_seconds: float


_patience: ContextVar[_Patience | None] = ContextVar("patience", default=None)


@contextmanager
def patience(seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """A block that waits so long in all, whatever it and the tasks that it starts ask."""
    token = _patience.set(_Patience(seconds))
    try:
        yield
    finally:
        _patience.reset(token)


@asynccontextmanager
async def waiting(seconds_max: float) -> AsyncIterator[None]:
    """A block that asks, and is given `seconds_max` or what patience is left; raises `TimeoutError` after that.

    Raises `OutOfPatience` instead of asking when nothing is left.
    """
    held = _patience.get()
    if held is None:
        async with asyncio.timeout(seconds_max):
            yield
        return
    if held.left_seconds <= 0:
        raise OutOfPatience
    time = asyncio.get_running_loop().time
    started = time()
    try:
        async with asyncio.timeout(min(seconds_max, held.left_seconds)):
            yield
    finally:
        held.left_seconds -= time() - started
