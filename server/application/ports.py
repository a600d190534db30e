"""Every Protocol the inside of the server asks for, and the values that pass through them.

A town transaction holds the town's head lock from its first statement to its commit: whoever has one is the town's
only writer, in any process. Faults of the store come out as `Unavailable` (try again) or `WriteRejected` (this data
cannot be stored); nothing else leaves an adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from server.application.history_ports import EpochRecord, Halt, Histories
from server.application.snapshot_ports import Snapshot
from server.domain.requests import AnsweredRequest, RequestKey
from sync.engine.chain import ChainHead
from sync.engine.feed import BucketSum, Stored
from sync.engine.town import Step, TownHead
from sync.kernel.changeset import RowKey
from sync.kernel.errors import TallystickError
from sync.protocol.messages import ServerKey


class Unavailable(TallystickError):
    """The service cannot answer just now; nothing was decided, send it again."""

    code: ClassVar[str] = "unavailable"

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(Unavailable):
    """It is not known whether this was done; look before asking for it again."""

    code: ClassVar[str] = "outcome_unknown"


class WriteRejected(TallystickError):
    """The store refuses this data; it must not be tried again as it is."""

    code: ClassVar[str] = "write_rejected"


class TownUnknown(TallystickError):
    """There is no such town."""

    code: ClassVar[str] = "not_found"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredLine:
    """A line the journal holds: its hash and the exact bytes of its verdict."""

    digest: bytes
    verdict_line: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalEntry:
    """One version of a town: the exact bytes, their hash, and the server's signature over where it stands."""

    version: int
    body: bytes
    digest: bytes
    signature: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceRecord:
    """A device as the edge needs it before anything is decided, with what its town decides for itself."""

    device_id: str
    town_id: str
    status: str
    role: str
    public_key: str
    certificate: str
    buckets: tuple[str, ...]
    head: ChainHead
    town_settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketState:
    """A bucket at the head of its town: its checksum and the version of its last change.

    Tombstones up to the version `horizon` may be gone.
    """

    version: int
    total: BucketSum
    horizon: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedPage:
    """A page of the feed as finished `rows` lines; `last_version` is that of its last row, None when it has none."""

    rows: int
    last_version: int | None
    lines: Sequence[bytes]


class TownWriter(Protocol):
    """One transaction that holds the town's head lock."""

    @property
    def head(self) -> TownHead: ...

    @property
    def is_halted(self) -> bool: ...

    async def device_heads(self, device_ids: Iterable[str]) -> Mapping[str, ChainHead]:
        """The chain heads of these devices; a device that has sent nothing is missing."""
        ...

    async def stored_lines(self, positions: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], StoredLine]:
        """What the journal holds at these (device, seq) positions."""
        ...

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        """The rows with these keys, None where there is none; one round trip for all."""
        ...

    async def failures(self, lines: Iterable[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], int]:
        """How often deciding these lines, (device, hash), has failed before; one that never did is missing."""
        ...

    async def answered(self, keys: Iterable[RequestKey]) -> Mapping[RequestKey, AnsweredRequest]:
        """Which requests with these keys were answered before."""
        ...

    async def write(
        self,
        step: Step,
        journal: JournalEntry,
        signatures: Mapping[tuple[str, int], str],
        answered: Mapping[RequestKey, AnsweredRequest],
    ) -> None:
        """Everything the step changes, in a handful of set-based statements. `signatures` are heads by position.

        `answered` are the requests that the step answers.
        """
        ...

    async def begin_epoch(self, record: EpochRecord) -> None:
        """Keep where the epoch begins that this transaction writes the first line of; a halt of the town ends."""
        ...


class TownReader(Protocol):
    """One read-only transaction: a snapshot of a town that stands still while it is read."""

    @property
    def head(self) -> TownHead: ...

    @property
    def is_halted(self) -> bool: ...

    async def journal_entry(self, version: int) -> JournalEntry | None: ...

    async def epochs(self) -> Sequence[EpochRecord]:
        """Every epoch that was begun, oldest first."""
        ...

    async def halts(self) -> Sequence[Halt]:
        """Every halt there was, oldest first."""
        ...

    async def device(self, device_id: str) -> DeviceRecord | None: ...

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]: ...

    async def bucket_states(self, buckets: Sequence[str]) -> Mapping[str, BucketState]:
        """The buckets that were ever written to."""
        ...

    async def offers(self, buckets: Sequence[str]) -> Mapping[str, Snapshot]:
        """The newest snapshot of each of these buckets that the feed can be gone on with."""
        ...

    async def feed_page(self, bucket: str, after: int, rows_max: int, bytes_max: int) -> FeedPage:
        """Feed rows of one bucket beyond version `after`, oldest first, in whole versions.

        It ends with the version in which it has reached `rows_max` rows or `bytes_max` bytes of bodies.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Founding:
    """What a new town begins with beside its first change set."""

    name: str
    epoch: str


class Towns(Protocol):
    """The store of all towns."""

    def writing(self, town_id: str, *, founding: Founding | None = None) -> AbstractAsyncContextManager[TownWriter]:
        """Take the town's head lock; commit on a clean exit, roll back on an exception.

        With `founding` the head is made in the same transaction, at version 0; raises `WriteRejected` when it exists.
        """
        ...

    def reading(self, town_id: str) -> AbstractAsyncContextManager[TownReader]: ...

    async def list_towns(self) -> Sequence[tuple[str, str]]:
        """(id, name) of every town."""
        ...

    async def count_failure(self, town_id: str, device_id: str, seq: int, digest: bytes) -> int:
        """Add one to the failures of the line with this hash, in a transaction of its own; returns the new count."""
        ...

    @property
    def histories(self) -> Histories:
        """What is kept of histories that disagree."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolment:
    """A code that an admin made: one use, for one town and role."""

    code_hash: bytes
    town_id: str
    role: str
    user_id: str | None
    warehouse_id: str | None
    expires_at: str
    school_id: str | None = None


class Enrolments(Protocol):
    """Enrolment codes and the public keys that were ever used; the only things looked up without a town."""

    async def add(self, enrolment: Enrolment) -> None: ...

    async def take(self, code_hash: bytes, public_key: str, now: str) -> Enrolment | None:
        """Use the code up by one atomic statement, bound to this public key; the same key may take it again."""
        ...

    async def device_of_key(self, public_key: str) -> tuple[str, str] | None:
        """(town id, device id) of the device that ever had this key."""
        ...

    async def bind_key(self, public_key: str, town_id: str, device_id: str) -> tuple[str, str]:
        """Reserve the key for this device for ever; returns the binding that holds (an earlier one wins)."""
        ...

    async def use_jti(self, jti: str, expires_at: str) -> bool:
        """Remember a token request id; False when it was used before."""
        ...

    async def forget(self, requests_before: str, enrolments_before: str) -> int:
        """Drop token requests and codes that expired before these times; returns how many."""
        ...


class Signer(Protocol):
    """The installation's signing key, and those that were it before."""

    @property
    def kid(self) -> str: ...

    @property
    def public_key(self) -> str:
        """Raw Ed25519 public key in base64url."""
        ...

    @property
    def older_keys(self) -> Sequence[str]:
        """The raw public keys that have signed before."""
        ...

    @property
    def published(self) -> Sequence[ServerKey]:
        """Every key, oldest first, each endorsed by the one before it."""
        ...

    def open_sealed(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed to any of these keys; raise `SealUnreadable`."""
        ...

    def sign(self, message: bytes) -> str: ...

    def jws(self, claims: Mapping[str, Any], kind: str) -> str:
        """A compact JWS (EdDSA, header typ = kind) of the claims."""
        ...


class System(Protocol):
    """Time, randomness and crash points."""

    def now_ms(self) -> int: ...

    def random(self, size: int) -> bytes: ...

    def reached(self, failpoint: str) -> None: ...


class Bell(Protocol):
    """Rings for work that has been committed; may be lost, the scheduler does the work anyway."""

    async def ring(self, town_id: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxItem:
    """Work of one town that was committed with the change that asked for it; `attempts` counts the claim it came by.

    `traceparent` leads to that commit when it was traced.
    """

    id: str
    town_id: str
    kind: str
    data: Mapping[str, Any]
    attempts: int
    traceparent: str | None = None


class Outbox(Protocol):
    """The work that is to be done once after commit; the truth, of which a queue is only the doorbell.

    A claim is a lease: whoever dies with it loses it at `lease_until`, and the work is due again. So whatever is done
    for an item may be done twice, and must be idempotent by the item's id.
    """

    async def claim(self, town_id: str, now: str, lease_until: str, items_max: int) -> Sequence[OutboxItem]:
        """Lease what is due at `now`, longest due first; what another worker is claiming is passed over."""
        ...

    async def finish(self, town_id: str, item_id: str, at: str) -> None:
        """The work is done; it is never due again."""
        ...

    async def fail(
        self, town_id: str, item_id: str, problem: str | None, due_at: str, *, is_counted: bool = True
    ) -> None:
        """Due again at `due_at`, unless somebody has finished it; not counted, the claim's attempt is given back."""
        ...

    async def towns_due(self, now: str) -> Sequence[str]:
        """The towns that have work due."""
        ...


class Messages(Protocol):
    """What customers are told; append-only."""

    async def write(self, town_id: str, message_id: str, order_id: str, text: str, at: str) -> None:
        """Write a message; the first one with an id stands, another changes nothing."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TownSight:
    """What an operator sees of a town at a glance: devices by status, and its outbox.

    `waiting` leaves out what was given up; `failing` has a problem and is tried again; `overdue_seconds` is for how
    long the longest overdue item has been due, 0 when none is.
    """

    town_id: str
    name: str
    version: int
    devices: Mapping[str, int]
    waiting: int
    failing: int
    given_up: int
    overdue_seconds: float
    is_halted: bool = False


class Sights(Protocol):
    """The whole installation at a glance."""

    async def towns(self, now: str, never: str) -> Sequence[TownSight]:
        """Every town, by id; work that is due at `never` was given up."""
        ...
