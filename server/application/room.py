"""How much is decided at a time: lines that were read take many times the memory of their bytes until they are decided.

Counted in bytes and not in requests: a device that comes back brings a line, or a megabyte of them. What waits is as
small as it came over the wire. A town has a part of it, so that one which cannot go on holds up no other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TOWN_BYTES_MAX = 512 * 1024
"""Lines of one town that are read and not yet decided: a full batch, and the next one."""

ROOM_BYTES_MAX = 3 * TOWN_BYTES_MAX
"""The same of all towns; in memory some twenty times as much."""


@dataclass(eq=False, kw_only=True, slots=True)
class _Waiting:
    """Who waits for room."""

    town_id: str
    size: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Room:
    """So many bytes at a time; first come, first in, but for those whose town has its part already.

    Who is alone, in the room or of the town, comes in with whatever it is. For one event loop.
    """

    def __init__(self, *, bytes_max: int = ROOM_BYTES_MAX, town_bytes_max: int = TOWN_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._town_bytes_max = town_bytes_max
        self._taken = 0
        self._by_town: Counter[str] = Counter()
        self._line: list[_Waiting] = []

    @asynccontextmanager
    async def taken(self, town_id: str, size: int) -> AsyncIterator[None]:
        """Wait until there is room for `size` bytes of this town, and take it for as long as the block lasts."""
        waiting = _Waiting(town_id=town_id, size=size)
        self._line.append(waiting)
        self._let_in()
        try:
            await waiting.turn
            yield
        finally:
            self._leave(waiting)

    def _let_in(self) -> None:
        held_up: set[str] = set()
        for waiting in list(self._line):
            if waiting.town_id in held_up or not _fits(
                self._by_town[waiting.town_id], waiting.size, self._town_bytes_max
            ):
                held_up.add(waiting.town_id)
                continue
            if not _fits(self._taken, waiting.size, self._bytes_max):
                return
            self._line.remove(waiting)
            self._taken += waiting.size
            self._by_town[waiting.town_id] += waiting.size
            waiting.turn.set_result(None)

    def _leave(self, waiting: _Waiting) -> None:
        """Out of the room, or out of the line for who has given up."""
        if waiting in self._line:
            self._line.remove(waiting)
        else:
            self._taken -= waiting.size
            self._by_town[waiting.town_id] -= waiting.size
            if not self._by_town[waiting.town_id]:
                del self._by_town[waiting.town_id]
        self._let_in()


def _fits(taken: int, size: int, most: int) -> bool:
    return not taken or taken + size <= most
