"""The ports of statements: the books that they are made of, and the place where made ones are kept for a while."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from server.domain.statements import Booked


class Of(StrEnum):
    """Whose statement it is."""

    PARTY = "party"
    STUDENT = "student"
    SCHOOL = "school"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What the books say of an account, at a version of its town: what was booked, or that as it is shown already.

    `made` are the sections of a statement (`domain.statements.shown`) as JSON, when a worker has made them since the
    account's last change. `overdue` is what should have been paid by now: currency, minor units, how many invoices.
    """

    name: str
    town_name: str
    time_zone: str
    version: int
    at: str
    booked: Sequence[Booked] = ()
    made: bytes | None = None
    overdue: Sequence[tuple[str, int, int]] = ()


class AccountBook(Protocol):
    """The ledger of all towns, by account."""

    async def account(self, seen: Collection[str], town_id: str, of: Of, owner_id: str) -> Account:
        """Everything booked for a party, a student or a school, in one snapshot that sees the towns `seen` alone.

        Raises `NotFound`.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """Accounts whose statements are to be made again, as of a version of their town at least."""

    version: int
    parties: Sequence[str]
    schools: Sequence[str]


class StatementShelf(Protocol):
    """The statements that workers have made, by party and school; all of them can be made again from the books."""

    async def towns_changed(self) -> Sequence[str]:
        """The towns that have changed since it was last noted what is to be made."""
        ...

    async def note(self, town_id: str, at: str, *, everything: bool = False) -> int:
        """Put on the agenda what has changed since the last time, or let go of all and note all; how many accounts.

        What was noted and what the mark says are one transaction.
        """
        ...

    async def rebuild(self, town_id: str, changed: Changed, at: str) -> int:
        """Make the statements that are older than `changed.version`; how many were. An older one never wins."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What is kept: the version counter of the account, None when it is not known, and the statement if it is there.

    `is_away` when nobody was there to be asked: whoever has waited for that once does not wait again.
    """

    counter: int | None
    body: bytes | None
    is_away: bool = False


NOBODY_KEEPS = Kept(counter=None, body=None, is_away=True)


class StatementCache(Protocol):
    """Statements that were made, for a minute; it may lose everything and may be away, and is never the truth.

    An account has a counter, which every change that is known here moves, mostly to its town version. A statement is
    kept under its account's counter, so one from before a change is not found any more. Nothing here raises or waits
    long.
    """

    async def find(self, of: Of, owner_id: str) -> Kept: ...

    async def keep(self, of: Of, owner_id: str, counter: int | None, version: int, body: bytes) -> None:
        """Keep a statement of this town version; `counter` is what `find` had told before it was made."""
        ...

    def changed(self, version: int, parties: Collection[str], schools: Collection[str]) -> None:
        """A commit has changed these accounts; returns at once."""
        ...
