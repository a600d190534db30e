"""Who waits for the lock of a town, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque

from tests.simulation.loop import Mortal, SimLoop


class TownQueue:
    """A lock that is handed on to the next one who is still alive."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._holder: tuple[Mortal, object] | None = None
        self._waiting: deque[tuple[Mortal, object, asyncio.Future[None]]] = deque()

    async def take(self, owner: Mortal, ticket: object) -> None:
        """Wait for it."""
        if self._holder is None:
            self._holder = (owner, ticket)
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((owner, ticket, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self.give(ticket)
            raise

    def give(self, ticket: object) -> None:
        """Hand it on; does nothing for who has not got it."""
        if self._holder is not None and self._holder[1] is ticket:
            self._hand_on()

    def forget(self, owner: Mortal) -> None:
        """The owner is dead; what it holds, or was just given, is the next one's."""
        if self._holder is not None and self._holder[0] is owner:
            self._hand_on()

    def _hand_on(self) -> None:
        self._holder = None
        while self._waiting and self._holder is None:
            owner, following, turn = self._waiting.popleft()
            if owner.is_alive and not turn.done():
                self._holder = (owner, following)
                turn.set_result(None)
