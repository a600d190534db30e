"""The event loop's own clock, moved by the test: what has a time limit runs into it at once, and never by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class LoopClock:
    """What the loop takes for the time in seconds; `now` is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@contextmanager
def still_loop() -> Iterator[LoopClock]:
    """Inside this block time stands still for the running loop, but for what the test moves it."""
    loop = asyncio.get_running_loop()
    clock = LoopClock(loop.time())
    loop.time = clock  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        del loop.time


async def settle(turns: int = 10) -> None:
    """Let everything happen that can happen without time and without the network."""
    for _ in range(turns):
        await asyncio.sleep(0)
