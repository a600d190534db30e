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
    """What the books say of an account, at a version of its town."""

    name: str
    town_name: str
    version: int
    at: str
    booked: Sequence[Booked]


class AccountBook(Protocol):
    """The ledger of all towns, by account."""

    async def account(self, seen: Collection[str], town_id: str, of: Of, owner_id: str) -> Account:
        """Everything booked for a party, a student or a school, in one snapshot that sees the towns `seen` alone.

        Raises `NotFound`.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What is kept: the version counter of the account, None when it is not known, and the statement if it is there."""

    counter: int | None
    body: bytes | None


NOTHING_KEPT = Kept(counter=None, body=None)


class StatementCache(Protocol):
    """Statements that were made, for a minute; it may lose everything and may be away, and is never the truth.

    An account has a counter, which is the town version of its last change as far as is known here. A statement is kept
    under its account's counter, so one from before a change is not found any more. Nothing here raises or waits long.
    """

    async def find(self, of: Of, owner_id: str) -> Kept: ...

    async def keep(self, of: Of, owner_id: str, counter: int | None, version: int, body: bytes) -> None:
        """Keep a statement of this town version; `counter` is what `find` had told before it was made."""
        ...

    def changed(self, version: int, parties: Collection[str], schools: Collection[str]) -> None:
        """A commit has changed these accounts; returns at once."""
        ...
