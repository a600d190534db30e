"""The Protocols behind the doors for people: accounts, sessions, lists for the office. Faults are as in `ports`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from server.domain.people import Membership
from sync.engine.town import TownHead
from sync.kernel.changeset import Fields
from sync.kernel.errors import TallystickError


class EmailTaken(TallystickError):
    """There is an account with this e-mail address already."""

    code: ClassVar[str] = "email_taken"


class AlreadyLinked(TallystickError):
    """This user has an account already, or the account is another user of this town."""

    code: ClassVar[str] = "already_linked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Somebody who may sign in; `totp_secret` is sealed, and counts once it is confirmed."""

    id: str
    email: str
    password_hash: str
    totp_secret: bytes | None = None
    totp_is_confirmed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSession:
    """A sign-in, under the hash of its token."""

    token_hash: bytes
    account_id: str
    at: str
    expires_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSession:
    """A session that holds, with what its account is in which towns now, by town."""

    account_id: str
    email: str
    has_second_factor: bool
    proven_at: str
    expires_at: str
    memberships: Mapping[str, Membership]


class Accounts(Protocol):
    """Who may sign in, and as which user of which town."""

    async def add(self, account: Account, at: str) -> None:
        """Raises `EmailTaken`."""
        ...

    async def find(self, email: str) -> Account | None: ...

    async def link(self, account_id: str, town_id: str, user_id: str) -> None:
        """Make the account this user of the town; again does nothing. Raises `AlreadyLinked`."""
        ...

    async def emails(self, town_id: str) -> Mapping[str, str]:
        """The e-mail addresses of the town's users who have an account, by user."""
        ...

    async def set_password(self, account_id: str, password_hash: str, *, keep: bytes | None) -> None:
        """A new password; every session but `keep` ends with the old one."""
        ...

    async def offer_second_factor(self, account_id: str, sealed: bytes) -> bool:
        """Keep a secret that is yet to be confirmed; False when a second factor is confirmed already."""
        ...

    async def confirm_second_factor(self, account_id: str, step: int, recovery_codes: Sequence[bytes]) -> bool:
        """From now on it counts; False when none is waiting to be confirmed."""
        ...

    async def drop_second_factor(self, account_id: str) -> None: ...

    async def use_step(self, account_id: str, step: int) -> bool:
        """Use the code of this step up; False when it or a later one was used before."""
        ...

    async def use_recovery_code(self, account_id: str, digest: bytes) -> bool:
        """Use a recovery code up; False when there is none of this hash."""
        ...


class Sessions(Protocol):
    """Sign-ins, and the tries that failed."""

    async def count_try(self, subject: bytes, delays_seconds: Sequence[int], now: str, forgotten: str) -> str | None:
        """Count a try before it is made, in one atomic statement; or None and how long the subject is locked.

        `delays_seconds` are the locks after the first, second ... failure in a row; one that is followed by none until
        `forgotten` does not count any more.
        """
        ...

    async def take_back_try(self, subject: bytes, now: str) -> None:
        """The try that was counted at `now` had not failed."""
        ...

    async def clear_tries(self, subject: bytes) -> None: ...

    async def start(self, session: NewSession, *, instead_of: bytes | None) -> None: ...

    async def open(self, token_hash: bytes, now: str, idle_since: str, touched_since: str) -> OpenSession | None:
        """The session, unless it is over or was idle too long; noted as used when that was before `touched_since`."""
        ...

    async def end(self, token_hash: bytes) -> None: ...

    async def forget(self, now: str, idle_since: str, tries_before: str) -> int:
        """Drop sessions that are over and tries that do not count any more; returns how many."""
        ...


class Sealer(Protocol):
    """Keeps small secrets unreadable in the database; `owner` is bound in, so that one cannot stand for another's."""

    def seal(self, secret: bytes, owner: str) -> bytes: ...

    def open(self, sealed: bytes, owner: str) -> bytes: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a town as it stands."""

    id: str
    version: int
    fields: Fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """A condition on a field: equal, one of a list, at or after, before, or a list that holds the value."""

    field: str
    how: Literal["is", "among", "from", "before", "holds"]
    value: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A page: rows of an entity under all conditions, in the order of a field and then of the id, beyond `after`."""

    entity: str
    where: Sequence[Where] = ()
    order: str
    is_descending: bool = False
    after: tuple[Any, str] | None = None
    rows_max: int


class ListingReader(Protocol):
    """One snapshot of a town, for people."""

    @property
    def head(self) -> TownHead: ...

    async def page(self, wanted: Wanted) -> Sequence[Row]: ...

    async def row(self, entity: str, row_id: str) -> Row | None: ...

    async def rows(self, entity: str, row_ids: Collection[str]) -> Mapping[str, Row]:
        """Those of the rows that are there, by id."""
        ...


class Listings(Protocol):
    """Lists for the office. Every name in a `Wanted` is one of ours, never the caller's; values are only compared."""

    def reading(self, seen: Collection[str], town_id: str) -> AbstractAsyncContextManager[ListingReader]:
        """A snapshot for somebody who may see the towns `seen` and no other; raises `TownUnknown`."""
        ...


class Requests(Protocol):
    """Requests that were answered, by their keys; they are written with the change sets that they made."""

    async def forget(self, before: str) -> int:
        """Drop what was answered before this time; returns how many."""
        ...
