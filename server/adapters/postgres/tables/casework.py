"""Tables of `sync.modules.casework`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from server.adapters.postgres.tables.base import UUID, TownRow, datetime, json, moment, whole


class Conflict(TownRow, table=True):
    """A decision that a person may want to look at."""

    __tablename__ = "conflicts"
    __table_args__ = (
        Index("conflicts_listing_idx", "town_id", "raised_at", "id"),
        Index("conflicts_state_idx", "town_id", "state", "raised_at", "id"),
        Index("conflicts_subject_idx", "town_id", "subject_id"),
    )
    kind: str
    rule: str
    sentence: str
    subject_entity: str
    subject_id: UUID
    device_id: UUID
    seq: int = whole()
    operation: str
    actor_id: UUID
    said: dict[str, Any] = json()
    had: dict[str, Any] = json()
    outcome: str
    state: str
    raised_at: datetime = moment()
    task_id: UUID | None
    resolution: dict[str, Any] | None = Field(sa_type=JSONB, nullable=True)


class Task(TownRow, table=True):
    """What somebody has to do about a conflict."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("tasks_listing_idx", "town_id", "raised_at", "id"),
        Index("tasks_state_idx", "town_id", "state", "raised_at", "id"),
    )
    conflict_id: UUID
    kind: str
    text: str
    subject_entity: str
    subject_id: UUID
    audience: str
    state: str
    raised_at: datetime = moment()
    closed: dict[str, Any] | None = Field(sa_type=JSONB, nullable=True)


class Stub(TownRow, table=True):
    """Facts about something that has not been heard of yet."""

    __tablename__ = "stubs"
    __table_args__ = (Index("stubs_state_idx", "town_id", "state", "since", "id"),)
    awaited_entity: str
    awaited_id: UUID
    state: str
    since: datetime = moment()
    facts: list[dict[str, Any]] = json()
    given_id: UUID | None


class Voided(TownRow, table=True):
    """An operation that did not take effect, by its id."""

    __tablename__ = "voided"
    device_id: UUID
    seq: int = whole()
