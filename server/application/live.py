"""Hints inside one process: from one source to everybody who listens, in bounded memory whatever they do.

What a listener has not taken yet is joined into one hint, so a slow one costs no more than a quick one and loses
nothing that it would have needed. Everything here runs in one event loop.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from server.application.live_ports import Hint
from server.application.ports import Unavailable


def joined(earlier: Hint | None, later: Hint) -> Hint:
    """Both as one."""
    if earlier is None:
        return later
    return Hint(version=max(earlier.version, later.version), buckets=earlier.buckets | later.buckets)


class FannedEar:
    """The `Ear` of one listener, for its buckets."""

    def __init__(self, buckets: frozenset[str]) -> None:
        self._buckets = buckets
        self._hint: Hint | None = None
        self._news = asyncio.Event()
        self._is_over = False

    async def heard(self, seconds_max: float) -> Hint | None:
        """What has changed since the last call."""
        try:
            async with asyncio.timeout(seconds_max):
                await self._news.wait()
        except TimeoutError:
            return None
        if self._is_over:
            raise Unavailable("there are no live hints any more; ask again")
        self._news.clear()
        hint, self._hint = self._hint, None
        return hint

    def tell(self, hint: Hint) -> None:
        """Take what concerns this listener."""
        if touched := hint.buckets & self._buckets:
            self._hint = joined(self._hint, Hint(version=hint.version, buckets=touched))
            self._news.set()

    def end(self) -> None:
        """Nothing more is heard."""
        self._is_over = True
        self._news.set()


class Fanout:
    """Everybody who listens in this process, by town."""

    def __init__(self) -> None:
        self._ears: defaultdict[str, set[FannedEar]] = defaultdict(set)

    def tell(self, town_id: str, hint: Hint) -> None:
        """Let everybody hear whom it concerns."""
        for ear in self._ears.get(town_id, ()):
            ear.tell(hint)

    def end_all(self) -> None:
        """The source has failed: who listens must know that it hears nothing."""
        for ears in self._ears.values():
            for ear in ears:
                ear.end()

    @contextmanager
    def listening(self, town_id: str, buckets: frozenset[str]) -> Iterator[FannedEar]:
        """One more listener, until the block ends."""
        ear = FannedEar(buckets)
        self._ears[town_id].add(ear)
        try:
            yield ear
        finally:
            self._ears[town_id].discard(ear)
            if not self._ears[town_id]:
                del self._ears[town_id]
