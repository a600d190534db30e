"""The outbox, the inbox and the customers' messages in memory; atomic because nothing in them waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.application.callback_ports import CALLBACKS_WAITING_MAX, Callback
from server.application.ports import OutboxItem
from sync.kernel.changeset import Effect
from sync.kernel.errors import LimitExceeded


@dataclass(kw_only=True, slots=True)
class OutboxRow:
    """One effect and what has become of it."""

    town_id: str
    effect: Effect
    due_at: str
    place: int
    version: int = 0
    attempts: int = 0
    done_at: str | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenMessage:
    """A message to a customer."""

    order_id: str
    text: str
    written_at: str


class MemoryOutbox:
    """The `Outbox` port; `rows` may be looked at by (town id, item id)."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], OutboxRow] = {}

    def add(self, town_id: str, effects: Iterable[Effect], due_at: str, *, version: int = 0) -> None:
        """What the commit of a town version does with the effects of its step."""
        for effect in effects:
            row = OutboxRow(town_id=town_id, effect=effect, due_at=due_at, place=len(self.rows), version=version)
            self.rows[town_id, effect.id] = row

    async def claim(self, town_id: str, now: str, lease_until: str, items_max: int) -> Sequence[OutboxItem]:
        """Lease what is due, longest due first."""
        due = [row for row in self.rows.values() if row.town_id == town_id and _is_due(row, now)]
        claimed = sorted(due, key=lambda row: (row.due_at, row.place))[:items_max]
        for row in claimed:
            row.due_at, row.attempts = lease_until, row.attempts + 1
        return [
            OutboxItem(
                id=row.effect.id, town_id=town_id, kind=row.effect.kind, data=row.effect.data, attempts=row.attempts
            )
            for row in claimed
        ]

    async def finish(self, town_id: str, item_id: str, at: str) -> None:
        """Done for ever; the first time stands."""
        row = self.rows[town_id, item_id]
        if row.done_at is None:
            row.done_at, row.problem = at, None

    async def fail(
        self, town_id: str, item_id: str, problem: str | None, due_at: str, *, is_counted: bool = True
    ) -> None:
        """Due again later; what is finished stays finished."""
        row = self.rows[town_id, item_id]
        if row.done_at is None:
            row.problem, row.due_at = problem, due_at
            row.attempts -= 0 if is_counted else 1

    async def towns_due(self, now: str) -> Sequence[str]:
        """The towns with work due, by id."""
        return sorted({row.town_id for row in self.rows.values() if _is_due(row, now)})


class MemoryInbox(MemoryOutbox):
    """The `Inbox` port; `kept` may be looked at by (town id, callback id)."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], Callback] = {}

    async def keep(self, callback: Callback) -> bool:
        """Due at once, and once more when it was here before."""
        key = (callback.town_id, callback.id)
        waiting = sum(row.town_id == callback.town_id and row.done_at is None for row in self.rows.values())
        if waiting >= CALLBACKS_WAITING_MAX:
            raise LimitExceeded
        if self.kept.setdefault(key, callback).body != callback.body:
            return False
        effect = Effect(id=callback.id, kind=callback.kind, data=callback.data)
        self.add(callback.town_id, [effect], callback.received_at)
        return True

    async def forget(self, before: str) -> int:
        """What was done before."""
        gone = [key for key in self.kept if (done := self.rows[key].done_at) is not None and done < before]
        for key in gone:
            del self.kept[key], self.rows[key]
        return len(gone)


class MemoryMessages:
    """The `Messages` port; `written` may be looked at by (town id, message id)."""

    def __init__(self) -> None:
        self.written: dict[tuple[str, str], WrittenMessage] = {}

    async def write(self, town_id: str, message_id: str, order_id: str, text: str, at: str) -> None:
        """Keep it, or leave the one that is there."""
        self.written.setdefault((town_id, message_id), WrittenMessage(order_id=order_id, text=text, written_at=at))


def _is_due(row: OutboxRow, now: str) -> bool:
    return row.done_at is None and row.due_at <= now
