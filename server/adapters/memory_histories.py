"""The `Histories` port in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from server.adapters.memory_town import TownState
from server.application.history_ports import EpochRecord, Halt, KeptAside, NotHalted, ReleasedHead

RESUMED = "resumed"


class States(Protocol):
    """Where the towns are."""

    def shared(self, town_id: str) -> TownState:
        """The state, to be looked at."""
        ...

    def owned(self, town_id: str) -> TownState:
        """The state, to be changed at once."""
        ...

    def lock(self, town_id: str) -> asyncio.Lock:
        """What the town's only writer holds."""
        ...


class MemoryHistories:
    """Histories of towns in memory."""

    def __init__(self, states: States) -> None:
        self._states = states

    async def epochs(self, town_id: str) -> Sequence[EpochRecord]:
        """Every epoch that was begun."""
        return list(self._states.shared(town_id).epochs)

    async def halts(self, town_id: str) -> Sequence[Halt]:
        """Every halt, and how it ended."""
        return list(self._states.shared(town_id).halts)

    async def halt(self, town_id: str, halt: Halt) -> None:
        """Under the town's lock; a town that is halted stays so, with one more reason."""
        async with self._states.lock(town_id):
            state = self._states.owned(town_id)
            state.halts.append(halt)
            state.is_halted = True

    async def resume(self, town_id: str, reason: str, at: str) -> int:
        """Under the town's lock."""
        del reason, at
        async with self._states.lock(town_id):
            ended = self._states.owned(town_id).end_halts(RESUMED)
            if not ended:
                raise NotHalted
            return ended

    async def kept_lines(self, town_id: str, device_id: str) -> Sequence[KeptAside]:
        """Forks and what suspended devices have sent alike."""
        return self._states.shared(town_id).kept_lines(device_id)

    async def keep_lines(
        self, town_id: str, device_id: str, seq: int, lines: Sequence[bytes], *, signature: str, at: str
    ) -> None:
        """Each once."""
        self._states.owned(town_id).keep_lines(device_id, seq, lines, signature=signature, at=at)

    async def released_head(self, town_id: str, device_id: str, fork: bytes | None) -> ReleasedHead | None:
        """The end of a released device's chain."""
        return self._states.shared(town_id).released_head(device_id, fork)
