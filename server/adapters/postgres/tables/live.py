"""What makes the first sync quick: the snapshots of buckets."""

from __future__ import annotations

from sqlalchemy import CheckConstraint
from sqlmodel import Field, SQLModel

from server.adapters.postgres.tables.base import UUID, datetime, moment, whole


class Snapshot(SQLModel, table=True):
    """A bucket's rows as a file, at a version of its town. The file is found by its hash."""

    __tablename__ = "snapshots"
    __table_args__ = (CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="snapshots_sha256_check"),)
    town_id: UUID = Field(primary_key=True)
    bucket: str = Field(primary_key=True)
    sha256: str = Field(primary_key=True)
    epoch: UUID
    version: int = whole()
    rows: int = whole()
    bytes: int = whole()
    made_at: datetime = moment()
