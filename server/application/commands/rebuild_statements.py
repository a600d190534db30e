"""Making statements that are older than their accounts: noted from the books, made by workers, one for many changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from server.application.commands.work_off_outbox import Handler
from server.application.ports import Messages, OutboxItem, System
from server.application.statement_ports import Changed, StatementShelf

KIND: Final = "statement.rebuild"


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementDesk:
    """The ports."""

    shelf: StatementShelf
    system: System

    def handlers(self) -> Mapping[str, Handler]:
        """What is done here, by the kind of work."""
        return {KIND: self._rebuild}

    async def _rebuild(self, item: OutboxItem, _messages: Messages, at: str) -> None:
        """Again makes nothing: what is as new as the work asks for stays."""
        data = item.data
        changed = Changed(
            version=int(data["version"]), parties=data.get("parties", ()), schools=data.get("schools", ())
        )
        await self.shelf.rebuild(item.town_id, changed, at)
        self.system.reached("statements.after_rebuild")
