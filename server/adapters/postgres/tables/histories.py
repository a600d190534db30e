"""Tables of `sync.modules.histories`, and the machinery's own beside them: epochs, halts and how they ended."""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary
from sqlmodel import Field, SQLModel

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, moment, whole


class Epoch(SQLModel, table=True):
    """Where an epoch began, signed by the server. Append-only."""

    __tablename__ = "epochs"
    town_id: UUID = Field(primary_key=True)
    epoch: UUID = Field(primary_key=True)
    before: UUID
    version: int = Field(sa_type=BigInteger)
    journal_hash: bytes = Field(sa_type=LargeBinary)
    begun_at: datetime = moment()
    reason: str
    signature: str


class Halt(SQLModel, table=True):
    """A journal head that the server had signed and did not have any more. Append-only."""

    __tablename__ = "halts"
    town_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    device_id: UUID
    epoch: UUID
    version: int = whole()
    journal_hash: bytes = Field(sa_type=LargeBinary)
    signature: str
    head_version: int = whole()
    halted_at: datetime = moment()


class Resumption(SQLModel, table=True):
    """An admin has looked at a halt and lets the town go on, in a new epoch or not. Append-only."""

    __tablename__ = "resumptions"
    town_id: UUID = Field(primary_key=True)
    halt_id: UUID = Field(primary_key=True)
    epoch: UUID | None
    reason: str
    resumed_at: datetime = moment()


class DeviceRelease(TownRow, table=True):
    """The last time that an admin let a device go on."""

    __tablename__ = "device_releases"
    released_at: datetime = moment()
    reason: str


class Replacement(TownRow, table=True):
    """A line that another one stands for, or that was rejected."""

    __tablename__ = "replacements"
    device_id: UUID
    seq: int = whole()
    hash: str
    outcome: str
    by_device_id: UUID
    by_seq: int = whole()
