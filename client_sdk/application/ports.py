"""Every Protocol the inside of the SDK asks for, and the values that pass through them.

The store owns durability: what `record` returned from is in its outbox, and a checkpoint is taken whole or not at all.
The transport owns the wire; neither knows the other. `client_sdk.application.exchange` drives both. Two processes may
use one file: whoever writes reads what it builds on inside its own transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from client_sdk.application.lease_ports import Leased, Reading
    from client_sdk.application.snapshot_ports import Downloads
    from client_sdk.application.verify_ports import Contents
    from sync.kernel.changeset import Fields, RowKey, Verdict
    from sync.kernel.module import Registry
    from sync.protocol.messages import (
        Checkpoint,
        EnrolAnswer,
        EnrolRequest,
        Hello,
        Told,
        Welcome,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who this replica is: fixed at enrolment."""

    server_url: str
    device_id: str
    town_id: str
    town_name: str
    currency: str
    role: str
    user_id: str | None
    certificate: str
    server_keys: Mapping[str, str]
    """Key id -> raw Ed25519 public key in base64url."""
    key: Ed25519PrivateKey = field(repr=False)
    sealing_key: str | None = None
    """X25519 public key in base64url: for whom to seal what the exchange cannot carry; None until it was heard."""

    @property
    def device(self) -> Fields:
        """The device's row, as far as it says who may act on it and what may be done."""
        return {"role": self.role, "user_id": self.user_id}


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxLine:
    """A recorded change set as it will be sent: its place, its exact bytes, its hash and the signed head."""

    seq: int
    line: bytes
    digest: bytes
    signature: str


class LineStatus(StrEnum):
    """Whether the server has answered a recorded line."""

    PENDING = "pending"
    ANSWERED = "answered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A recorded line with everything this replica knows about it.

    `at` is the line's clock reading. `earlier` are verdicts of epochs whose end the server has lost, oldest first.
    `reads` and `writes` are the rows its local decision depends on and has changed.
    """

    seq: int
    line: bytes
    digest: bytes
    signature: str
    at: str
    status: LineStatus
    guess: Verdict
    reads: frozenset[RowKey]
    writes: frozenset[RowKey]
    verdict: Verdict | None = None
    version: int | None = None
    answered_at: str | None = None
    earlier: tuple[Verdict, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalHead:
    """The end of the chain that this replica has written: seq 0, no signature and no reading before the first line.

    `totals` are the running totals of money, in minor units: currency -> {"in": ..., "out": ...}. `receipts` is the
    highest number of a receipt so far.
    """

    seq: int
    digest: bytes
    signature: str
    at: str | None
    totals: Mapping[str, Mapping[str, int]]
    receipts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What a device counts over all its lines: `totals` and `receipts` as its head has them."""

    totals: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    receipts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """The last contact: what the server said the time was, and what this device's clocks said then."""

    server_time: str
    device_ms: int
    monotonic_ms: int
    boot: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The last checkpoint this replica has taken; epoch None and version 0 before the first."""

    epoch: str | None
    version: int
    witness: tuple[int, str] | None
    contact: Contact | None
    witness_signature: str | None = None
    leased: Leased | None = None
    """None as long as no server has given a lease."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row as the user sees it; `version` is None when only pending work has made it."""

    version: int | None
    fields: Fields


class Recording(Protocol):
    """One open transaction that nobody else can write beside; committed when its block ends without an exception."""

    @property
    def head(self) -> LocalHead: ...

    @property
    def standing(self) -> Standing: ...

    def row(self, entity: str, row_id: str) -> Fields | None:
        """The row as the user sees it: overlay over base; None when the replica does not hold it."""
        ...

    def append(self, entry: Entry, running: Running, rows: Mapping[RowKey, Fields]) -> None:
        """Put the next line behind the head, and the rows its guess has changed into the overlay."""
        ...

    def first_pending(self) -> bytes | None:
        """The first line that the server has not answered."""
        ...

    def saw(self, reading: Reading) -> None:
        """Keep the latest time that was seen; does nothing without a lease."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebasing:
    """One open transaction in which the chain goes on behind another head; `kept` is let go, and appended anew."""

    recording: Recording
    kept: Sequence[Entry]
    registry: Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeState:
    """Where this replica stands, read in one transaction before an exchange.

    `cursors` counts what is spooled as held, so a torn exchange goes on where it stopped; a bucket that did not add up
    has none. `epoch`, `version` and `witness` are of the last checkpoint heard, spooled or taken: the server has signed
    it, whatever became of its page. `acked` is the last position with a stored verdict, or where the server was when it
    was last found to be behind that; `head_seq` the last recorded one. `generation` changes whenever the store takes a
    checkpoint, spools a page or forgets one: `spool` and `settle` refuse a stale one, which makes two processes on one
    file safe.
    """

    generation: int
    epoch: str | None
    version: int
    cursors: Mapping[str, int]
    acked: int
    head_seq: int
    pending: int
    witness: tuple[int, str] | None
    witness_signature: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What a checkpoint changed here."""

    rows: int
    verdicts: tuple[tuple[int, Verdict], ...]
    mismatched: tuple[str, ...]
    """Buckets whose rows or checksum did not fit; what they hold stays until they are fetched anew."""


class Store(Protocol):
    """The replica's database. Every method is one transaction; all raise the named errors of `client_sdk.errors`."""

    @property
    def downloads(self) -> Downloads:
        """Files that pages name, which `settle` puts in the place of their names."""
        ...

    def identity(self) -> Identity: ...

    def exchange_state(self) -> ExchangeState: ...

    def outbox_from(self, seq: int, *, lines_max: int, bytes_max: int) -> Sequence[OutboxLine]:
        """Recorded lines that follow on from each other, within the limits, from the first at `seq` or later."""
        ...

    def spool(self, state: ExchangeState, lines: Sequence[bytes], checkpoint: Checkpoint) -> ExchangeState:
        """Keep the lines of an intermediate page as they came; raise `StaleExchange` when another process moved on."""
        ...

    def settle(self, state: ExchangeState, welcome: Welcome, lines: Iterable[bytes], checkpoint: Checkpoint) -> Settled:
        """Apply spooled pages and `lines` (verdict, bucket and rows lines) with their final checkpoint, whole.

        Base rows are replaced, verdicts stored, answered change sets leave the overlay, pending ones are decided again
        on top, bucket sums are compared. Afterwards the replica holds the buckets that the checkpoint names. Raises
        `StaleExchange`.
        """
        ...

    def drop_spool(self) -> None:
        """Forget spooled pages, if there are any; an exchange that counted on them becomes stale."""
        ...

    def rewind(self, acked: int) -> None:
        """Keep, until a checkpoint is taken, that the server holds nothing after `acked`; forget spooled pages."""
        ...

    def known_before(self, seq: int) -> tuple[int, bytes] | None:
        """Place and hash of the last line before position `seq` that is known here, kept or not; None if none is."""
        ...

    def first_beyond(self, version: int) -> int | None:
        """The first position whose verdict is of a later town version."""
        ...

    def told_from(self, seq: int, told_max: int) -> Sequence[Told]:
        """The last verdicts of lines from position `seq` on that have one, for a server that has lost them."""
        ...

    def rebasing(self, state: ExchangeState, head: LocalHead, first: int) -> AbstractContextManager[Rebasing]:
        """Let the chain go on behind `head`: lines from position `first` on are let go, and given; those before stay.

        Forgets spooled pages; the overlay is of what stays. Raises `StaleExchange` when another process moved on.
        """
        ...

    def device_key(self) -> Ed25519PrivateKey:
        """The key pair of this replica; it is there before enrolment, so that a lost answer can be asked for again."""
        ...

    def is_enrolled(self) -> bool: ...

    def enrolled(self, identity: Identity) -> None:
        """Keep who this replica is; its chain begins at the certificate. Raises `AlreadyEnrolled`."""
        ...

    def trust(self, server_keys: Mapping[str, str], sealing_key: str | None) -> None:
        """Keep these signing keys, by key id, and this sealing key as the server's from now on."""
        ...

    def wipe(self, head_seq: int) -> None:
        """Destroy everything, keys first, for ever; raise `StaleExchange` when more was recorded than `head_seq`.

        Whoever asks afterwards is told `ReplicaWiped`.
        """
        ...

    def recording(self) -> AbstractContextManager[Recording]:
        """Begin to record. What is appended is durable when the block has ended."""
        ...

    def standing(self) -> Standing: ...

    def saw(self, reading: Reading) -> None:
        """As while recording, in a transaction of its own."""
        ...

    def pending_count(self) -> int: ...

    def row(self, entity: str, row_id: str) -> Row | None:
        """One row as the user sees it; entities that this SDK does not know are found too."""
        ...

    def base_rows(self, entity: str) -> Sequence[tuple[str, Fields]]:
        """All rows of an entity as the server last said, by id."""
        ...

    def query(self, sql: str, parameters: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """The rows of one reading statement over the views; raise `NotAQuery`."""
        ...

    def entries(self, status: LineStatus | None = None) -> Sequence[Entry]:
        """Recorded lines by place: all that are still kept, or those of one status."""
        ...

    def dismissed(self) -> frozenset[str]: ...

    def dismiss(self, key: str) -> None:
        """The user has seen this; keep that."""
        ...

    def contents(self) -> Contents: ...

    def close(self) -> None: ...


class Transport(Protocol):
    """The wire to one server. Raises `Offline` when there is no answer and `ServerProblem` for a problem document."""

    def enrol(self, request: EnrolRequest) -> EnrolAnswer: ...

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Send one request and yield the answer line by line, without newlines; closes the stream when dropped."""
        ...

    @property
    def bytes_up(self) -> int: ...

    @property
    def bytes_down(self) -> int: ...


class System(Protocol):
    """Time, randomness and crash points, given from outside so that tests can move them."""

    def now_ms(self) -> int: ...

    def monotonic_ms(self) -> int: ...

    def boot_id(self) -> str: ...

    def random(self, size: int) -> bytes: ...

    def wait(self, event: Event, seconds: float) -> bool:
        """Wait until the event is set, at most so long; whether it is set."""
        ...

    def reached(self, failpoint: str) -> None:
        """Called at every named step; does nothing unless a test arms it."""
        ...
