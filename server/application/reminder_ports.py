"""The ports of reminders: whose invoices are overdue, what they were told, and the gateway that takes it to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from server.application.commands.work_off_outbox import Hopeless
from sync.kernel.errors import TallystickError


class GatewayUnavailable(TallystickError):
    """The gateway of text messages has not taken a reminder, or whether it has is not known; it is tried again."""

    code: ClassVar[str] = "gateway_unavailable"


class GatewayRefused(Hopeless):
    """The gateway of text messages does not take this reminder, however often it is asked."""

    code: ClassVar[str] = "gateway_refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """An open invoice whose day is over where the town is; `reminded` is how often its party was told."""

    invoice_id: str
    title: str
    name: str
    phone: str
    remaining_minor: int
    currency: str
    due_on: str
    reminded: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reminder:
    """What somebody is to be told about an invoice, and which time it is."""

    id: str
    invoice_id: str
    number: int
    phone: str
    text: str
    written_at: str


class Outcome(StrEnum):
    """How a reminder ended."""

    SENT = "sent"
    NOT_NEEDED = "not_needed"


class Fate(StrEnum):
    """How far a reminder is; `WRITTEN` is one that nobody here sends."""

    WRITTEN = "written"
    NO_TELEPHONE = "no_telephone"
    WAITING = "waiting"
    FAILING = "failing"
    FAILED = "failed"
    SENT = "sent"
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A reminder and what became of it: when it ended, if it has, and why it was not needed or does not get through."""

    reminder: Reminder
    fate: Fate
    at: str | None
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A reminder as it is to be sent, its invoice as it is now; `is_followed` when a later one has been written."""

    reminder: Reminder
    time_zone: str
    invoice_state: str
    remaining_minor: int
    is_followed: bool
    outcome: Outcome | None


class Reminders(Protocol):
    """What was written for those who owe, and how it ended; both append-only."""

    async def due(self, town_id: str, now: str, *, told_before: str, most: int, rows_max: int) -> Sequence[Overdue]:
        """Overdue invoices of which nobody was told since `told_before`, nor `most` times; the longest due first."""
        ...

    async def write(self, town_id: str, reminders: Sequence[Reminder], to_send: Mapping[str, int]) -> int:
        """Write what is not written yet, by id; how many were new.

        What of it is in `to_send` goes on the agenda in the same transaction, with what remained to be paid, in minor
        units.
        """
        ...

    async def look(self, town_id: str, reminder_id: str) -> Seen:
        """A reminder and its invoice in one moment. Raises `NotFound`."""
        ...

    async def end(self, town_id: str, reminder_id: str, outcome: Outcome, why: str, at: str) -> None:
        """It was sent, or is not needed; the first time stands."""
        ...

    async def written(self, town_id: str, rows_max: int) -> Sequence[Told]:
        """The newest first."""
        ...


class Gateway(Protocol):
    """Whoever sends text messages."""

    async def send(self, town_id: str, reminder: Reminder) -> None:
        """Hand it over, under its id: whoever takes it twice sends it once.

        Raises `GatewayUnavailable` when it may not have been taken, `GatewayRefused` when it never will be.
        """
        ...
