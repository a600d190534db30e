"""A place for statements that keeps none: what is asked for is made from the books each time."""

from __future__ import annotations

from collections.abc import Collection

from server.application.statement_ports import NOBODY_KEEPS, Kept, Of


class NoStatements:
    """The `StatementCache` port without a cache."""

    async def find(self, of: Of, owner_id: str) -> Kept:
        """Nothing, ever."""
        del of, owner_id
        return NOBODY_KEEPS

    async def keep(self, of: Of, owner_id: str, counter: int | None, version: int, body: bytes) -> None:
        """Let go of it."""

    def changed(self, version: int, parties: Collection[str], schools: Collection[str]) -> None:
        """Nothing is kept that could be others."""
