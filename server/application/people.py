"""What signing in works with: the ports, and password hashing that is kept off the event loop and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from server.application.people_ports import Accounts, Sealer, Sessions
from server.application.ports import System, Unavailable
from server.domain import passwords

HASHES_AT_ONCE = 2
"""Each takes a core and 19 MiB while it runs."""

HASHES_WAITING_MAX = 40
"""Under way and waiting. More would wait for seconds: whoever comes then is told to come back."""


class Hashing:
    """Argon2id in threads, a few at once."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(HASHES_AT_ONCE)
        self._waiting = 0

    async def hashed(self, password: str, salt: bytes) -> str:
        """The hash of a new password. Raises `Unavailable` when too many wait."""
        async with self._place():
            return await asyncio.to_thread(passwords.hash_password, password, salt)

    async def matches(self, password: str, phc: str) -> bool:
        """Whether this is the password. Raises as `hashed` does."""
        async with self._place():
            return await asyncio.to_thread(passwords.is_password, password, phc)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._waiting >= HASHES_WAITING_MAX:
            raise Unavailable("too many sign in just now; come back in a moment")
        self._waiting += 1
        try:
            async with self._places:
                yield
        finally:
            self._waiting -= 1


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Everything that signing in needs."""

    accounts: Accounts
    sessions: Sessions
    sealer: Sealer
    system: System
    hashing: Hashing = field(default_factory=Hashing)
