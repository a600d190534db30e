"""The machinery's own tables: heads, journal, change sets, feed, outbox, and the few things that belong to no town."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, Numeric
from sqlmodel import Field, SQLModel

from server.adapters.postgres.tables.base import UUID, datetime, json, moment, whole

HASH_BYTES = 32


class TownHead(SQLModel, table=True):
    """Where a town stands; its row lock makes the town serial."""

    __tablename__ = "town_heads"
    __table_args__ = (
        CheckConstraint("version >= 0", name="town_heads_version_check"),
        CheckConstraint(f"octet_length(journal_hash) = {HASH_BYTES}", name="town_heads_hash_check"),
        {"postgresql_with": {"fillfactor": 10}},
    )
    town_id: UUID = Field(primary_key=True)
    epoch: UUID
    version: int = whole()
    journal_hash: bytes = Field(sa_type=LargeBinary)
    is_halted: bool = Field(sa_column_kwargs={"server_default": "false"})


class DeviceHead(SQLModel, table=True):
    """The last line of a device's chain that the server holds."""

    __tablename__ = "device_heads"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)
    town_id: UUID = Field(primary_key=True)
    device_id: UUID = Field(primary_key=True)
    seq: int = whole()
    hash: bytes = Field(sa_type=LargeBinary)


class ChangeSetLine(SQLModel, table=True):
    """A change set as its device wrote it, and the verdict as the server said it. Append-only."""

    __tablename__ = "change_sets"
    __table_args__ = (
        Index(None, "town_id", "version"),
        Index("change_sets_quarantined_idx", "town_id", "version", postgresql_where="status = 'quarantined'"),
    )
    town_id: UUID = Field(primary_key=True)
    device_id: UUID = Field(primary_key=True)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    version: int = whole()
    hash: bytes = Field(sa_type=LargeBinary)
    line: bytes = Field(sa_type=LargeBinary)
    signature: str | None
    status: str
    verdict: bytes = Field(sa_type=LargeBinary)


class Journal(SQLModel, table=True):
    """One version of a town: what was decided in it, chained and signed. Append-only."""

    __tablename__ = "journal"
    town_id: UUID = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)
    body: bytes = Field(sa_type=LargeBinary)
    signature: str


class Feed(SQLModel, table=True):
    """What devices pull: the current row of each bucket as ready-made JSON; no body is a tombstone."""

    __tablename__ = "feed"
    __table_args__ = (
        Index("feed_version_idx", "town_id", "bucket", "version"),
        Index("feed_tombstones_idx", "town_id", "version", postgresql_where="body IS NULL"),
    )
    town_id: UUID = Field(primary_key=True)
    bucket: str = Field(primary_key=True)
    entity: str = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    version: int = whole()
    body: str | None


class Bucket(SQLModel, table=True):
    """How many rows a bucket holds, their checksum, the version of its last change, and where its tombstones end."""

    __tablename__ = "buckets"
    town_id: UUID = Field(primary_key=True)
    bucket: str = Field(primary_key=True)
    version: int = whole()
    rows: int = whole()
    total: Decimal = Field(sa_type=Numeric(20, 0))
    horizon: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})


class Outbox(SQLModel, table=True):
    """Work to be done once after commit; the truth, of which the queue is only the doorbell."""

    __tablename__ = "outbox"
    __table_args__ = (Index("outbox_due_idx", "town_id", "due_at", postgresql_where="done_at IS NULL"),)
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    kind: str
    data: dict[str, Any] = json()
    version: int = whole()
    due_at: datetime = moment()
    attempts: int = whole()
    done_at: datetime | None = moment(nullable=True)
    problem: str | None
    traceparent: str | None


class Inbox(SQLModel, table=True):
    """What a provider has sent by itself, as it came: a hint, and work to be done once it is looked at."""

    __tablename__ = "inbox"
    __table_args__ = (
        Index("inbox_due_idx", "town_id", "due_at", postgresql_where="done_at IS NULL"),
        Index("inbox_done_idx", "town_id", "done_at", postgresql_where="done_at IS NOT NULL"),
    )
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    kind: str
    data: dict[str, Any] = json()
    version: int = whole()
    received_at: datetime = moment()
    method: str
    content_type: str
    body: bytes
    times: int = whole()
    due_at: datetime = moment()
    attempts: int = whole()
    done_at: datetime | None = moment(nullable=True)
    problem: str | None
    traceparent: str | None


class Message(SQLModel, table=True):
    """A message to a customer, written once by the worker. Append-only."""

    __tablename__ = "messages"
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    order_id: UUID
    text: str
    written_at: datetime = moment()


class LineFailure(SQLModel, table=True):
    """How often deciding has failed at a place of a chain, whatever line was there; for the release before."""

    __tablename__ = "line_failures"
    town_id: UUID = Field(primary_key=True)
    device_id: UUID = Field(primary_key=True)
    seq: int = Field(primary_key=True, sa_type=BigInteger)
    failures: int = whole()


class FailedLine(SQLModel, table=True):
    """How often deciding a line has failed; counted before it is tried again."""

    __tablename__ = "failed_lines"
    town_id: UUID = Field(primary_key=True)
    device_id: UUID = Field(primary_key=True)
    hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    failures: int = whole()


class ForkLine(SQLModel, table=True):
    """A line kept as evidence: of a forked chain, or of a device that may not act. Append-only."""

    __tablename__ = "fork_lines"
    town_id: UUID = Field(primary_key=True)
    device_id: UUID = Field(primary_key=True)
    hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    seq: int = whole()
    line: bytes = Field(sa_type=LargeBinary)
    received_at: datetime = moment()
    signature: str | None


class SealedUpload(SQLModel, table=True):
    """What a revoked device has handed in, sealed to the server; `reviewed` lines of it went to review."""

    __tablename__ = "sealed_uploads"
    __table_args__ = (CheckConstraint(f"octet_length(head_hash) = {HASH_BYTES}", name="sealed_uploads_hash_check"),)
    town_id: UUID = Field(primary_key=True)
    device_id: UUID = Field(primary_key=True)
    to_seq: int = Field(primary_key=True, sa_type=BigInteger)
    head_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    from_seq: int = Field(primary_key=True, sa_type=BigInteger)
    box: bytes = Field(sa_type=LargeBinary)
    signature: str
    received_at: datetime = moment()
    reviewed: int | None = Field(sa_type=BigInteger)
    problem: str | None


class TownName(SQLModel, table=True):
    """The towns of this installation, by name."""

    __tablename__ = "town_names"
    town_id: UUID = Field(primary_key=True)
    name: str


class Enrolment(SQLModel, table=True):
    """An enrolment code; looked up by its hash before any town is known."""

    __tablename__ = "enrolments"
    code_hash: bytes = Field(primary_key=True, sa_type=LargeBinary)
    town_id: UUID
    role: str
    user_id: UUID | None
    warehouse_id: UUID | None
    expires_at: datetime = moment()
    public_key: str | None
    school_id: UUID | None


class DeviceKey(SQLModel, table=True):
    """A public key that a device has or had; unique for ever."""

    __tablename__ = "device_keys"
    public_key: str = Field(primary_key=True)
    town_id: UUID
    device_id: UUID


class UsedTokenRequest(SQLModel, table=True):
    """A token request that was answered; kept until it would have expired."""

    __tablename__ = "used_token_requests"
    jti: str = Field(primary_key=True)
    expires_at: datetime = moment()


GLOBAL_TABLES = frozenset(
    {
        *("town_names", "enrolments", "device_keys", "used_token_requests"),
        *("accounts", "account_towns", "sessions", "sign_in_tries"),
    }
)
"""Small tables without a town in their key: what has to be found before the town is known."""

APPEND_ONLY_TABLES = frozenset(
    {
        *("change_sets", "journal", "messages", "fork_lines", "stock_movements", "order_status_events", "payments"),
        *("payment_events", "allocations", "drawer_reports", "journal_entries", "receipts"),
        *("epochs", "halts", "resumptions"),
    }
)
